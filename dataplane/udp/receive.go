package udp

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Datagram is one datagram as the kernel delivered it. It is borrowed: Payload is valid until the next call
// of Receive on its socket.
type Datagram struct {
	Payload []byte
	// Source and Destination are the addresses in the packet, IPv4 as ::ffff:a.b.c.d.
	Source, Destination [16]byte
	// Stamp is CLOCK_REALTIME, in nanoseconds, when the kernel took the packet in; 0 if it does not say.
	// All datagrams of a row that GRO joined have the first one's.
	Stamp      int64
	SourcePort uint16
	// Truncated marks a datagram that was longer than its slot: the rest is lost.
	Truncated bool
	// Joined marks a datagram that came in a row joined by GRO.
	Joined bool
}

// Receive takes what has arrived, at most as many datagrams as there is room for, and returns how many; 0
// says that there is nothing. It never waits. What it could not hand out of a joined row comes with the
// next call, before anything new: a reader goes on until it gets 0, because poll knows only what is still
// in the kernel.
//
// An error is the socket's (its interface went down, say), not a sender's; the next call goes on.
func (s *Socket) Receive(into []Datagram) (int, error) {
	if s.current == s.received {
		if err := s.fill(len(into)); err != nil {
			return 0, err
		}
	}
	n := 0
	for n < len(into) && s.current < s.received {
		n += s.take(into[n:])
	}
	return n, nil
}

// fill has the kernel fill slots, at most this many.
func (s *Socket) fill(limit int) error {
	// The slots up to received are the ones whose lengths the kernel has changed.
	for i := range s.received {
		s.slots.rearm(i)
	}
	s.received, s.current, s.cut = 0, 0, 0
	limit = min(limit, s.slots.count)
	if limit == 0 {
		return nil
	}
	n, errno := receiveMessages(s.fd, s.slots.memory, limit)
	switch errno {
	case 0:
		// Only the returned count is filled; the messages behind it hold what they held before.
		s.received = n
		return nil
	case unix.EAGAIN, unix.EINTR:
		return nil
	}
	return fmt.Errorf("receive on UDP port %d: %w", s.port, errno)
}

// take cuts the current slot into datagrams, as many as there is room for, and moves on when it is used up.
func (s *Socket) take(into []Datagram) int {
	var about told
	a := s.slots.arrived(s.current)
	readControl(a.control, &about)
	source, port := readName(a.name)
	joined := about.segment > 0 && about.segment < len(a.payload)
	segment := len(a.payload)
	if joined {
		segment = about.segment
	}
	n := 0
	for n < len(into) {
		end := min(s.cut+segment, len(a.payload))
		d := &into[n]
		d.Payload = a.payload[s.cut:end:end]
		d.Source, d.Destination = source, about.destination
		d.Stamp, d.SourcePort, d.Joined = about.stamp, port, joined
		// What the kernel cut off was at the end.
		d.Truncated = a.truncated && end == len(a.payload)
		n++
		if s.cut = end; end == len(a.payload) {
			s.current, s.cut = s.current+1, 0
			break
		}
	}
	return n
}
