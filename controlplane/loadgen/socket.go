package loadgen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

const (
	// sendBuffer is asked for each socket, in bytes: room for several bursts.
	sendBuffer = 4 << 20
	// sendWait bounds how long a full socket holds the sender, in microseconds, so that it can be stopped.
	sendWait = 100_000
	// segmentsMax is UDP_MAX_SEGMENTS of include/linux/udp.h before Linux 6.9, which doubled it.
	segmentsMax = 64
)

// sockets is the way through the kernel's stack: one connected UDP socket a flow. Packets of one size leave
// as one that the kernel cuts up as late as it can (UDP_SEGMENT, Linux 4.18), so that the way through the
// stack is paid once for up to 64 of them. Where it does not, they go by sendmmsg.
type sockets struct {
	fds      []int
	segments bool
	call     sendCall
}

func openSockets(r *resolved) (opened way, err error) {
	s := &sockets{segments: !r.NoSegments}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	prime(r)
	for i := range r.Flows {
		fd, err := openSocket(r.To[i%len(r.To)], r.Interface)
		if err != nil {
			return nil, err
		}
		s.fds = append(s.fds, fd)
		// Asked for no segments: it only tells whether the kernel knows the option.
		if unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT, 0) != nil {
			s.segments = false
		}
	}
	return s, nil
}

// openSocket connects a socket. Connected, the kernel looks for the way once, and says if nobody listens.
func openSocket(to netip.AddrPort, link string) (fd int, err error) {
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
	if link != "" {
		if err := unix.BindToDevice(fd, link); err != nil {
			return -1, fmt.Errorf("bind UDP socket to interface %q: %w", link, err)
		}
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

// send gives the first packets of one size away as one, or all of them one by one. A device without a queue
// of its own may take a part of the segments and refuse the rest; the whole is sent again then, and some
// packets arrive twice, which their sequence numbers tell.
func (s *sockets) send(flow int, packets [][]byte) (int, unix.Errno) {
	if n := sameSize(packets); s.segments && n > 1 {
		errno := s.call.segments(s.fds[flow], packets[:n])
		switch errno {
		case 0:
			return n, 0
		case unix.EINVAL, unix.EIO, unix.EMSGSIZE, unix.EOPNOTSUPP:
			// A packet does not fit into the MTU, or the device cannot make checksums of segments: see
			// udp_send_skb, net/ipv4/udp.c. It will not change.
			s.segments = false
		default:
			return 0, errno
		}
	}
	return s.call.messages(s.fds[flow], packets)
}

// sameSize is how many of the first packets may leave as the segments of one: they are of one size, but the
// last may be shorter.
func sameSize(packets [][]byte) int {
	size, room := len(packets[0]), payloadMax
	n := 0
	for n < min(len(packets), segmentsMax) && len(packets[n]) <= min(size, room) && len(packets[n]) > 0 {
		room -= len(packets[n])
		n++
		if len(packets[n-1]) < size {
			break
		}
	}
	return n
}

func (s *sockets) flush() error { return nil }

func (s *sockets) mode() mode {
	if s.segments {
		return mode{ViaSocket, "UDP sockets, segments cut by the kernel", false}
	}
	return mode{ViaSocket, "UDP sockets", false}
}

func (s *sockets) close() error {
	var errs []error
	for _, fd := range s.fds {
		errs = append(errs, unix.Close(fd))
	}
	s.fds = nil
	return errors.Join(errs...)
}
