package tune

import (
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// CarriesDefaultRoute tells whether a default route of the host leaves by an interface, or by the bond or
// bridge that it belongs to: whoever resets it may lock himself out.
func CarriesDefaultRoute(name string) (bool, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return false, fmt.Errorf("find interface %q: %w", name, err)
	}
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL,
		&netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return false, fmt.Errorf("list routes: %w", err)
	}
	ours := func(index int) bool {
		return index == link.Attrs().Index || index != 0 && index == link.Attrs().MasterIndex
	}
	for _, route := range routes {
		if route.Dst != nil {
			if ones, _ := route.Dst.Mask.Size(); ones != 0 {
				continue
			}
		}
		if route.Type != unix.RTN_UNICAST {
			continue
		}
		if ours(route.LinkIndex) {
			return true, nil
		}
		for _, hop := range route.MultiPath {
			if ours(hop.LinkIndex) {
				return true, nil
			}
		}
	}
	return false, nil
}
