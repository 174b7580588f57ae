package influx

import "strconv"

// attempt is one request under way: its head, and what it holds of its batch. It is free again when the
// kernel has let go of everything, which may be long after the answer.
type attempt struct {
	index      int
	generation uint32
	batch      *Batch // nil while free
	part       Part
	head       []byte // this request's; lies in the slot
	slot       []byte // the head's memory
	message    []byte // for sendmsg
	sent       int    // bytes of head and body that the socket has taken
	zeroCopy   bool   // the body leaves by SEND_ZC
	live       bool   // a connection waits for its answer
	broken     bool   // the socket takes no more; what it has received decides
	operations int    // in the ring, without notifications
	notices    int    // notifications that will come
	connection int    // whose zero-copy record the notifications count for
}

// body is the request's.
func (a *attempt) body() []byte { return a.batch.memory[a.part.From:a.part.To:a.part.To] }

// size is the length of the whole request.
func (a *attempt) size() int { return len(a.head) + a.part.size() }

// rest is what the socket has not taken yet.
func (a *attempt) rest() (head, body []byte) {
	if a.sent < len(a.head) {
		return a.head[a.sent:], a.body()
	}
	return nil, a.body()[a.sent-len(a.head):]
}

// begin writes the head for a part of a batch; fixed is what all heads begin with.
func (a *attempt) begin(b *Batch, p Part, fixed string) {
	head := strconv.AppendInt(append(a.slot[:0], fixed...), int64(p.size()), 10)
	if b.trace != nil {
		b.trace.next()
		head = b.trace.appendTo(head)
	}
	a.head = append(head, "\r\n\r\n"...)
	a.batch, a.part, a.sent, a.live, a.broken = b, p, 0, true, false
	b.refs++
}

// takeAttempt finds a free slot, or returns nil when the kernel holds all.
func (w *Writer) takeAttempt() *attempt {
	n := len(w.unused)
	if n == 0 {
		return nil
	}
	a := w.unused[n-1]
	w.unused = w.unused[:n-1]
	return a
}

// finish frees the slot if nothing holds it any more.
func (w *Writer) finish(a *attempt) {
	if a.live || a.operations > 0 || a.notices > 0 || a.batch == nil {
		return
	}
	b := a.batch
	a.batch = nil
	a.generation++
	w.unused = append(w.unused, a)
	b.unref()
}
