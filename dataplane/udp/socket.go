package udp

import (
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// Config says what to listen to and where datagrams shall lie.
type Config struct {
	// Port is the UDP port; 0 lets the kernel choose one.
	Port uint16
	// Memory receives everything; see MemorySize. It belongs to the socket until Close.
	Memory []byte
	// ReceiveBuffer (optional) is the payload, in bytes, that the kernel shall hold back for us when we are
	// late; 0 leaves the system's default. What was granted is Socket.ReceiveBuffer.
	ReceiveBuffer int
	// DatagramMax (optional) is how many bytes of a datagram are kept; 0 keeps all that UDP can carry. Less
	// turns GRO off, since a joined row of datagrams would be cut too.
	DatagramMax int
	// Device (optional) takes only what arrives on the interface of this name. The kernel prefers such a
	// socket to one without a device.
	Device string
	// ReusePort lets several of our sockets share the port and the packets. Without it the port must be
	// free: a second gateway is refused rather than given half of the packets.
	ReusePort bool
	// Groups (optional) are multicast groups to join, on Interface or, if that is 0, on Device or where the
	// routing table says.
	Groups    []netip.Addr
	Interface int // ifindex
	// Kept (optional) is the descriptor of a socket that is bound to the port already, from a process before
	// this one, with what waits in it; 0 opens one. It belongs to the Socket. What the kernel dropped at it
	// before is counted here, too.
	Kept int
}

// PortError says that a port could not be had. It wraps the system's error: errors.Is(err,
// unix.EADDRINUSE).
type PortError struct {
	Port uint16
	Err  error
}

func (e *PortError) Error() string {
	text := fmt.Sprintf("bind UDP port %d: %v", e.Port, e.Err)
	switch {
	case errors.Is(e.Err, unix.EADDRINUSE):
		text += fmt.Sprintf("; `ss -ulnp sport = :%d` names its owner: stop that or choose another port",
			e.Port)
	case errors.Is(e.Err, unix.EACCES):
		text += "; ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE"
	}
	return text
}

// Unwrap is the system's error.
func (e *PortError) Unwrap() error { return e.Err }

// Socket is one kernel socket. The worker that reads it owns it and calls Receive and Close; KernelDrops
// and the other questions may come from any goroutine.
type Socket struct {
	fd     int
	port   uint16
	buffer int
	gro    bool
	slots  slots

	// received slots are filled, the ones before current are cut, and of that one the first cut bytes.
	received, current, cut int

	mutex     sync.Mutex // guards what follows, and fd against Close, for questions from other goroutines
	closed    bool
	dropsSeen uint32 // the kernel's counter wraps
	drops     uint64
}

// Open opens a socket that listens on all addresses of both families, or of IPv4 where IPv6 is switched
// off.
func Open(config Config) (*Socket, error) {
	if config.Kept != 0 {
		family, err := unix.GetsockoptInt(config.Kept, unix.SOL_SOCKET, unix.SO_DOMAIN)
		if err != nil {
			return nil, fmt.Errorf("look at the UDP socket that was kept: %w", err)
		}
		return open(config, family)
	}
	s, err := open(config, unix.AF_INET6)
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) {
		return open(config, unix.AF_INET)
	}
	return s, err
}

func open(config Config, family int) (_ *Socket, err error) {
	datagramMax := config.DatagramMax
	if datagramMax == 0 {
		datagramMax = payloadMax
	}
	s := &Socket{fd: -1}
	if s.slots, err = layOut(config.Memory, datagramMax); err != nil {
		return nil, err
	}
	if s.fd, err = socketFor(&config, family); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			unix.Close(s.fd)
		}
	}()
	if err := s.setOptions(&config, family); err != nil {
		return nil, err
	}
	// An older kernel or a lowered DatagramMax does without GRO: the same datagrams, each in a slot of its
	// own.
	if datagramMax >= payloadMax {
		s.gro = unix.SetsockoptInt(s.fd, unix.SOL_UDP, unix.UDP_GRO, 1) == nil
	}
	if err := s.bind(&config, family); err != nil {
		return nil, err
	}
	for _, group := range config.Groups {
		if err := s.Join(group, config.Interface, config.Device); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// socketFor opens a socket, or takes the one that was kept.
func socketFor(config *Config, family int) (int, error) {
	if config.Kept == 0 {
		fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_UDP)
		if err != nil {
			return -1, fmt.Errorf("open UDP socket: %w", err)
		}
		return fd, nil
	}
	unix.CloseOnExec(config.Kept)
	if err := unix.SetNonblock(config.Kept, true); err != nil {
		return -1, fmt.Errorf("take the UDP socket that was kept: %w", err)
	}
	return config.Kept, nil
}

