package udp

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Join makes the socket a member of a multicast group: the interface then takes the group's packets and
// tells the switches. The interface is given by its index, or else by its name; with neither the routing
// table chooses. Joining twice is no error. A membership ends with the socket or the interface.
func (s *Socket) Join(group netip.Addr, ifindex int, device string) error {
	if !group.IsMulticast() {
		return fmt.Errorf("join group %s: it is not a multicast address: %w", group, unix.EINVAL)
	}
	if ifindex == 0 && device != "" {
		found, err := net.InterfaceByName(device)
		if err != nil {
			return fmt.Errorf("join group %s on %q: %w", group, device, err)
		}
		ifindex = found.Index
	}
	var err error
	if group = group.Unmap(); group.Is4() {
		err = unix.SetsockoptIPMreqn(s.fd, unix.SOL_IP, unix.IP_ADD_MEMBERSHIP,
			&unix.IPMreqn{Multiaddr: group.As4(), Ifindex: int32(ifindex)})
	} else {
		err = unix.SetsockoptIPv6Mreq(s.fd, unix.SOL_IPV6, unix.IPV6_JOIN_GROUP,
			&unix.IPv6Mreq{Multiaddr: group.As16(), Interface: uint32(ifindex)})
	}
	if err != nil && !errors.Is(err, unix.EADDRINUSE) {
		return fmt.Errorf("join group %s on interface %d: %w", group, ifindex, err)
	}
	return nil
}
