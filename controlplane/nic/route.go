package nic

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// dumpTries is how often a list is asked for that a change interrupts: changes come in bursts, and each try
// sees a later moment.
const dumpTries = 5

// CarriesDefaultRoute tells whether a default route of the host leaves by an interface, or by a bond, bridge
// or VLAN above it: whoever resets it may lock himself out. None leaves by one that is not there.
func CarriesDefaultRoute(name string) (bool, error) {
	link, err := netlink.LinkByName(name)
	var absent netlink.LinkNotFoundError
	if errors.As(err, &absent) || errors.Is(err, unix.ENODEV) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("find interface %q: %w", name, err)
	}
	for range dumpTries {
		var carries bool
		if carries, err = carriesDefaultRoute(link.Attrs().Index); err == nil {
			return carries, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return false, err
}

func carriesDefaultRoute(index int) (found bool, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return false, fmt.Errorf("list interfaces: %w", err)
	}
	over := above(index, links)
	// One by one, since a router's tables are long.
	err = netlink.RouteListFilteredIter(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC},
		netlink.RT_FILTER_TABLE, func(route netlink.Route) bool {
			found = isDefault(&route) && leavesBy(&route, over)
			return !found
		})
	if err != nil && !found {
		return false, fmt.Errorf("list routes: %w", err)
	}
	return found, nil
}

// above are an interface and all that stand on it: the bond or bridge that it belongs to, VLANs and the like
// on either.
func above(index int, links []netlink.Link) map[int]bool {
	over := map[int]bool{index: true}
	for known := 0; known < len(over); {
		known = len(over)
		for _, link := range links {
			attributes := link.Attrs()
			if over[attributes.Index] && attributes.MasterIndex != 0 {
				over[attributes.MasterIndex] = true
			}
			switch link.Type() {
			case "vlan", "macvlan", "macvtap", "ipvlan":
				// What others name as their parent may be in another namespace.
				if over[attributes.ParentIndex] {
					over[attributes.Index] = true
				}
			}
		}
	}
	return over
}

func isDefault(route *netlink.Route) bool {
	if route.Type != unix.RTN_UNICAST {
		return false
	}
	if route.Dst == nil {
		return true
	}
	ones, _ := route.Dst.Mask.Size()
	return ones == 0
}

func leavesBy(route *netlink.Route, over map[int]bool) bool {
	if over[route.LinkIndex] {
		return true
	}
	for _, hop := range route.MultiPath {
		if over[hop.LinkIndex] {
			return true
		}
	}
	return false
}
