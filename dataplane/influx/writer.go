package influx

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"culvert/dataplane/uring"
)

// Reason is why points of a batch are not in the database.
type Reason uint8

const (
	// ReasonNone: all of them are.
	ReasonNone Reason = iota
	// ReasonPartial: the server stored the others and refused these.
	ReasonPartial
	// ReasonRefused: the server refused these for good.
	ReasonRefused
	// ReasonUndelivered: the retry budget was spent, or the writer was closed.
	ReasonUndelivered
	// ReasonAside: as before, or the breaker is open or the pool nearly empty; the caller keeps the points.
	ReasonAside
)

// never is the time of what does not come by itself.
const never = int64(math.MaxInt64)

var reasonNames = [...]string{"none", "partial_write", "refused", "undelivered", "aside"}

func (r Reason) String() string { return reasonNames[r] }

// Outcome is what became of a batch. Its points are the sum of the four counts.
type Outcome struct {
	// Batch is the caller's again, to be released.
	Batch *Batch
	// Written are in the database, Rejected were refused by it, Undelivered have no answer that says either.
	// Aside are like Undelivered, but for the caller to keep: Batch.Rest names them. With Config.Aside there
	// are these and never Undelivered, without it the other way round.
	Written, Rejected, Undelivered, Aside int
	// Reason is the worst that befell some of the points: aside, undelivered, refused, partial, none.
	Reason Reason
	// Code is the HTTP status of the last answer, 0 if there was none.
	Code int
}

// Stats is what a Writer counted since it was made.
type Stats struct {
	// Requests counts by HTTP status, and under "error" those without an answer.
	Requests map[string]uint64
	// Connections are established now.
	Connections int
	// ZeroCopySent and ZeroCopyCopied count notifications by what the kernel did; before 6.2 it does not say.
	ZeroCopySent, ZeroCopyCopied uint64
	// Connects counts connections that were established, Failures those that were not or were lost.
	Connects, Failures uint64
	// Halved counts requests that were cut in two since the server refused or could not take them whole.
	Halved uint64
	// Waiting are batches that no connection has taken up.
	Waiting int
	// Breaker is its state.
	Breaker BreakerState
}

// Writer brings batches to one server. It belongs to the thread that made it, which also made the ring.
type Writer struct {
	config      Config
	ring        *uring.Ring
	remote      *remote
	fixed       string            // what every head begins with
	secrets     *strings.Replacer // takes what authorizes out of a server's words
	age         int64
	zeroCopyMin int
	connections []connection
	attempts    []attempt
	unused      []*attempt
	waiting     []*Batch // oldest first
	outcomes    []Outcome
	firstOut    int // of outcomes
	outs        int

	pausedUntil int64 // nothing is sent before
	connectAt   int64 // nothing is connected before
	connectFail int   // rounds of connects that failed in a row
	bodyLimit   int   // the longest body that the server has not called too large
	random      uint64
	breaker     breaker
	behind      bool  // with Ordered: one went aside, so that all that follow do
	troubled    bool  // the last answer, or its absence, was a failure
	troubleAt   int64 // when a request failed last
	goodAt      int64 // when the server was found in order last
	closed      bool
	left        bool // see Leave
	lastError   string
	lastReject  string
	refusals    []Refusal
	wroteAt     int64 // when the server took points last

	codes                     [statusMax + 1]uint64
	unanswered                uint64
	zeroSent, zeroCopied      uint64
	connects, failures, halve uint64
}

// NewWriter makes a writer on the worker's thread. It connects with the first Poll.
func NewWriter(config Config) (*Writer, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	w := &Writer{
		config: config, ring: config.Ring, age: config.Retry.age(), bodyLimit: math.MaxInt,
		zeroCopyMin: config.ZeroCopyMin, random: config.Seed*0x9E3779B97F4A7C15 | 1,
		secrets: secretsOf(config.Authorization),
		waiting: make([]*Batch, 0, config.Pool.Size()), outcomes: make([]Outcome, config.Pool.Size()),
	}
	switch {
	case w.ring == nil || !w.ring.ZeroCopy() || w.zeroCopyMin < 0:
		w.zeroCopyMin = math.MaxInt
	case w.zeroCopyMin == 0:
		w.zeroCopyMin = zeroCopyDefault
	}
	w.layOut()
	if config.Remote != nil {
		w.ring, w.zeroCopyMin = nil, math.MaxInt
		w.remote = newRemote(&config)
	}
	if w.zeroCopyMin < math.MaxInt && !w.ring.Registered(config.Pool.memory[:1]) {
		if err := w.ring.RegisterBuffers(config.Pool.memory); err != nil {
			// Sending in place works without, only dearer: it pins pages each time.
			w.lastError = err.Error()
		}
	}
	return w, nil
}

