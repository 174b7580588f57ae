package dataplane

import (
	"net/netip"
	"testing"
)

func TestAdmit(t *testing.T) {
	prefix, address := netip.MustParsePrefix, netip.MustParseAddr
	listeners := []Listener{
		{Port: 8089, Sources: []netip.Prefix{prefix("10.0.0.0/8"), prefix("fd00::/8")},
			Tenants: []TenantPrefix{{prefix("10.0.0.0/8"), 1}, {prefix("10.1.0.0/16"), 2}}},
		{Port: 8090},
		{Port: 8089},
	}
	addresses := Addresses{
		{address("10.0.0.1"), address("fd00::1")}, {address("10.0.0.1")}, {address("10.0.0.9")},
	}
	f := func(port uint16, source, destination string, listener int, tenant uint16, reject FrameReject) {
		t.Helper()
		l, n, r := admit(listeners, addresses, port, address(source), address(destination))
		if r != reject || r == FrameRejects && (l != listener || n != tenant) {
			t.Fatalf("%s → %s:%d: listener %d, tenant %d, reject %d", source, destination, port, l, n, r)
		}
	}
	f(8089, "10.2.0.5", "10.0.0.1", 0, 1, FrameRejects)
	f(8089, "10.1.0.5", "10.0.0.1", 0, 2, FrameRejects)
	f(8089, "fd00::5", "fd00::1", 0, 0, FrameRejects)
	f(8089, "192.168.0.5", "10.0.0.1", 0, 0, FrameSource)
	f(8089, "127.0.0.1", "127.0.0.1", 0, 0, FrameSource)
	f(8090, "127.0.0.1", "127.0.0.1", 1, 0, FrameRejects)
	f(8090, "192.168.0.5", "10.0.0.1", 1, 0, FrameRejects)
	f(8089, "192.168.0.5", "10.0.0.9", 2, 0, FrameRejects)
	f(8089, "10.2.0.5", "10.0.0.2", 0, 0, FrameDestination)
	f(8091, "10.2.0.5", "10.0.0.1", 0, 0, FrameDestination)
}
