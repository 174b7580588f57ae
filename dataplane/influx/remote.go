package influx

import (
	"errors"
	"fmt"
)

// remote carries requests on goroutines of their own, where neither the ring nor plain sockets go: behind
// TLS, and compressed. The policy stays the writer's: to it a slot is a connection with one operation.
type remote struct {
	slots []chan remoteRequest // one goroutine each
	done  chan remoteAnswer    // has room for all slots
}

// remoteRequest is a request on its way out. The body is the batch's until the answer comes.
type remoteRequest struct {
	body          []byte
	authorization string
	canceled      chan struct{} // closed when nobody waits for the answer any more
}

// remoteAnswer is what became of a request.
type remoteAnswer struct {
	slot     int
	response *response // its goroutine's until the next request, unless there was an error
	err      error
	// unsent tells that the server has got nothing of the request: there was no connection.
	unsent bool
	// whole tells that the request was sent to its end.
	whole bool
}

// errUnreachable is a connection that could not be made.
var errUnreachable = errors.New("no connection")

// startRemote gives a request to the connection's goroutine.
func (w *Writer) startRemote(c *connection, a *attempt) {
	c.operations++
	a.operations++
	c.remote, c.canceled = a, make(chan struct{})
	w.remote.slots[c.index] <- remoteRequest{
		body: a.body(), authorization: w.config.Authorization, canceled: c.canceled,
	}
}

// where is the server in an error's words.
func (w *Writer) where() string {
	if w.remote != nil {
		return w.config.Host
	}
	return w.config.Address.String()
}

// Ready tells whether answers wait for Poll for which no descriptor becomes readable.
func (w *Writer) Ready() bool { return w.remote != nil && len(w.remote.done) > 0 }

// pollRemote takes the answers that have come.
func (w *Writer) pollRemote(now int64) {
	for {
		select {
		case answer := <-w.remote.done:
			w.completeRemote(&answer, now)
		default:
			return
		}
	}
}

// completeRemote ends a request's operation.
func (w *Writer) completeRemote(answer *remoteAnswer, now int64) {
	c := &w.connections[answer.slot]
	a := c.remote
	c.remote = nil
	c.operations--
	a.operations--
	switch {
	case c.attempt != a:
		w.shut(c) // It was given up.
	case answer.unsent:
		c.attempt, a.live = nil, false
		w.connectFailed(c, fmt.Errorf("%w: %w", errUnreachable, answer.err), now)
		w.requeue(a.batch, now)
	case answer.err != nil:
		w.lose(c, answer.err, now)
	default:
		if answer.whole {
			a.sent = a.size()
		}
		c.response = *answer.response
		w.answer(c, false, now)
	}
	w.finish(a)
}

// abandon lets a request's goroutine know that nobody waits for it.
func (c *connection) abandon() {
	if c.canceled != nil {
		close(c.canceled)
		c.canceled = nil
	}
}

// endRemote lets the goroutines end once they have answered.
func (w *Writer) endRemote() {
	if w.remote == nil {
		return
	}
	for _, slot := range w.remote.slots {
		close(slot)
	}
	w.remote.slots = nil
}