// layOut deals the memory out to connections and attempts.
func (w *Writer) layOut() {
	c := &w.config
	rest := c.Memory
	take := func(n int) []byte {
		part := rest[:n:n]
		rest = rest[n:]
		return part
	}
	slot := headSize(c)
	w.fixed = fixedHead(c)
	w.connections = make([]connection, c.Connections)
	w.attempts = make([]attempt, c.Connections*attemptsPerConnection)
	w.unused = make([]*attempt, 0, len(w.attempts))
	for i := range w.connections {
		w.connections[i] = connection{
			index: i, fd: -1, address: take(addressSize), received: take(receiveSize),
		}
	}
	for i := range w.attempts {
		a := &w.attempts[i]
		*a = attempt{index: i, message: take(messageSize), slot: take(slot)}
		w.unused = append(w.unused, a)
	}
}

// Idle tells whether a connection waits for a batch and no batch waits for a connection.
func (w *Writer) Idle() bool {
	return len(w.waiting) == 0 && !w.behind && w.sends() && len(w.unused) > 0 && w.idle() != nil
}

// idle finds an established connection with nothing to do.
func (w *Writer) idle() *connection {
	for i := range w.connections {
		if w.connections[i].state == connectionIdle {
			return &w.connections[i]
		}
	}
	return nil
}

// Submit takes over a sealed batch. now is CLOCK_MONOTONIC nanoseconds, here as everywhere.
func (w *Writer) Submit(b *Batch, now int64) {
	b.move(stateSealed, stateInFlight)
	b.delivery.start(b, now+w.age)
	if w.closed {
		w.giveUp(b)
		return
	}
	if b.points == 0 {
		w.settle(b)
		return
	}
	w.waiting = append(w.waiting, b)
	w.probe(now)
	w.dispatch(now)
	w.divert()
	w.relieve(now)
}

// Poll connects, times out, sends what waits and, over plain sockets, receives. It never blocks. The worker
// calls it every turn.
func (w *Writer) Poll(now int64) {
	if w.pausedUntil != 0 && now >= w.pausedUntil {
		w.pausedUntil = 0
	}
	if w.remote != nil {
		w.pollRemote(now)
	}
	for i := range w.connections {
		w.drive(&w.connections[i], now)
	}
	w.probe(now)
	w.dispatch(now)
	if len(w.waiting) > 0 {
		w.divert()
		w.expire(now)
	}
}

// dispatch gives waiting batches to idle connections.
func (w *Writer) dispatch(now int64) {
	for len(w.waiting) > 0 && w.sends() && !w.behind {
		c := w.idle()
		if c == nil {
			return
		}
		i := w.ready(now)
		if i < 0 {
			return
		}
		a := w.takeAttempt()
		if a == nil {
			return
		}
		b := w.waiting[i]
		w.waiting = append(w.waiting[:i], w.waiting[i+1:]...)
		b.delivery.fit(b, w.bodyLimit)
		a.begin(b, b.delivery.top(), w.fixed)
		w.send(c, a, now)
	}
}

// ready is the oldest waiting batch whose time has come, or −1.
func (w *Writer) ready(now int64) int {
	for i, b := range w.waiting {
		if b.delivery.notBefore <= now {
			return i
		}
		if w.config.Ordered {
			break
		}
	}
	return -1
}

// NextTimer is when Poll must be called even if nothing happens, or the end of time.
func (w *Writer) NextTimer() int64 {
	next := never
	for i := range w.connections {
		next = min(next, w.timer(&w.connections[i]))
	}
	sendable, at := w.idle() != nil && len(w.unused) > 0, w.sendsAt()
	for _, b := range w.waiting {
		next = min(next, b.delivery.expires)
		if sendable {
			next = min(next, max(b.delivery.notBefore, at))
		}
	}
	if w.pausedUntil != 0 {
		// The pause ends for Idle as well, whether or not anything waits.
		next = min(next, w.pausedUntil)
	}
	return next
}

