package influx

import (
	"fmt"
	"io"

	"golang.org/x/sys/unix"

	"culvert/dataplane/uring"
)

// operation says what a completion belongs to.
type operation uint8

const (
	operationConnect operation = iota // of a connection
	operationReceive
	operationCancel
	operationMessage // of an attempt: head and body by sendmsg
	operationHead
	operationBody
)

// A token names an operation: the writer's tag in 8 bits, the operation in 8, the index of its connection or
// attempt in 16, that one's generation in 32.
func (w *Writer) token(op operation, index int, generation uint32) uint64 {
	return uint64(w.config.Tag)<<56 | uint64(op)<<48 | uint64(index)<<32 | uint64(generation)
}

// connectRing queues a connect.
func (w *Writer) connectRing(c *connection, address []byte, now int64) {
	if !w.ring.Room(1) {
		w.connectFailed(c, errRing, now)
		return
	}
	c.operations++
	w.ring.Reserve().Connect(c.fd, address, w.token(operationConnect, c.index, c.generation))
}

// armReceive queues a receive. One is always waiting, so that a connection that the server closes while it is
// idle is noticed at once.
func (w *Writer) armReceive(c *connection, now int64) {
	if !w.ring.Room(1) {
		w.lose(c, errRing, now)
		return
	}
	c.operations++
	w.ring.Reserve().Recv(c.fd, c.received, w.token(operationReceive, c.index, c.generation))
}

// cancel queues the end of all operations on a connection; each of them still completes.
func (w *Writer) cancel(c *connection) {
	if c.cancelDue = !w.ring.Room(1); c.cancelDue {
		return
	}
	c.operations++
	w.ring.Reserve().CancelFD(c.fd, w.token(operationCancel, c.index, c.generation))
}

// sendRing queues a request: one operation that copies head and body, or, where sending in place may pay, the
// head with more to come and then the body from where it lies.
func (w *Writer) sendRing(c *connection, a *attempt, now int64) {
	a.zeroCopy = a.part.size() >= w.zeroCopyMin && c.mayZeroCopy()
	if !a.zeroCopy {
		w.sendRest(c, a, now)
		return
	}
	if !w.ring.Room(2) {
		w.lose(c, errRing, now)
		return
	}
	head := w.ring.Reserve()
	head.Send(c.fd, a.head, unix.MSG_MORE|unix.MSG_WAITALL|unix.MSG_NOSIGNAL,
		w.token(operationHead, a.index, a.generation))
	head.Link()
	a.operations++
	c.operations++
	w.sendBody(c, a, a.body())
}

// sendRest queues what the socket has not taken yet.
func (w *Writer) sendRest(c *connection, a *attempt, now int64) {
	if !w.ring.Room(1) {
		w.lose(c, errRing, now)
		return
	}
	head, body := a.rest()
	if a.zeroCopy && len(head) == 0 {
		w.sendBody(c, a, body)
		return
	}
	putMessage(a.message, head, body)
	a.operations++
	c.operations++
	w.ring.Reserve().SendMessage(c.fd, a.message, unix.MSG_WAITALL|unix.MSG_NOSIGNAL,
		w.token(operationMessage, a.index, a.generation))
}

// sendBody queues bytes of the body to be sent from where they lie. There is room for it.
func (w *Writer) sendBody(c *connection, a *attempt, body []byte) {
	a.operations++
	c.operations++
	w.ring.SendZC(w.ring.Reserve(), c.fd, body, unix.MSG_WAITALL|unix.MSG_NOSIGNAL,
		w.token(operationBody, a.index, a.generation))
}

// Tag is that of the writer whose operation a completion ends.
func Tag(cqe uring.CQE) uint8 { return uint8(cqe.Token >> 56) }

