package influx

import (
	"golang.org/x/sys/unix"
)

// receivesMax bounds the receives of one turn on one plain socket.
const receivesMax = 64

// pollConnect looks whether a connect over a plain socket has ended.
func (w *Writer) pollConnect(c *connection, now int64) {
	set := [1]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLOUT}}
	if n, err := unix.Poll(set[:], 0); n == 0 || err != nil {
		return
	}
	errno, err := unix.GetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	switch {
	case err != nil:
		w.connectFailed(c, err, now)
	case errno != 0:
		w.connectFailed(c, unix.Errno(errno), now)
	default:
		w.connected(c, now)
	}
}

// pump moves bytes both ways over a plain socket as far as they go without waiting.
func (w *Writer) pump(c *connection, now int64) {
	if a := c.attempt; a != nil && !a.broken && !w.pumpOut(c, a, now) {
		return
	}
	for range receivesMax {
		n, errno := receive(c.fd, c.received)
		switch {
		case errno == unix.EAGAIN:
			return
		case errno == unix.EINTR:
			continue
		case errno != 0:
			w.lose(c, errno, now)
		case n == 0:
			w.ended(c, now)
		default:
			w.take(c, c.received[:n], now)
		}
		if c.state != connectionBusy {
			return
		}
	}
}

// pumpOut sends what the socket takes and reports whether the connection is still of use.
func (w *Writer) pumpOut(c *connection, a *attempt, now int64) bool {
	for a.sent < a.size() {
		head, body := a.rest()
		putMessage(a.message, head, body)
		n, errno := sendMessage(c.fd, a.message)
		switch {
		case errno == unix.EAGAIN:
			return true
		case errno == unix.EINTR:
		case gone(errno):
			// What came before the end says more: perhaps an answer.
			a.broken = true
			return true
		case errno != 0:
			w.lose(c, errno, now)
			return false
		default:
			a.sent += n
			a.sentAll(now)
		}
	}
	return true
}

// PollFDs appends what a sleeping worker must wait for beside the ring: plain sockets, and what they wait
// for.
func (w *Writer) PollFDs(set []unix.PollFd) []unix.PollFd {
	if w.ring != nil || w.remote != nil {
		return set
	}
	for i := range w.connections {
		c := &w.connections[i]
		if c.fd < 0 {
			continue
		}
		// What is found readable is read by the next Poll, however soon it comes.
		c.triedAt = 0
		events := int16(unix.POLLIN)
		if c.state == connectionConnecting || c.attempt != nil && !c.attempt.broken &&
			c.attempt.sent < c.attempt.size() {
			events |= unix.POLLOUT
		}
		set = append(set, unix.PollFd{Fd: int32(c.fd), Events: events})
	}
	return set
}