// Outcome takes the outcome of the batch that was settled first, if there is one.
func (w *Writer) Outcome() (Outcome, bool) {
	if w.outs == 0 {
		return Outcome{}, false
	}
	o := w.outcomes[w.firstOut]
	w.firstOut = (w.firstOut + 1) % len(w.outcomes)
	w.outs--
	return o, true
}

// settle makes a batch's outcome known.
func (w *Writer) settle(b *Batch) {
	b.move(stateInFlight, stateSettled)
	d := &b.delivery
	w.outcomes[(w.firstOut+w.outs)%len(w.outcomes)] = Outcome{
		Batch: b, Written: d.written, Rejected: d.rejected, Undelivered: d.undelivered, Aside: d.aside,
		Reason: d.reason, Code: d.code,
	}
	w.outs++
	if d.written+d.rejected+d.undelivered+d.aside != b.points {
		panic(fmt.Sprintf("BUG: a batch of %d points has %d written, %d rejected, %d undelivered, %d aside",
			b.points, d.written, d.rejected, d.undelivered, d.aside))
	}
}

// Up tells whether there is a connection and the last request, if any, found the server in order.
func (w *Writer) Up() bool { return !w.troubled && w.established() > 0 }

func (w *Writer) established() int {
	n := 0
	for i := range w.connections {
		if s := w.connections[i].state; s == connectionIdle || s == connectionBusy {
			n++
		}
	}
	return n
}

// LastTrouble is when a request failed last, and LastGood when one found the server in order; 0 is never.
func (w *Writer) LastTrouble() int64 { return w.troubleAt }

// LastGood is described at LastTrouble.
func (w *Writer) LastGood() int64 { return w.goodAt }

// LastError is the last failure in plain words; empty once a request has succeeded.
func (w *Writer) LastError() string { return w.lastError }

// LastReject is what the server said of the last points that it refused.
func (w *Writer) LastReject() string { return w.lastReject }

// Tally is a copy of a writer's counts, to be taken without allocating.
type Tally struct {
	stats      Stats // without Requests
	codes      [statusMax + 1]uint64
	unanswered uint64
}

// Tally copies the counts as they are now. It allocates nothing.
func (w *Writer) Tally(into *Tally) {
	into.stats = Stats{
		Connections: w.established(), ZeroCopySent: w.zeroSent, ZeroCopyCopied: w.zeroCopied,
		Connects: w.connects, Failures: w.failures, Halved: w.halve, Waiting: len(w.waiting),
		Breaker: w.breaker.state,
	}
	into.codes, into.unanswered = w.codes, w.unanswered
}

// Stats are the counts as anybody wants to see them.
func (t *Tally) Stats() Stats {
	s := t.stats
	s.Requests = map[string]uint64{}
	for code, n := range t.codes {
		if n > 0 {
			s.Requests[strconv.Itoa(code)] = n
		}
	}
	if t.unanswered > 0 {
		s.Requests["error"] = t.unanswered
	}
	return s
}

// Stats counts up to now. It allocates.
func (w *Writer) Stats() Stats {
	var t Tally
	w.Tally(&t)
	return t.Stats()
}

// Reauthorize sends another Authorization from now on, and tries it at once if the breaker is open.
func (w *Writer) Reauthorize(value string) error {
	c := w.config
	c.Authorization = value
	if err := checkHead(&c); err != nil {
		return err
	}
	// Ten digits and two line ends follow the fixed part.
	if size, room := len(fixedHead(&c))+10+4, len(w.attempts[0].slot); size > room {
		return fmt.Errorf("change the authorization: a head of %d bytes does not fit into %d: restart", size,
			room)
	}
	w.config.Authorization, w.fixed, w.secrets = value, fixedHead(&c), secretsOf(value)
	w.breaker.probeAt = 0
	return nil
}

// Retarget connects to another address from now on. Requests under way get their answer from the old one.
func (w *Writer) Retarget(address netip.AddrPort) {
	if address == w.config.Address || w.remote != nil {
		return
	}
	w.config.Address = address
	w.connectAt, w.connectFail, w.bodyLimit = 0, 0, math.MaxInt
	w.mend()
	w.hangUp()
}

// hangUp closes all connections; one that is busy gets its answer first.
func (w *Writer) hangUp() {
	for i := range w.connections {
		switch c := &w.connections[i]; c.state {
		case connectionBusy:
			c.last = true
		case connectionConnecting, connectionIdle:
			w.close(c, false)
		}
	}
}
