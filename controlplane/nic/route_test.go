package nic

import (
	"maps"
	"net"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Goal: what stands on an interface is found through bonds and VLANs, in whatever order they are listed; the
// other end of a veth does not stand on it.
func TestAbove(t *testing.T) {
	links := []netlink.Link{
		&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Index: 9, ParentIndex: 5}},
		&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Index: 8}},
		&netlink.Bond{LinkAttrs: netlink.LinkAttrs{Index: 5}},
		&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 3, MasterIndex: 5}},
		&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: 2}},
		&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Index: 7, ParentIndex: 2, MasterIndex: 8}},
		&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Index: 4, ParentIndex: 2}},
	}
	f := func(index int, want ...int) {
		t.Helper()
		if got := slices.Sorted(maps.Keys(above(index, links))); !slices.Equal(got, want) {
			t.Errorf("above %d are %v, want %v", index, got, want)
		}
	}
	f(2, 2, 7, 8)
	f(3, 3, 5, 9)
	f(4, 4)
	f(8, 8)
}

func TestDefaultRoute(t *testing.T) {
	network := func(text string) *net.IPNet {
		_, parsed, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		return parsed
	}
	f := func(route netlink.Route, want bool) {
		t.Helper()
		if got := isDefault(&route) && leavesBy(&route, map[int]bool{2: true, 7: true}); got != want {
			t.Errorf("%+v: %t, want %t", route, got, want)
		}
	}
	f(netlink.Route{Type: unix.RTN_UNICAST, LinkIndex: 2}, true)
	f(netlink.Route{Type: unix.RTN_UNICAST, LinkIndex: 7, Dst: network("0.0.0.0/0")}, true)
	f(netlink.Route{Type: unix.RTN_UNICAST, LinkIndex: 7, Dst: network("::/0")}, true)
	several := []*netlink.NexthopInfo{{LinkIndex: 3}, {LinkIndex: 2}}
	f(netlink.Route{Type: unix.RTN_UNICAST, MultiPath: several}, true)
	f(netlink.Route{Type: unix.RTN_UNICAST, LinkIndex: 3}, false)
	f(netlink.Route{Type: unix.RTN_UNICAST, LinkIndex: 2, Dst: network("10.0.0.0/8")}, false)
	f(netlink.Route{Type: unix.RTN_UNREACHABLE, LinkIndex: 2}, false)
}