// Complete takes a completion from the ring. One with another writer's tag is left alone.
func (w *Writer) Complete(cqe uring.CQE, now int64) {
	if Tag(cqe) != w.config.Tag {
		return
	}
	op, index, generation := operation(cqe.Token>>48), int(uint16(cqe.Token>>32)), uint32(cqe.Token)
	if op >= operationMessage {
		if index >= len(w.attempts) || w.attempts[index].generation != generation {
			if cqe.Flags&uring.Notification != 0 {
				return // one that nobody waits for: see completeSend
			}
			panic(fmt.Sprintf("BUG: completion %#x of an attempt that is over", cqe.Token))
		}
		w.completeSend(&w.attempts[index], op, &cqe, now)
		return
	}
	if index >= len(w.connections) || w.connections[index].generation != generation {
		panic(fmt.Sprintf("BUG: completion %#x of a connection that is over", cqe.Token))
	}
	c := &w.connections[index]
	c.operations--
	if c.state == connectionClosing {
		if c.operations == 0 {
			w.shut(c)
		}
		return
	}
	switch op {
	case operationConnect:
		if errno := cqe.Errno(); errno != 0 {
			w.connectFailed(c, errno, now)
			return
		}
		w.connected(c, now)
	case operationReceive:
		w.completeReceive(c, &cqe, now)
	}
}

// completeReceive reads what came and waits for more.
func (w *Writer) completeReceive(c *connection, cqe *uring.CQE, now int64) {
	switch errno := cqe.Errno(); {
	case errno == unix.EINTR || errno == unix.EAGAIN:
	case errno != 0:
		w.lose(c, errno, now)
	case cqe.Result == 0:
		w.ended(c, now)
	default:
		w.take(c, c.received[:cqe.Result], now)
	}
	if c.state == connectionIdle || c.state == connectionBusy {
		w.armReceive(c, now)
	}
}

// completeSend notes how far a request has come, and whether the kernel still holds its bytes.
func (w *Writer) completeSend(a *attempt, op operation, cqe *uring.CQE, now int64) {
	c := &w.connections[a.connection]
	if cqe.Flags&uring.Notification != 0 {
		if a.notices == 0 {
			// A body that was cancelled since its head failed was never given to the socket. Its completion
			// has no More, but some kernels (6.18) notify nevertheless, at a time of their own.
			return
		}
		a.notices--
		if w.ring.ReportsUsage() {
			// An older kernel does not say: there the size of a body alone decides, and nothing is counted.
			if cqe.Copied() {
				w.zeroCopied++
			} else {
				w.zeroSent++
			}
			c.record(cqe.Copied())
		}
		w.finish(a)
		return
	}
	if cqe.Flags&uring.More != 0 {
		a.notices++
	}
	a.operations--
	c.operations--
	if c.attempt == a {
		w.progress(c, a, op, cqe, now)
	}
	w.finish(a)
	if c.state == connectionClosing && c.operations == 0 {
		w.shut(c)
	}
}

// progress goes on with a request whose answer is still awaited.
func (w *Writer) progress(c *connection, a *attempt, op operation, cqe *uring.CQE, now int64) {
	if a.broken {
		return
	}
	if errno := cqe.Errno(); errno != 0 {
		if !w.sendFailed(c, a, op, errno, now) {
			return
		}
	} else if cqe.Result == 0 || op == operationHead && int(cqe.Result) != len(a.head) {
		// The chain is broken with the head, and a send of nothing is none.
		w.lose(c, io.ErrShortWrite, now)
		return
	} else {
		a.sent += int(cqe.Result)
		a.sentAll(now)
	}
	if op != operationHead && a.sent < a.size() {
		w.sendRest(c, a, now)
	}
}

// sendFailed decides what an error on sending means and reports whether to go on sending.
func (w *Writer) sendFailed(c *connection, a *attempt, op operation, errno unix.Errno, now int64) bool {
	switch {
	case op != operationHead && (errno == unix.EINTR || errno == unix.EAGAIN):
		return true
	case op == operationBody && inPlaceRefused(errno):
		a.zeroCopy = false
		c.skip, c.skipNext = skipMax, skipMax
		return true
	case gone(errno):
		// The receive that waits says what came before the end: perhaps an answer.
		a.broken = true
	default:
		w.lose(c, errno, now)
	}
	return false
}

// inPlaceRefused tells whether the socket or the kernel cannot send in place though it can send.
func inPlaceRefused(errno unix.Errno) bool {
	return errno == unix.EOPNOTSUPP || errno == unix.EINVAL || errno == unix.ENOMEM || errno == unix.ENOBUFS
}
