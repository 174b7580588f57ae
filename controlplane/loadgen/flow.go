package loadgen

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// flow is one connected socket and the series that leave by it.
type flow struct {
	fd          int
	first, last int   // its series: first … last-1
	next        int   // the series of its next point
	stamp       int64 // of its last round, in the unit of timestamps
}

const (
	// sendBuffer is asked for each socket, in bytes: room for several bursts.
	sendBuffer = 4 << 20
	// sendWait bounds how long a full socket holds the sender, in microseconds, so that it can be stopped.
	sendWait = 100_000
)

// openFlow connects a socket. Connected, the kernel looks for the way once, and says if nobody listens.
func openFlow(to netip.AddrPort) (fd int, err error) {
	family, address := unix.AF_INET6, unix.Sockaddr(nil)
	if ip := to.Addr().Unmap(); ip.Is4() {
		family, address = unix.AF_INET, &unix.SockaddrInet4{Port: int(to.Port()), Addr: ip.As4()}
	} else {
		zone, err := zoneIndex(ip.Zone())
		if err != nil {
			return -1, fmt.Errorf("send to %s: %w", to, err)
		}
		address = &unix.SockaddrInet6{Port: int(to.Port()), Addr: ip.As16(), ZoneId: zone}
	}
	fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return -1, fmt.Errorf("open UDP socket: %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	// Without these the kernel says nothing of a packet that its own queue drops (net/ipv4/udp.c,
	// udp_send_skb), and it would count as sent.
	level, option := unix.SOL_IP, unix.IP_RECVERR
	if family == unix.AF_INET6 {
		level, option = unix.SOL_IPV6, unix.IPV6_RECVERR
	}
	if err := unix.SetsockoptInt(fd, level, option, 1); err != nil {
		return -1, fmt.Errorf("ask for errors of a UDP socket: %w", err)
	}
	// A smaller buffer than asked for makes it slower, not wrong.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, sendBuffer)
	wait := unix.Timeval{Usec: sendWait}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &wait); err != nil {
		return -1, fmt.Errorf("set SO_SNDTIMEO of UDP socket: %w", err)
	}
	if err := unix.Connect(fd, address); err != nil {
		return -1, fmt.Errorf("connect UDP socket to %s: %w", to, err)
	}
	return fd, nil
}

func zoneIndex(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	link, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("find interface %q: %w", zone, err)
	}
	return uint32(link.Index), nil
}
