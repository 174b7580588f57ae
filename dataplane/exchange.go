package dataplane

import (
	"sync/atomic"
	"time"

	"culvert/dataplane/rules"
	"culvert/dataplane/spsc"
)

// handoverSlots is the size of the ring between two workers: what one worker hands over within a turn of the
// other, at some hundred bytes a slot.
const handoverSlots = 1024

// Exchange is how workers hand rule states to each other: one ring for each ordered pair of them, and a waker
// for each. It is made before the workers start and closed after they ended.
type Exchange struct {
	rings  [][]*spsc.Ring[rules.Handover] // [from][to]; nil on the diagonal
	wakers []*Waker
	// slowAt is when the slow path had something last, by its clock, to about a second. Its worker writes it,
	// seldom, before it takes the time of what came.
	slowAt atomic.Int64
}

const (
	// slowStep is how old slowAt may get while the slow path works, in nanoseconds.
	slowStep = int64(time.Second)
	// aloneAfter is how long the slow path must have had nothing until the only other worker counts as alone:
	// longer than what the slow path saw can take to come across.
	aloneAfter = 10 * slowStep
)

// slowWorks notes that the slow path has something. It reports whether that is news to the others: then the
// packets' time is to be taken anew, so that it is later than all that came while nobody knew.
func (x *Exchange) slowWorks(now int64) bool {
	if now-x.slowAt.Load() < slowStep {
		return false
	}
	x.slowAt.Store(now)
	return true
}

// alone tells whether all packets come to this worker for now: it is the only one that is pinned, and the
// slow path is silent. It holds for what the worker has taken out of its rings before it asks.
func (w *Worker) alone(now int64) bool {
	return w.config.RuleState.Owners == 1 && w.config.Index == 0 && now-w.links.slowAt.Load() > aloneAfter
}

// NewExchange makes the rings and wakers for this many workers.
func NewExchange(workers int) (*Exchange, error) {
	x := &Exchange{rings: make([][]*spsc.Ring[rules.Handover], workers)}
	for from := range workers {
		waker, err := NewWaker()
		if err != nil {
			x.Close()
			return nil, err
		}
		x.wakers = append(x.wakers, waker)
		x.rings[from] = make([]*spsc.Ring[rules.Handover], workers)
		for to := range workers {
			if from != to {
				x.rings[from][to] = spsc.New[rules.Handover](handoverSlots)
			}
		}
	}
	return x, nil
}

// Close closes the wakers.
func (x *Exchange) Close() {
	for _, waker := range x.wakers {
		waker.Close()
	}
}

// handoversMax bounds what a worker takes from each peer in one turn.
const handoversMax = 256

// exchange takes what the other workers handed over, gives them what is theirs, and sends this worker's own
// state changes on their way. It returns how much it did.
func (w *Worker) exchange(now int64) int {
	me, work := w.config.Index, 0
	for peer := range w.links.rings {
		if peer == me {
			continue
		}
		ring := w.links.rings[peer][me]
		for range handoversMax {
			h := ring.Peek()
			if h == nil {
				break
			}
			w.rules.Receive(h)
			ring.Release()
			work++
		}
	}
	w.rules.Tick(now)
	work += w.derive(now)
	for peer := range w.links.rings {
		if peer == me {
			continue
		}
		out := w.rules.Outbox(peer)
		if len(out) == 0 {
			continue
		}
		pushed := w.links.rings[me][peer].PushAll(out)
		w.rules.Sent(peer, pushed)
		w.counters.HandoverRetries += uint64(len(out) - pushed)
		w.links.wakers[peer].Wake()
		work += pushed
	}
	return work + w.forward()
}

// derive stores the points that records made.
func (w *Worker) derive(now int64) int {
	made := w.rules.Derived()
	for i := range made {
		w.counters.PointsDerived++
		copied := w.counters.PointsCopied
		w.rules.Fill(&made[i], &w.made)
		w.store(w.routes[0].of(&w.made), &w.made, now)
		w.enterDerived(w.counters.PointsCopied - copied)
	}
	w.rules.DerivedTaken(len(made))
	return len(made)
}

// forwardMin is how many state changes are forwarded before the turn's end: waking the notifiers is a system
// call, so that one a turn is enough unless the rules' own queue fills.
const forwardMin = 64

// forward gives state changes to the control plane's notifiers. What finds the ring full stays with the rules
// and is offered again next turn.
func (w *Worker) forward() int {
	w.reapDepartures()
	transitions := w.rules.Transitions()
	if len(transitions) == 0 {
		return 0
	}
	w.depart(transitions)
	pushed := w.config.Alerts.Ring.PushAll(transitions)
	w.rules.Taken(pushed)
	w.forwarded += uint64(pushed)
	w.counters.AlertsHeld += uint64(len(transitions) - pushed)
	if pushed > 0 {
		w.config.Alerts.signal()
	}
	return pushed
}
