package influx

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// connectionState is what a connection is doing.
type connectionState uint8

const (
	connectionClosed connectionState = iota
	connectionConnecting
	connectionIdle
	connectionBusy    // one request is under way
	connectionClosing // the ring's operations are being cancelled
)

// connection is one place for a TCP connection; one after another takes it.
type connection struct {
	index      int
	generation uint32
	state      connectionState
	fd         int
	operations int  // in the ring that name fd, without notifications
	cancelDue  bool // the ring had no room for the cancel
	abort      bool // what the socket has not sent yet is thrown away at its end
	last       bool // no further request goes out
	deadline   int64
	since      int64 // when it was established
	triedAt    int64 // when a plain socket was last read while idle
	requests   int   // answered
	attempt    *attempt
	response   response
	remote     *attempt      // whose answer a goroutine will bring, even if it was given up
	canceled   chan struct{} // closed to let that goroutine know
	address    []byte        // memory for a raw address
	received   []byte        // memory for what one receive takes

	// The record of zero copy outlives the TCP connection: it is about the path.
	copiedRow int // notifications in a row that say that the kernel copied
	skip      int // requests to be sent by copying before the next trial
	skipNext  int
}

const (
	// copiedMax is how many copies in a row tell that a path cannot do without.
	copiedMax = 8
	// After them so many requests are copied at once before one tries again, twice as many each time.
	skipFirst, skipMax = 256, 1 << 16
	// idleProbe is how often a plain socket is looked at while idle, in nanoseconds.
	idleProbe = int64(time.Millisecond)
)

var (
	errTimeout = fmt.Errorf("no answer within the timeout: %w", os.ErrDeadlineExceeded)
	errRing    = errors.New("the ring takes no operations")
)

// gone tells whether an error means that the other side has closed the connection.
func gone(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, unix.EPIPE)
}

// drive does what is due on a connection.
func (w *Writer) drive(c *connection, now int64) {
	switch c.state {
	case connectionClosed:
		if w.remote != nil {
			if !w.closed && now >= w.connectAt {
				w.connected(c, now)
			}
		} else if now >= w.connectAt && w.mayConnect(c) {
			w.open(c, now)
		}
	case connectionConnecting:
		if now >= c.deadline {
			w.connectFailed(c, errTimeout, now)
		} else if w.ring == nil {
			w.pollConnect(c, now)
		}
	case connectionBusy:
		if now >= c.deadline {
			w.lose(c, errTimeout, now)
		} else if w.ring == nil && w.remote == nil {
			w.pump(c, now)
		}
	case connectionIdle:
		if w.ring == nil && w.remote == nil && now-c.triedAt >= idleProbe {
			c.triedAt = now
			w.pump(c, now)
		}
	case connectionClosing:
		if c.cancelDue {
			w.cancel(c)
		}
	}
}

// timer is when drive must be called even if nothing happens.
func (w *Writer) timer(c *connection) int64 {
	switch {
	case c.state == connectionConnecting || c.state == connectionBusy:
		return c.deadline
	case c.state == connectionClosed && (w.mayConnect(c) || w.remote != nil && !w.closed):
		return w.connectAt
	case c.cancelDue:
		return 0
	}
	return never
}

// open starts a connect.
func (w *Writer) open(c *connection, now int64) {
	address, err := putAddress(c.address, w.config.Address)
	if err == nil {
		err = w.socket(c)
	}
	if err != nil {
		w.connectFailed(c, err, now)
		return
	}
	c.state, c.deadline = connectionConnecting, now+int64(w.config.Timeout)
	if w.ring != nil {
		w.connectRing(c, address, now)
		return
	}
	switch errno := connectTo(c.fd, address); errno {
	case 0:
		w.connected(c, now)
	case unix.EINPROGRESS, unix.EINTR:
	default:
		w.connectFailed(c, errno, now)
	}
}

// socket makes a socket with its options. In a ring it must block: there a socket that does not block fails
// where it would have to wait, instead of waiting in the ring.
func (w *Writer) socket(c *connection) error {
	family, kind := unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC
	if w.config.Address.Addr().Unmap().Is4() {
		family = unix.AF_INET
	}
	if w.ring == nil {
		kind |= unix.SOCK_NONBLOCK
	}
	fd, err := unix.Socket(family, kind, unix.IPPROTO_TCP)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	c.fd = fd
	// None of these is worth a connection: without them it is slower, or dead peers are noticed later.
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(w.config.Timeout.Milliseconds()))
	// A batch shall leave in one go. Without the capability for more than net.core.wmem_max the kernel's own
	// tuning is left on, which a smaller fixed size would switch off.
	batch := len(w.config.Pool.batches[0].memory)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, batch)
	return nil
}