// setOptions asks for what every datagram shall tell of itself, and for room to wait in.
func (s *Socket) setOptions(config *Config, family int) error {
	type option struct {
		name            string
		level, key, set int
	}
	options := []option{
		{"SO_TIMESTAMPNS", unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1},
		// Groups that other programs joined are theirs.
		{"IP_MULTICAST_ALL", unix.SOL_IP, unix.IP_MULTICAST_ALL, 0},
	}
	if family == unix.AF_INET6 {
		if config.Kept == 0 { // The kernel takes it before bind only.
			options = append(options, option{"IPV6_V6ONLY", unix.SOL_IPV6, unix.IPV6_V6ONLY, 0})
		}
		options = append(options, option{"IPV6_RECVPKTINFO", unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1},
			option{"IPV6_MULTICAST_ALL", unix.SOL_IPV6, unix.IPV6_MULTICAST_ALL, 0})
	} else {
		options = append(options, option{"IP_PKTINFO", unix.SOL_IP, unix.IP_PKTINFO, 1})
	}
	if config.ReusePort {
		options = append(options, option{"SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(s.fd, o.level, o.key, o.set); err != nil {
			return fmt.Errorf("set %s of UDP socket: %w", o.name, err)
		}
	}
	if config.Device != "" {
		if err := unix.BindToDevice(s.fd, config.Device); err != nil {
			return fmt.Errorf("bind UDP socket to interface %q: %w", config.Device, err)
		}
	}
	return s.growBuffer(config.ReceiveBuffer)
}

// growBuffer asks for the receive buffer, past the system's limit if we may, and reads back what was
// granted: the kernel cuts a request without a word, and doubles it for its own overhead (socket(7),
// SO_RCVBUF).
func (s *Socket) growBuffer(size int) error {
	if size > 0 {
		if unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, size) != nil {
			if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, size); err != nil {
				return fmt.Errorf("set SO_RCVBUF of UDP socket to %d: %w", size, err)
			}
		}
	}
	granted, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF)
	if err != nil {
		return fmt.Errorf("read SO_RCVBUF of UDP socket: %w", err)
	}
	s.buffer = granted / 2
	return nil
}

func (s *Socket) bind(config *Config, family int) error {
	var address unix.Sockaddr = &unix.SockaddrInet4{Port: int(config.Port)}
	if family == unix.AF_INET6 {
		address = &unix.SockaddrInet6{Port: int(config.Port)}
	}
	if config.Kept == 0 {
		if err := unix.Bind(s.fd, address); err != nil {
			return &PortError{Port: config.Port, Err: err}
		}
	}
	// The port was free of others when this socket took it. From here on our own sockets with ReusePort,
	// such as those of one interface, may stand beside it; the kernel asks both sides for the option, at
	// bind only.
	if !config.ReusePort {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
			return fmt.Errorf("set SO_REUSEPORT of UDP port %d: %w", config.Port, err)
		}
	}
	bound, err := unix.Getsockname(s.fd)
	if err != nil {
		return fmt.Errorf("read the address of UDP port %d: %w", config.Port, err)
	}
	switch a := bound.(type) {
	case *unix.SockaddrInet4:
		s.port = uint16(a.Port)
	case *unix.SockaddrInet6:
		s.port = uint16(a.Port)
	}
	if config.Kept != 0 && s.port != config.Port {
		return fmt.Errorf("take the UDP socket that was kept: it is bound to port %d, not %d", s.port,
			config.Port)
	}
	return nil
}

// FD is the descriptor to poll.
func (s *Socket) FD() int { return s.fd }

// Port is the port that the socket is bound to.
func (s *Socket) Port() uint16 { return s.port }

// GRO tells whether the kernel may join datagrams of one flow into one slot.
func (s *Socket) GRO() bool { return s.gro }

// BatchSize is how many slots there are, hence how many Datagrams one call of Receive should offer.
func (s *Socket) BatchSize() int { return s.slots.count }

// ReceiveBuffer is how many bytes the kernel granted. Less than was asked for means that net.core.rmem_max
// is lower and the process lacks CAP_NET_ADMIN.
func (s *Socket) ReceiveBuffer() int { return s.buffer }

// KernelDrops is how many datagrams the kernel took for this socket and dropped: its buffer was full, or
// their checksum was wrong. After Close it stays what it was.
//
// It reads the kernel's counter itself (SO_MEMINFO) rather than the number that SO_RXQ_OVFL sends along:
// that one comes with the next datagram only, so the last drops of a burst would stay unseen.
func (s *Socket) KernelDrops() uint64 {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if !s.closed {
		s.readDrops()
	}
	return s.drops
}

// readDrops moves the counter up. The caller holds the mutex. On a failure it stays where it is.
func (s *Socket) readDrops() {
	if now, err := dropCounter(s.fd); err == nil {
		s.drops += uint64(now - s.dropsSeen)
		s.dropsSeen = now
	}
}

// Close closes the socket and lets go of its memory. It may be called again.
func (s *Socket) Close() error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.closed {
		return nil
	}
	s.readDrops()
	s.closed = true
	s.received, s.current, s.cut = 0, 0, 0
	s.slots = slots{}
	if err := unix.Close(s.fd); err != nil {
		return fmt.Errorf("close UDP socket: %w", err)
	}
	return nil
}
