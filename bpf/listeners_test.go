package bpf

import (
	"net/netip"
	"strings"
	"testing"
)

func TestBuildSetRefuses(t *testing.T) {
	one := []netip.Addr{ourV4}
	prefix := netip.MustParsePrefix("10.0.0.0/8")
	f := func(words string, listeners ...Listener) {
		t.Helper()
		for range 2 {
			_, err := buildSet(listeners, nil, 1, 1)
			if err == nil || !strings.Contains(err.Error(), words) {
				t.Errorf("%v, want an error with %q", err, words)
			}
		}
	}
	f("given twice", Listener{ID: 1, Port: 1, Addresses: one}, Listener{ID: 1, Port: 2, Addresses: one})
	f("port 0", Listener{ID: 1, Addresses: one})
	f("an address is empty", Listener{ID: 1, Port: 1, Addresses: []netip.Addr{{}}})
	f("belongs to listener 1 already",
		Listener{ID: 1, Port: 1, Addresses: one}, Listener{ID: 2, Port: 1, Addresses: one})
	f("prefix is empty", Listener{ID: 1, Port: 1, Addresses: one, Sources: []netip.Prefix{{}}})
	f("belongs to 3 already", Listener{ID: 1, Port: 1, Addresses: one, Tenants: []TenantPrefix{
		{prefix, 3}, {netip.MustParsePrefix("10.1.0.0/8"), 4},
	}})
	f("tenant 4", Listener{ID: 1, Port: 1, Addresses: one, Tenants: []TenantPrefix{
		{netip.MustParsePrefix("fd00::/8"), 3}, {netip.MustParsePrefix("fd00::1/8"), 4},
	}})
}

func TestBuildSet(t *testing.T) {
	set, err := buildSet([]Listener{
		// The same address in two spellings, and twice, is one.
		{ID: 1, Port: 0x1f99, Addresses: []netip.Addr{
			ourV4, ourV4, netip.AddrFrom16(ourV4.As16()), ourV6,
		}},
		{ID: 2, Port: 2, Addresses: []netip.Addr{ourV4}, Sources: []netip.Prefix{
			netip.MustParsePrefix("10.1.2.3/8"), netip.MustParsePrefix("10.0.0.0/8"),
			netip.MustParsePrefix("::/0"),
		}},
		{ID: 3, Port: 3}, // no address yet: an interface that is still without
	}, []TenantLimit{{Tenant: 1, PacketsPerSecond: 5}}, 1, 9)
	if err != nil {
		t.Fatal(err)
	}
	if len(set.endpoints) != 2+1+2 {
		t.Errorf("%d endpoints, want 3 and a mark for each of 2 addresses", len(set.endpoints))
	}
	key := steerEndpointKey{Address: ourV4.As16(), Port: 0x991f, Generation: 9, Family: 4}
	if got := set.endpoints[key]; got.Listener != 1 || got.Flags != 0 {
		t.Errorf("endpoint %+v", got)
	}
	key.Port = 0
	if got := set.endpoints[key]; got.Flags != endpointAddress {
		t.Errorf("mark %+v", got)
	}
	ten := steerPrefixV4{Bits: 40, Generation: 9, Listener: 2, Address: [4]byte{10}}
	if len(set.sources.v4) != 1 || set.sources.v4[ten] != 1 || len(set.sources.v6) != 1 {
		t.Errorf("sources %v %v", set.sources.v4, set.sources.v6)
	}
}
