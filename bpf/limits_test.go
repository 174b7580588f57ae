package bpf

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"culvert/bpf/abi"
)

func TestLimitEntries(t *testing.T) {
	f := func(l TenantLimit, cpus int, want steerTenantLimit) {
		t.Helper()
		if got := l.entry(cpus); got != want {
			t.Errorf("%+v on %d CPUs is %+v, want %+v", l, cpus, got, want)
		}
	}
	const ms = uint64(time.Millisecond)
	f(TenantLimit{}, 2, steerTenantLimit{})
	f(TenantLimit{Burst: 100}, 2, steerTenantLimit{})
	// A small burst is drawn packet by packet, so that all of it can come by one CPU.
	f(TenantLimit{PacketsPerSecond: 10, Burst: 3}, 8,
		steerTenantLimit{Draw: 1, DrawCost: 100 * ms, Depth: 200 * ms})
	f(TenantLimit{PacketsPerSecond: 10, Burst: 1}, 1, steerTenantLimit{Draw: 1, DrawCost: 100 * ms})
	// Without a burst it is a second's worth: 1000 packets, drawn by 31, 30 of which may lie with each CPU.
	f(TenantLimit{PacketsPerSecond: 1000}, 2,
		steerTenantLimit{Draw: 31, DrawCost: 31 * ms, Depth: (1000 - 2*30 - 31) * ms})
	f(TenantLimit{PacketsPerSecond: 10_000}, 2,
		steerTenantLimit{Draw: 64, DrawCost: 6400 * ms / 1000, Depth: (10_000 - 2*63 - 64) * ms / 10})
	f(TenantLimit{SourcePacketsPerSecond: 10, Burst: 3}, 8,
		steerTenantLimit{SourceCost: 100 * ms, SourceDepth: 200 * ms})
	f(TenantLimit{PacketsPerSecond: 2e9, SourcePacketsPerSecond: 2e9, Burst: 1}, 1,
		steerTenantLimit{Draw: 1, DrawCost: 1, SourceCost: 1})
}

func TestLimitsRefused(t *testing.T) {
	f := func(words string, limits ...TenantLimit) {
		t.Helper()
		for range 2 {
			if _, err := buildSet(nil, limits, 1, 1); err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("%v, want an error with %q", err, words)
			}
		}
	}
	f("at most 256", TenantLimit{Tenant: 256})
	f("given twice", TenantLimit{Tenant: 1}, TenantLimit{Tenant: 1})
	f("negative", TenantLimit{PacketsPerSecond: -1})
	f("negative", TenantLimit{SourcePacketsPerSecond: -1})
	f("negative", TenantLimit{Burst: -1})
}

// Goal: only listeners that a limited tenant can send to pay for limits.
func TestLimitsMarkListeners(t *testing.T) {
	tenants := []TenantPrefix{{netip.MustParsePrefix("10.2.0.0/16"), 2}}
	listeners := []Listener{
		{ID: 1, Port: 1, Addresses: []netip.Addr{ourV4}},
		{ID: 2, Port: 2, Addresses: []netip.Addr{ourV4}, Tenants: tenants},
	}
	f := func(limit TenantLimit, want ...bool) {
		t.Helper()
		set, err := buildSet(listeners, []TenantLimit{limit}, 1, 1)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range set.endpoints {
			if e.Flags&endpointAddress == 0 && (e.Flags&endpointLimits != 0) != want[e.Listener-1] {
				t.Errorf("%+v: listener %d has flags %d", limit, e.Listener, e.Flags)
			}
		}
	}
	f(TenantLimit{Tenant: 2, PacketsPerSecond: 1}, false, true)
	f(TenantLimit{Tenant: 2, SourcePacketsPerSecond: 1}, false, true)
	f(TenantLimit{Tenant: 0, PacketsPerSecond: 1}, true, true)
	f(TenantLimit{Tenant: 3, PacketsPerSecond: 1}, false, false)
	f(TenantLimit{Tenant: 2, Burst: 1}, false, false)
}

func TestDroppedVerdicts(t *testing.T) {
	for v := range abi.Verdicts + 1 {
		want := v == abi.Malformed || v == abi.Source || v == abi.TenantLimit || v == abi.SourceLimit
		if v.Dropped() != want {
			t.Errorf("verdict %s: dropped is %t", v, v.Dropped())
		}
	}
}
