package loadgen

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// firstPort is where the source ports of flows begin: the dynamic ones (RFC 6335).
	firstPort = 49152
	// neighbourAttempts and neighbourPause bound the wait for a neighbour's answer: 2 s, or 1 s where it is
	// no condition.
	neighbourAttempts = 100
	primeAttempts     = 50
	neighbourPause    = 20 * time.Millisecond
)

// route finds, for packets that no socket makes, the link and both ends of each flow.
func route(r *resolved) (netlink.Link, []endpoints, error) {
	var link netlink.Link
	known := map[netip.Addr]endpoints{}
	var flows []endpoints
	for i := range r.Flows {
		to := netip.AddrPortFrom(r.To[i%len(r.To)].Addr().Unmap(), r.To[i%len(r.To)].Port())
		e, found := known[to.Addr()]
		if !found {
			on, ends, err := routeTo(r, to.Addr(), neighbourAttempts)
			if err != nil {
				return nil, nil, err
			}
			if link != nil && link.Attrs().Index != on.Attrs().Index {
				return nil, nil, fmt.Errorf("receivers are reached by %q and %q: one interface is used",
					link.Attrs().Name, on.Attrs().Name)
			}
			link, e = on, ends
			known[to.Addr()] = e
		}
		e.to, e.from = to, netip.AddrPortFrom(e.from.Addr(), uint16(firstPort+i))
		flows = append(flows, e)
	}
	return link, flows, nil
}

// ask lets the kernel look for a neighbour, by sending it an empty datagram for the discard service (RFC
// 863). To name it in the kernel's table would do too, but takes a privilege.
func ask(index int, hop net.IP) error {
	to, _ := netip.AddrFromSlice(hop)
	to = to.Unmap()
	if to.IsLinkLocalUnicast() && to.Is6() {
		to = to.WithZone(strconv.Itoa(index))
	}
	const discard = 9
	fd, err := openSocket(netip.AddrPortFrom(to, discard), "")
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	// It may be refused by an earlier answer; then the neighbour is known.
	_, _ = unix.Write(fd, nil)
	return nil
}

// prime lets the kernel learn the receivers' hardware addresses before packets leave by sockets: while it
// does not know them it keeps a few and drops the rest without a word (__neigh_event_send,
// net/core/neighbour.c). Where that does not succeed the first packets have to take their chance.
func prime(r *resolved) {
	known := map[netip.Addr]bool{}
	for _, to := range r.To {
		if ip := to.Addr().Unmap(); !known[ip] && !ip.IsMulticast() {
			known[ip] = true
			_, _, _ = routeTo(r, ip.WithZone(""), primeAttempts)
		}
	}
}

// routeTo asks the kernel for the interface, the source address and the next hop's hardware address.
func routeTo(r *resolved, to netip.Addr, attempts int) (netlink.Link, endpoints, error) {
	routes, err := netlink.RouteGetWithOptions(to.AsSlice(), &netlink.RouteGetOptions{Oif: r.Interface})
	if err != nil || len(routes) == 0 {
		return nil, endpoints{}, fmt.Errorf("find the route to %s: %w", to, err)
	}
	link, err := netlink.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return nil, endpoints{}, fmt.Errorf("find the interface to %s: %w", to, err)
	}
	name := link.Attrs().Name
	if len(link.Attrs().HardwareAddr) != 6 {
		return nil, endpoints{}, fmt.Errorf("reach %s by %q: it is no Ethernet interface; use --via socket",
			to, name)
	}
	from, ok := netip.AddrFromSlice(routes[0].Src)
	if !ok || from.Unmap().Is4() != to.Is4() {
		return nil, endpoints{}, fmt.Errorf("find a source address for %s on %q: it has none", to, name)
	}
	e := endpoints{
		fromMAC: link.Attrs().HardwareAddr, toMAC: r.ToMAC, from: netip.AddrPortFrom(from.Unmap(), 0),
	}
	if e.toMAC == nil {
		hop := net.IP(to.AsSlice())
		if len(routes[0].Gw) > 0 {
			hop = routes[0].Gw
		}
		if e.toMAC, err = neighbour(link.Attrs().Index, hop, attempts); err != nil {
			return nil, endpoints{}, fmt.Errorf("find the hardware address of %s on %q: %w", hop, name, err)
		}
	}
	return link, e, nil
}

// neighbour reads the kernel's table, and lets the kernel ask for an address that is not in it.
func neighbour(index int, hop net.IP, attempts int) (net.HardwareAddr, error) {
	family := unix.AF_INET6
	if hop.To4() != nil {
		family = unix.AF_INET
	}
	const usable = netlink.NUD_REACHABLE | netlink.NUD_STALE | netlink.NUD_DELAY | netlink.NUD_PROBE |
		netlink.NUD_PERMANENT | netlink.NUD_NOARP
	for attempt := range attempts {
		table, err := netlink.NeighList(index, family)
		if err != nil {
			return nil, fmt.Errorf("list neighbours: %w", err)
		}
		for _, n := range table {
			if n.IP.Equal(hop) && n.State&usable != 0 && len(n.HardwareAddr) == 6 {
				return n.HardwareAddr, nil
			}
		}
		if attempt == 0 {
			if err := ask(index, hop); err != nil {
				return nil, fmt.Errorf("ask for it: %w", err)
			}
		}
		time.Sleep(neighbourPause)
	}
	return nil, fmt.Errorf("nobody answers; say it with --to-mac")
}