// connected takes an established connection into use.
func (w *Writer) connected(c *connection, now int64) {
	c.state, c.since, c.triedAt, c.requests = connectionIdle, now, now, 0
	w.connects++
	w.reached()
	if !w.troubled {
		w.lastError = ""
	}
	if w.ring != nil {
		w.armReceive(c, now)
	}
}

// connectFailed lets all connects wait, longer after each round that failed.
func (w *Writer) connectFailed(c *connection, why error, now int64) {
	w.lastError = fmt.Sprintf("connect to %s: %v", w.where(), why)
	if w.postpone(now) {
		w.fail(true, now)
	}
	w.close(c, true)
}

// postpone counts a failed connect and reports whether it began a round of them: connections that fail
// together are one.
func (w *Writer) postpone(now int64) bool {
	w.failures++
	if now < w.connectAt {
		return false
	}
	w.connectFail++
	w.connectAt = now + w.probeWait(w.connectFail)
	return true
}

// send gives an attempt to an idle connection.
func (w *Writer) send(c *connection, a *attempt, now int64) {
	c.state, c.attempt, c.deadline = connectionBusy, a, now+int64(w.config.Timeout)
	c.response = response{details: c.response.details[:0]}
	a.connection = c.index
	if a.batch.trace != nil {
		a.batch.trace.begin(a.part, now)
	}
	if w.remote != nil {
		w.startRemote(c, a)
		return
	}
	if w.ring != nil {
		w.sendRing(c, a, now)
		return
	}
	w.pump(c, now)
}

// take reads what the server sent.
func (w *Writer) take(c *connection, b []byte, now int64) {
	if c.attempt == nil {
		// Nobody asked: a server that says goodbye, or one whose answers no longer fit the questions.
		w.lose(c, errMalformed, now)
		return
	}
	used, done, err := c.response.feed(b)
	switch {
	case err != nil:
		w.lose(c, err, now)
	case done:
		w.answer(c, used < len(b), now)
	}
}

// ended is the end of what the server sends.
func (w *Writer) ended(c *connection, now int64) {
	if c.attempt != nil && c.response.end() {
		w.answer(c, true, now)
		return
	}
	w.lose(c, io.EOF, now)
}

// answer ends a request. The connection is idle again unless one of the two sides is through with it.
func (w *Writer) answer(c *connection, last bool, now int64) {
	a := c.attempt
	c.attempt, a.live = nil, false
	c.requests++
	c.state = connectionIdle
	w.connectFail = 0
	unsent := a.sent < a.size()
	if last || unsent || c.last || c.response.close {
		w.close(c, unsent)
	}
	w.conclude(&c.response, a, now)
	w.finish(a)
}

// lose ends a connection that is of no more use, with the request on it, if there is one.
func (w *Writer) lose(c *connection, why error, now int64) {
	a := c.attempt
	if c.requests == 0 && now-c.since < int64(w.config.Retry.Max) {
		// It never was of use: whoever accepts and closes at once is not asked again at once.
		w.postpone(now)
		w.lastError = fmt.Sprintf("connection to %s: %v", w.where(), why)
	}
	if a != nil {
		c.attempt, a.live = nil, false
		w.lost(c, a, why, now)
	}
	w.close(c, a != nil)
	if a != nil {
		w.finish(a)
	}
}

// close ends a connection. With abort, what is still to be sent is thrown away, which also makes the kernel
// let go of batches.
func (w *Writer) close(c *connection, abort bool) {
	c.abort = abort
	if c.operations > 0 {
		c.state = connectionClosing
		if w.remote != nil {
			c.abandon()
			return
		}
		w.cancel(c)
		return
	}
	w.shut(c)
}

// shut gives the descriptor back once nothing in the ring names it.
func (w *Writer) shut(c *connection) {
	if c.fd >= 0 {
		if c.abort {
			linger := unix.Linger{Onoff: 1}
			_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &linger)
		}
		_ = unix.Close(c.fd)
		c.fd = -1
	}
	c.state, c.last, c.cancelDue = connectionClosed, false, false
	c.generation++
}

// mayZeroCopy tells whether the next body is sent in place.
func (c *connection) mayZeroCopy() bool {
	if c.skip > 0 {
		c.skip--
		return false
	}
	return true
}

// record notes whether the kernel copied what was to be sent in place. A path that always copies only costs
// more that way.
func (c *connection) record(copied bool) {
	switch {
	case !copied:
		c.copiedRow, c.skipNext = 0, 0
	case c.skip == 0:
		if c.copiedRow++; c.copiedRow >= copiedMax {
			c.skipNext = min(max(2*c.skipNext, skipFirst), skipMax)
			c.skip = c.skipNext
			// One trial then suffices to go on like that.
			c.copiedRow = copiedMax - 1
		}
	}
}
