package dataplane

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

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
// Packets wait in the kernel's rings meanwhile: the pause is what the workers need to meet, some microseconds
// for each step, and about a microsecond more for each key whose layout changes.

const (
	// gatherTime bounds how long a reload waits for the last worker.
	gatherTime = 2 * time.Second
	// quietRoundsMax bounds the rounds in which workers empty their rings: each takes 256 hand-overs from
	// each ring of 1024, and a hand-over is answered at most once or twice. What is still on its way
	// afterwards is dropped by its receiver, and said again by its owner within seconds.
	quietRoundsMax = 10_000
	// quietSpins is how often a worker looks whether the others have come as far before it sleeps until the
	// last one wakes it: some microseconds, about what sleeping and waking cost.
	quietSpins = 4000
	// quietWait bounds that sleep, so that the heartbeat goes on.
	quietWait = 10 * time.Millisecond
	// quietPoll is how often a worker looks whether the notifiers' goroutine has made room.
	quietPoll = 20 * time.Microsecond
)

// ruleReload is one reload for all workers of an Exchange.
type ruleReload struct {
	next    *rules.Set
	workers []ruleChange

	gathered atomic.Int32 // workers that have heard of it; negative once it is called off
	steps    steps
	busy     [3]atomic.Int32 // workers that had something to hand over, by the round
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

// steps lets workers go from step to step together. Each spins for a moment and then sleeps in the kernel:
// runtime.Gosched and time.Sleep would hand its P to another thread and wait for it to come back, twice a
// context switch for each look, and a sleep of microseconds takes Go a millisecond where nothing else runs.
type steps struct {
	count   int32
	arrived atomic.Int32
	step    atomic.Int32
}

// together waits until all workers have come to this step. alive is called now and then.
func (w *Worker) together(s *steps, alive func()) {
	step := s.step.Load()
	if s.arrived.Add(1) == s.count {
		s.arrived.Store(0)
		s.step.Store(step + 1)
		for _, waker := range w.links.wakers {
			waker.Wake()
		}
		return
	}
	for range quietSpins {
		if s.step.Load() != step {
			return
		}
	}
	for s.step.Load() == step {
		w.waker.sleeping.Store(true)
		// As in rest: what was published before the flag was seen must be seen now.
		w.waker.clear()
		if s.step.Load() == step {
			w.doze([]unix.PollFd{{Fd: int32(w.waker.fd), Events: unix.POLLIN}}, quietWait)
		}
		w.waker.sleeping.Store(false)
		alive()
	}
}

// doze sleeps in the kernel, on the worker's own thread, for at most so long.
func (w *Worker) doze(until []unix.PollFd, most time.Duration) {
	w.timeout = unix.NsecToTimespec(int64(most))
	// EINTR is answered by the next look like every other waking.
	_, _ = unix.Ppoll(until, &w.timeout, nil)
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
		// Made here, since the workers stand still when it takes over.
		change.evaluator = rules.NewSuccessor(next, w.config.Rules, w.config.RuleState)
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
	w.together(&reload.steps, alive)
	change.ended = w.clock.Now()
	w.idleSince = change.ended
	w.unshown = true
	close(change.done)
}

// hush hands over and takes until no worker has anything for another any more. Time stands still, so that
// nothing new begins.
func (w *Worker) hush(reload *ruleReload, now int64, alive func()) {
	// Whoever is here has ended its last turn: only from here on does nobody take packets.
	w.together(&reload.steps, alive)
	for round := range quietRoundsMax {
		busy := &reload.busy[round%3]
		if work := w.exchange(now); work > 0 || w.handingOver() || !w.rules.Settled() {
			busy.Add(1)
		}
		w.deliver()
		w.together(&reload.steps, alive)
		if busy.Load() == 0 {
			return
		}
		// Until all have come to the next step this one is read, the next one counted in, and the third free.
		reload.busy[(round+2)%3].Store(0)
	}
}

// changeRules puts the new rules in the place of the old ones.
func (w *Worker) changeRules(reload *ruleReload, change *ruleChange, now int64, alive func()) {
	next := change.evaluator
	for !w.rules.Retire(next) || len(w.rules.Transitions()) > 0 {
		if w.forward() == 0 {
			alive()
			w.doze(nil, quietPoll)
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
