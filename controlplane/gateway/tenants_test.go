package gateway

import (
	"net/netip"
	"slices"
	"testing"

	"culvert/bpf"
	"culvert/controlplane/config"
	"culvert/controlplane/telemetry"
	"culvert/dataplane"
)

// Goal: a sender's tenant is the one that the configuration gives it, whatever the order of tenants. Method:
// the prefixes of a listener are asked as both ways in do, by the longest that holds the sender.
func TestTenantsOf(t *testing.T) {
	prefix := netip.MustParsePrefix
	everyone := config.Tenant{Name: "rest"}
	line := config.Tenant{Name: "line", Sources: []netip.Prefix{prefix("10.1.0.0/16"), prefix("fd01::/16")},
		Listeners: []string{"plant"}}
	cell := config.Tenant{Name: "cell", Sources: []netip.Prefix{prefix("10.1.7.0/24")}}
	f := func(tenants []config.Tenant, listener, sender, want string) {
		t.Helper()
		var number uint16
		bits, from := -1, netip.MustParseAddr(sender)
		for _, p := range tenantsOf(&config.Config{Tenants: tenants}, listener) {
			if p.Prefix.Contains(from) && p.Prefix.Bits() > bits {
				number, bits = p.Tenant, p.Prefix.Bits()
			}
		}
		if got := tenants[number].Name; got != want {
			t.Errorf("%s to %s is %s's, want %s's", sender, listener, got, want)
		}
	}
	for _, order := range [][]config.Tenant{
		{everyone, line, cell}, {line, everyone, cell}, {cell, line, everyone},
	} {
		f(order, "plant", "10.1.0.1", "line")
		f(order, "plant", "fd01::1", "line")
		f(order, "plant", "10.1.7.1", "cell")
		f(order, "plant", "192.0.2.1", "rest")
		f(order, "plant", "fd02::1", "rest")
		f(order, "office", "10.1.0.1", "rest")
		f(order, "office", "10.1.7.1", "cell")
	}
	// Nobody takes everyone else: the first does.
	f([]config.Tenant{line, cell}, "office", "192.0.2.1", "line")
	if got := tenantsOf(&config.Config{Tenants: []config.Tenant{{Name: "default"}}}, "plant"); got != nil {
		t.Errorf("one tenant has prefixes %v: they cost every packet a search", got)
	}
}

// Goal: each limit arrives where it is kept, under its tenant's number.
func TestLimitsOf(t *testing.T) {
	c := &config.Config{Tenants: []config.Tenant{{Name: "rest"}, {Name: "line",
		Limits: config.Limits{PacketsPerSecond: 1, SourcePacketsPerSecond: 2, PointsPerSecond: 3, Series: 4,
			Burst: 5}}, {Name: "cell", Limits: config.Limits{Series: 9}}}}
	want := bpf.TenantLimit{Tenant: 1, PacketsPerSecond: 1, SourcePacketsPerSecond: 2, Burst: 5}
	if got := packetLimitsOf(c); len(got) != 1 || got[0] != want {
		t.Errorf("limits of packets are %+v", got)
	}
	limits := limitsOf(c, 1)
	for tenant, counted := range []bool{false, true, true} {
		if _, ok := limits.Series(tenant); ok != counted {
			t.Errorf("tenant %d: series are counted: %t", tenant, ok)
		}
	}
	if limitsOf(&config.Config{Tenants: c.Tenants[:1]}, 1) != nil {
		t.Error("a tenant without limits has some")
	}
	if dataplane.TenantsMax != bpf.TenantsMax {
		t.Error("the XDP program has room for another number of tenants than the workers")
	}
}

// Goal: a series that two workers have seen is one, shown by its names, and only what dominates is shown.
func TestHeaviest(t *testing.T) {
	g := &Gateway{options: Options{Config: &config.Config{
		Tenants:   []config.Tenant{{Name: "rest"}, {Name: "line"}},
		Listeners: []config.Listener{{Name: "plant"}},
	}}}
	all := []dataplane.HeavySeries{
		{Key: "m,s=1", Samples: 20}, {Tenant: 1, Key: "m,s=1", Samples: 30}, {Key: "m,s=2", Samples: 9},
		{Key: "m,s=1", Samples: 21}, {Key: "m,s=3", Samples: 7},
	}
	got := g.heaviest(all, 1000)
	want := []telemetry.HeavySeries{
		{Tenant: "rest", Listener: "plant", Key: "m,s=1", Share: 0.041},
		{Tenant: "line", Listener: "plant", Key: "m,s=1", Share: 0.03},
	}
	if !slices.Equal(got, want) {
		t.Errorf("%+v", got)
	}
	// The share is high, but of a few points only.
	if got := g.heaviest(all[4:], 20); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	if got := g.heaviest(all[2:3], 10); len(got) != 1 {
		t.Errorf("%+v", got)
	}
	many := make([]dataplane.HeavySeries, 30)
	for i := range many {
		many[i] = dataplane.HeavySeries{Key: string(rune('a' + i)), Samples: 30}
	}
	if got := g.heaviest(many, 900); len(got) != heavyMax {
		t.Errorf("%d series are shown", len(got))
	}
}

// Goal: however many tenants share a sink, each can have a batch that is filled and some under way, and what
// that takes is bounded.
func TestBatchesForTenants(t *testing.T) {
	f := func(tenants, urls int, slow bool, bytes config.Size, want, wantBytes int) {
		t.Helper()
		s := &sink{tenants: tenants, config: &config.Sink{
			Routing: "hash", URLs: make([]string, urls), Batch: config.Batch{Bytes: bytes},
		}}
		if n, size := s.batches(slow); n != want || size != wantBytes {
			t.Errorf("%d tenants, %d URLs: %d batches of %d bytes, want %d of %d", tenants, urls, n, size,
				want, wantBytes)
		}
	}
	const mib = 1 << 20
	f(1, 1, false, mib, 32, mib)
	f(1, 1, true, mib, 8, mib)
	f(8, 1, false, mib, 32, mib)
	f(16, 1, false, mib, 64, mib/2)
	f(4, 1, true, mib, 16, mib/2)
	f(256, 1, false, mib, 1024, 128<<10)
	f(256, 4, true, 64<<10, 1024, 64<<10)
	f(0, 1, false, mib, 32, mib)
}
