package dataplane

import (
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"culvert/dataplane/rules"
)

// A reload replaces the rules of all workers at once. Points are taken by the old rules or by the new, and
// what workers hand to each other is never between the two:
//
//	gather    each worker hears of it and goes on, until the last one has
//	quiet     no worker takes packets; they hand over until nothing is on its way any more
//	change    each worker ends the alerts of rules that go, and gives the state of those that stay to the
//	          new rules
//	go on     once all of them have changed
//
// Packets wait in the kernel's rings meanwhile: the pause is some microseconds, and about a microsecond more
// for each key that a worker owns.

const (
	// gatherTime bounds how long a reload waits for the last worker.
	gatherTime = 2 * time.Second
	// quietRoundsMax bounds the rounds in which workers empty their rings: each takes 256 hand-overs from
	// each ring of 1024, and a hand-over is answered at most once or twice. What is still on its way
	// afterwards is dropped by its receiver, and said again by its owner within seconds.
	quietRoundsMax = 10_000
	// quietPoll is how often a worker looks whether the others have come as far.
	quietPoll = 20 * time.Microsecond
	// quietSpins is how often it looks before it sleeps in between.
	quietSpins = 200
)

// ruleReload is one reload for all workers of an Exchange.
type ruleReload struct {
	next    *rules.Set
	workers []ruleChange

	gathered atomic.Int32 // workers that have heard of it; negative once it is called off
	steps    steps
	busy     [2]atomic.Int32 // workers that had something to hand over, by the round's parity
}

// ruleChange is a worker's part.
type ruleChange struct {
	evaluator  *rules.Evaluator
	departures [][]bool // Departure.Rules of the new rules

	// What came of it, written by the worker before done is closed.
	restored  rules.Restored
	err       error
	began     int64 // CLOCK_MONOTONIC, nanoseconds
	ended     int64
	forwarded uint64
	done      chan struct{}
}

// Reloaded is what a reload came to.
type Reloaded struct {
	Kept  rules.Restored // alerts and keys whose state went on
	Pause time.Duration  // the longest time for which a worker took no packets
	// Forwarded is, by worker, how many state changes it had sent to the notifiers when the new rules began.
	Forwarded []uint64
}

// steps lets workers go from step to step together.
type steps struct {
	count   int32
	arrived atomic.Int32
	step    atomic.Int32
}

// together waits until all workers have come here. meanwhile is called again and again.
func (s *steps) together(meanwhile func()) {
	step := s.step.Load()
	if s.arrived.Add(1) == s.count {
		s.arrived.Store(0)
		s.step.Store(step + 1)
		return
	}
	for spins := 0; s.step.Load() == step; spins++ {
		meanwhile()
		if spins < quietSpins {
			runtime.Gosched()
		} else {
			time.Sleep(quietPoll)
		}
	}
}

// ReloadRules gives all workers of an Exchange new rules. departures is, for each Departure of a worker's
// Config, what its Rules are from now on. Either all workers change or none, and then the error says why. An
// error beside a Reloaded says that the new rules began without some of the state they could have had.
// Reloads come one at a time.
func ReloadRules(workers []*Worker, next *rules.Set, departures [][]bool) (*Reloaded, error) {
	for _, w := range workers {
		if w.config.Rules == nil {
			return nil, fmt.Errorf("reload the rules of worker %q: it has none: %w", w.config.Name,
				os.ErrInvalid)
		}
	}
	reload := &ruleReload{next: next, workers: make([]ruleChange, len(workers)),
		steps: steps{count: int32(len(workers))}}
	for i, w := range workers {
		change := &reload.workers[i]
		change.done = make(chan struct{})
		// Made here, since room for all that an evaluator can need takes milliseconds.
		change.evaluator = rules.NewEvaluator(next, w.config.RuleState)
		if len(w.config.Departures) > 0 {
			change.departures = departures
		}
	}
	for _, w := range workers {
		w.post(func() {
			if reload.gathered.Add(1) > 0 {
				w.reload = reload
			}
		})
	}
	limit := time.After(gatherTime)
	for i, w := range workers {
		select {
		case <-reload.workers[i].done:
			continue
		case <-w.ended:
		case <-limit:
		}
		if reload.callOff() {
			return nil, fmt.Errorf("reload the rules of worker %q: %w", w.config.Name,
				os.ErrDeadlineExceeded)
		}
		// All had come: this one takes long, but it will be done.
		<-reload.workers[i].done
	}
	return reload.result()
}

// callOff ends a reload that not all workers have heard of; false if all have.
func (r *ruleReload) callOff() bool {
	for {
		n := r.gathered.Load()
		if n == int32(len(r.workers)) {
			return false
		}
		if r.gathered.CompareAndSwap(n, -int32(len(r.workers))-1) {
			return true
		}
	}
}

func (r *ruleReload) result() (*Reloaded, error) {
	total := &Reloaded{}
	var err error
	for i := range r.workers {
		c := &r.workers[i]
		total.Kept.Alerts += c.restored.Alerts
		total.Kept.Keys += c.restored.Keys
		total.Kept.Changed += c.restored.Changed
		total.Pause = max(total.Pause, time.Duration(c.ended-c.began))
		total.Forwarded = append(total.Forwarded, c.forwarded)
		if c.err != nil {
			err = c.err
		}
	}
	return total, err
}

// reloadRules is the worker's part of a reload, between two turns, once all workers have heard of it.
func (w *Worker) reloadRules() {
	reload := w.reload
	switch n := reload.gathered.Load(); {
	case n < 0:
		w.reload = nil // called off
		return
	case n < int32(len(reload.workers)):
		return
	}
	w.reload = nil
	change := &reload.workers[w.config.Index]
	now := w.clock.Now()
	change.began = now
	alive := func() { w.beat(w.clock.Now()) }
	w.hush(reload, now, alive)
	w.changeRules(reload, change, now, alive)
	reload.steps.together(alive)
	change.ended = w.clock.Now()
	w.idleSince = change.ended
	w.unshown = true
	close(change.done)
}

// hush hands over and takes until no worker has anything for another any more. Time stands still, so that
// nothing new begins.
func (w *Worker) hush(reload *ruleReload, now int64, alive func()) {
	// Whoever is here has ended its last turn: only from here on does nobody take packets.
	reload.steps.together(alive)
	for round := range quietRoundsMax {
		busy, other := &reload.busy[round&1], &reload.busy[1-round&1]
		if work := w.exchange(now); work > 0 || w.handingOver() || !w.rules.Settled() {
			busy.Add(1)
		}
		w.deliver()
		reload.steps.together(alive)
		// Nobody counts in the other one before all have come to the step behind this.
		over := busy.Load() == 0
		other.Store(0)
		reload.steps.together(alive)
		if over {
			return
		}
	}
}

// changeRules puts the new rules in the place of the old ones.
func (w *Worker) changeRules(reload *ruleReload, change *ruleChange, now int64, alive func()) {
	next := change.evaluator
	for !w.rules.Retire(reload.next) || len(w.rules.Transitions()) > 0 {
		if w.forward() == 0 {
			alive()
			time.Sleep(quietPoll) // The notifiers' goroutine makes room.
		}
	}
	change.restored, change.err = next.Succeed(w.rules, now)
	w.rules = next
	w.config.Rules = reload.next
	for i := range w.departures.list {
		d := &w.departures.list[i]
		d.Rules = change.departures[i]
		d.buckets = make([]departureBucket, len(d.Rules))
	}
	if w.saved != nil {
		// The checkpoint that was being written is of the old rules.
		w.rules.CheckpointBegin(nil, now)
	}
	change.forwarded = w.forwarded
}
