package gateway

import (
	"net/netip"
	"testing"

	"culvert/bpf"
	"culvert/controlplane/config"
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
