package dataplane

import (
	"sync/atomic"
	"time"

	"culvert/dataplane/rules"
	"culvert/dataplane/wire"
	"culvert/dataplane/xsk"
)

const (
	// departureFrames is how many frames a queue keeps for alerts, and the slots of its TX ring: what leaves
	// within one turn. More than that goes by the kernel's socket.
	departureFrames = 64
	// departureRest is how long a notifier's alerts all go by the control plane after one of them had to, in
	// nanoseconds: until that one has surely arrived there, where Departure.Waiting tells of it. Otherwise
	// the end of an alert could overtake its beginning.
	departureRest = int64(time.Second)
)

// Way is where a notifier's datagrams go now. It is not changed once it is published.
type Way struct {
	Interface int // ifindex
	Template  *wire.Template
}

// Departure is a notifier whose alerts leave by the TX ring of the worker that made them, where that worker
// has one on the way's interface. What it does not send is left to the notifier, which hears of both.
type Departure struct {
	Format wire.Format
	Rules  []bool // by the index of a rule: its actions name the notifier
	Limit  int    // alerts of one rule and second on this worker, and as many at once; 0: none
	// Way is replaced by the control plane; nil while there is none.
	Way *atomic.Pointer[Way]
	// Waiting is what waits in the notifier; alerts that leave here must not overtake it.
	Waiting *atomic.Int64
}

// departures is what a worker needs to let alerts depart.
type departures struct {
	list     []departing
	alert    wire.Alert // the change that is looked at, if rendered
	rendered bool
	text     []byte // of one datagram
	sending  int    // frames that the kernel has not given back
}

// departing is what a worker keeps of a Departure.
type departing struct {
	Departure
	restUntil int64
	buckets   []departureBucket // by the index of a rule
}

// departureBucket is a token bucket in one number: the time at which all tokens will be there again.
type departureBucket int64

// take tells whether one more may leave now, at this many a second.
func (b *departureBucket) take(now int64, limit int) bool {
	if limit == 0 {
		return true
	}
	interval := int64(time.Second) / int64(limit)
	full := max(int64(*b), now)
	if full-now > int64(time.Second)-interval {
		return false
	}
	*b = departureBucket(full + interval)
	return true
}

// openDepartures makes room for what departures need.
func (w *Worker) openDepartures() {
	for _, d := range w.config.Departures {
		w.departures.list = append(w.departures.list, departing{
			Departure: d, buckets: make([]departureBucket, len(d.Rules)),
		})
	}
}

// departureQueue is the queue of this worker on an interface, or nil.
func (w *Worker) departureQueue(index int) *Queue {
	for _, q := range w.queues {
		if q.config.Index == index && q.config.Departures && !q.broken {
			return q
		}
	}
	return nil
}

// depart sends those of the state changes that may leave by a TX ring of this worker, and marks in them for
// which notifiers. A change is tried once: if the way to the control plane is full it comes here again. It
// allocates, as the texts of alerts do: per change of a state, not per packet.
func (w *Worker) depart(transitions []rules.Transition) {
	if len(w.departures.list) == 0 {
		return
	}
	now := w.clock.Now()
	sent := false
	for i := range transitions {
		t := &transitions[i]
		if t.Tried {
			continue
		}
		t.Tried = true
		w.departures.rendered = false
		for j := range w.departures.list {
			d := &w.departures.list[j]
			if int(t.Rule) >= len(d.Rules) || !d.Rules[t.Rule] {
				continue
			}
			if !w.departBy(d, t, now) {
				d.restUntil = now + departureRest
				continue
			}
			t.Departed |= 1 << j
			sent = true
		}
	}
	if !sent {
		return
	}
	for _, q := range w.queues {
		if q.config.Departures {
			// What passes by itself the next turn's wake-up tells the kernel again.
			_ = q.socket.Wakeup()
		}
	}
	// The latency ends here: the kernel has the frames and knows of them.
	at := w.clock.Now()
	for i := range transitions {
		if t := &transitions[i]; t.Departed != 0 && t.DepartedAt == 0 {
			t.DepartedAt = at
		}
	}
}

// departEarly lets alerts depart at the end of the payload that made them, where some may: what else the turn
// has to do, other packets above all, would take longer than a wake-up of the kernel. The way to the control
// plane is for the turn's end.
func (w *Worker) departEarly() {
	if len(w.departures.list) == 0 {
		return
	}
	if transitions := w.rules.Transitions(); len(transitions) > 0 {
		w.depart(transitions)
	}
}

// departBy puts one change into the TX ring of its notifier's way, or tells that it cannot.
func (w *Worker) departBy(d *departing, t *rules.Transition, now int64) bool {
	way := d.Way.Load()
	if t.Firing && t.Reason == rules.ReasonRestored {
		return false // Its notifier knows whether the receiver does.
	}
	if way == nil || now < d.restUntil || d.Waiting.Load() != 0 {
		return false
	}
	q := w.departureQueue(way.Interface)
	if q == nil || !d.buckets[t.Rule].take(now, d.Limit) {
		return false
	}
	w.render(t)
	room := min(way.Template.Room(), q.config.FrameSize-way.Template.Size())
	w.departures.text = d.Format.Append(w.departures.text[:0], &w.departures.alert, room)
	if len(w.departures.text) > room {
		return false
	}
	if !q.transmit(way.Template, w.departures.text) {
		return false
	}
	w.departures.sending++
	return true
}

// reapDepartures takes frames back that were sent. Left alone they would be looked for with a system call in
// each turn, where the driver sends without copying.
func (w *Worker) reapDepartures() {
	if w.departures.sending == 0 {
		return
	}
	w.departures.sending = 0
	for _, q := range w.queues {
		if q.config.Departures {
			q.socket.ReapCompletions()
			w.departures.sending += q.socket.Frames().Transmit
		}
	}
}

// render says in words what a change says, once for all of its notifiers.
func (w *Worker) render(t *rules.Transition) {
	if w.departures.rendered {
		return
	}
	a := w.config.Rules.Render(t)
	w.departures.alert = wire.Alert{
		Rule: a.Rule, Firing: t.Firing, Labels: a.Labels, Annotations: a.Annotations,
		Time: a.Time, Since: a.Since, Reason: a.Reason, Fingerprint: a.Fingerprint,
	}
	w.departures.rendered = true
}

// transmit writes a datagram into a frame and gives it to the kernel; false without a free one.
func (q *Queue) transmit(template *wire.Template, text []byte) bool {
	var desc [1]xsk.Desc
	if q.socket.Allocate(desc[:]) == 0 {
		return false
	}
	desc[0].Len = uint32(template.Write(q.socket.Packet(desc[0]), text))
	if desc[0].Len == 0 || q.socket.Transmit(desc[:]) == 0 {
		q.socket.Free(desc[:])
		return false
	}
	return true
}
