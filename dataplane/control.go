package dataplane

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"slices"
	"time"

	"culvert/dataplane/hist"
	"culvert/dataplane/influx"
	"culvert/dataplane/rules"
)

// Do runs f on the worker's thread between two turns and waits for it. It is for rare changes: every call
// takes a lock and allocates.
func (w *Worker) Do(f func() error) error {
	done := make(chan error, 1)
	w.post(func() { done <- f() })
	select {
	case err := <-done:
		return err
	case <-w.ended:
		return fmt.Errorf("command worker %q: %w", w.config.Name, os.ErrClosed)
	case <-time.After(doTime):
		return fmt.Errorf("command worker %q: it shows no life: %w", w.config.Name, os.ErrDeadlineExceeded)
	}
}

// doTime bounds a command to a worker: longer than the longest of them, a bind that finds its queue busy,
// takes. A worker that needs more is stuck; the command may still run when it comes to life.
const doTime = 10 * time.Second

// post leaves a command for the worker and wakes it.
func (w *Worker) post(command func()) {
	w.mutex.Lock()
	w.commands = append(w.commands, command)
	w.pending.Store(true)
	w.mutex.Unlock()
	w.waker.Wake()
}

// obey runs the commands that were left, and returns how many.
func (w *Worker) obey() int {
	w.mutex.Lock()
	commands := w.commands
	w.commands = nil
	w.pending.Store(false)
	w.mutex.Unlock()
	w.unshown = true
	for _, command := range commands {
		command()
	}
	return len(commands)
}

// AddQueue opens a receive queue on this worker. Its frames are taken from the moment the control plane puts
// the socket into the XSKMAP.
func (w *Worker) AddQueue(config QueueConfig) (*Queue, error) {
	var queue *Queue
	err := w.Do(func() (err error) {
		if queue, err = w.openQueue(config); err != nil {
			return err
		}
		w.queues = append(w.queues, queue)
		w.beat(w.clock.Now())
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open queue %d of %q: %w", config.Queue, config.Interface, err)
	}
	return queue, nil
}

// RemoveQueue eats what the queue still holds, closes its socket and gives its memory back. The control plane
// has turned the redirect off, or the interface is gone.
func (w *Worker) RemoveQueue(queue *Queue) error {
	return w.Do(func() error {
		for i, q := range w.queues {
			if q == queue {
				for w.takeFrames(q, w.clock.Now()) > 0 {
				}
				w.queues = append(w.queues[:i], w.queues[i+1:]...)
				q.close()
				return nil
			}
		}
		return fmt.Errorf("remove queue %d of %q: %w", queue.config.Queue, queue.config.Interface,
			os.ErrNotExist)
	})
}

// AddDoor gives the worker a kernel socket to read; the worker closes it when it ends.
func (w *Worker) AddDoor(door *Door) error {
	return w.Do(func() error {
		w.sockets = append(w.sockets, door)
		if n := door.socket.BatchSize(); n > len(w.datagrams) {
			w.datagrams = make(datagramBatch, n)
		}
		return nil
	})
}

// RemoveDoor reads what the socket still holds and closes it.
func (w *Worker) RemoveDoor(door *Door) error {
	return w.Do(func() error {
		for i, d := range w.sockets {
			if d == door {
				err := d.deafen()
				for err == nil && w.takeDatagrams(d, w.clock.Now()) > 0 {
				}
				w.sockets = append(w.sockets[:i], w.sockets[i+1:]...)
				return errors.Join(err, d.socket.Close())
			}
		}
		return fmt.Errorf("remove the socket on port %d: %w", door.port, os.ErrNotExist)
	})
}

// Retarget gives a lane's writer the address of its URL after the name was resolved anew.
func (w *Worker) Retarget(lane int, address netip.AddrPort) error {
	return w.Do(func() error {
		w.urls[lane].writer.Retarget(address)
		return nil
	})
}

// Reauthorize gives a lane's writer another token. It is an error when the head has no room for it.
func (w *Worker) Reauthorize(lane int, value string) error {
	return w.Do(func() error { return w.urls[lane].writer.Reauthorize(value) })
}

// Drain lets the worker empty its sources, seal what is open and wait for the answers, until everything is
// settled or the limit is over; what is left then is dropped as undelivered. The control plane has turned the
// redirect off, and the kernel's sockets take nothing more. Drain returns when it is done; the worker then
// idles until Close.
func (w *Worker) Drain(limit time.Duration) error {
	var open []error // sockets whose intake could not be ended; the limit bounds these
	err := w.Do(func() error {
		now := w.clock.Now()
		w.draining, w.drainUntil, w.leaveAt = true, now+int64(limit), now+int64(leaveTime)
		for _, d := range w.sockets {
			if !d.kept {
				open = append(open, d.deafen())
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	select {
	case <-w.drained:
	case <-w.ended:
	}
	return errors.Join(open...)
}

// drain is Drain's part of a turn: work is what the turn did.
func (w *Worker) drain(now int64, work int) {
	// While there is still something to take, batches grow as ever: one a turn would use up the pool.
	for _, o := range w.lanes {
		if work == 0 || o.writer.Backlog() == 0 {
			w.seal(o, now)
		}
	}
	if work == 0 || now >= w.leaveAt {
		w.leaveDoors()
	}
	over := now >= w.drainUntil
	if !over && (work > 0 || w.held() > 0 || w.handingOver()) {
		return
	}
	if over {
		w.closeSinks(now)
	}
	w.draining = false
	close(w.drained)
}

// leaveTime bounds how long a drain reads a socket that the next process takes over, while senders go on.
const leaveTime = 100 * time.Millisecond

// leaveDoors stops reading the sockets that the next process takes over.
func (w *Worker) leaveDoors() {
	w.sockets = slices.DeleteFunc(w.sockets, func(d *Door) bool {
		if d.kept {
			// Another descriptor keeps it open; what this one's close could say nobody can mend.
			_ = d.socket.Close()
		}
		return d.kept
	})
}

func (w *Worker) handingOver() bool {
	if w.rules == nil {
		return false
	}
	for peer := range w.links.rings {
		if peer != w.config.Index && len(w.rules.Outbox(peer)) > 0 {
			return true
		}
	}
	return len(w.rules.Transitions()) > 0
}

// Close ends the loop, closes the sockets and gives all memory back. It waits for the thread's end, except
// for a worker that is stuck, and is idempotent.
func (w *Worker) Close() error {
	err := w.Do(func() error {
		w.exit = true
		return nil
	})
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	<-w.ended
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return err
}

// closeAll gives back everything that open and the control plane's commands took, on the worker's thread, in
// an order that leaves no memory in the kernel's hands.
func (w *Worker) closeAll() {
	for _, q := range w.queues {
		// Only a worker that is stuck has left its sockets here, and what it shares it may still read.
		if q.config.Members == 0 {
			q.close()
		}
	}
	for _, d := range w.sockets {
		d.socket.Close()
	}
	if len(w.lanes) > 0 {
		w.closeSinks(w.clock.Now())
	}
	if w.ring != nil {
		w.ring.Close()
	}
	for _, memory := range w.memory {
		if !w.keepMemory {
			memory.Close()
		}
	}
	w.heartbeat.Store(math.MaxInt64)
}

// Name is the worker's name in metrics and status.
func (w *Worker) Name() string { return w.config.Name }

// CPU is the CPU that the worker is pinned to, or −1.
func (w *Worker) CPU() int { return w.config.CPU }

// Node is the NUMA node of the worker's memory, or −1.
func (w *Worker) Node() int { return w.config.Node }

// Thread is the kernel's number of the worker's thread.
func (w *Worker) Thread() int { return w.thread }

// WithoutRing is why the worker sends over plain sockets instead of an io_uring, or nil.
func (w *Worker) WithoutRing() error { return w.withoutRing }

// Counters are the worker's counters as of one turn's end.
func (w *Worker) Counters() Counters { return w.block.Read() }

// Stages are the worker's histograms, to be read while it writes them.
func (w *Worker) Stages() *Stages { return w.stages }

// Heartbeat is the start of the worker's latest turn, CLOCK_MONOTONIC nanoseconds.
func (w *Worker) Heartbeat() int64 { return w.heartbeat.Load() }

// SinkState is what the writer shows of itself.
type SinkState struct {
	Up        bool
	LastError string
	// LastReject is what the server said of the last points that it refused.
	LastReject string
	// LastTrouble is when a request failed last and LastGood when one found the server in order,
	// CLOCK_MONOTONIC nanoseconds; 0 is never.
	LastTrouble, LastGood int64

	Stats     influx.Stats
	Transport string
}

// askTime bounds a question to a worker: one that is stuck must not hold up whoever asks.
const askTime = time.Second

// ask runs a question on the worker's thread and returns its answer, or an error when the worker does not
// answer in time.
func ask[T any](w *Worker, question func() T) (T, error) { return askFor(w, askTime, question) }

// askFor is ask with another patience.
func askFor[T any](w *Worker, patience time.Duration, question func() T) (T, error) {
	answer := make(chan T, 1)
	w.post(func() { answer <- question() })
	select {
	case a := <-answer:
		return a, nil
	case <-w.ended:
	case <-time.After(patience):
	}
	var none T
	return none, fmt.Errorf("ask worker %q: %w", w.config.Name, os.ErrDeadlineExceeded)
}

// SinkStates asks the worker's writers: one entry a URL of a sink, in the order of the configuration.
func (w *Worker) SinkStates() ([]SinkState, error) {
	look, err := w.Look(nil, askTime)
	if err != nil {
		return nil, err
	}
	return look.Sinks, nil
}

// LaneWrites is the time from sealed to acknowledged of the batches of a URL, to be read while it is written.
func (w *Worker) LaneWrites(url int) *hist.Histogram { return w.shown.Load().urls[url].writes }

// LaneCounters are the counters of one URL, all tenants together, each as of one turn's end.
func (w *Worker) LaneCounters(url int) (sum LaneCounters) {
	for _, o := range w.shown.Load().lanes {
		if o.index == url {
			one := o.block.Read()
			sum.Add(&one)
		}
	}
	return sum
}

// RuleCounts is what a worker's rules counted.
type RuleCounts struct {
	Set    *rules.Set // nil for none; the worker has others after a reload
	Rules  []rules.RuleStats
	Groups []rules.GroupStats
}

// RuleCounts asks the worker's rules.
func (w *Worker) RuleCounts() (RuleCounts, error) {
	return ask(w, func() (c RuleCounts) {
		if w.rules == nil {
			return c
		}
		c.Set = w.config.Rules
		c.Rules = make([]rules.RuleStats, c.Set.Len())
		c.Groups = make([]rules.GroupStats, len(c.Set.Groups()))
		w.rules.Stats(c.Rules)
		w.rules.GroupStats(c.Groups)
		return c
	})
}

// Forwarded is how many state changes of alerts went to the notifiers, and whether these are all there are.
func (w *Worker) Forwarded() (n uint64, all bool, err error) {
	type answer struct {
		n   uint64
		all bool
	}
	a, err := ask(w, func() answer {
		all := w.rules == nil || w.rules.Settled() && len(w.rules.Transitions()) == 0
		return answer{w.forwarded, all}
	})
	return a.n, a.all, err
}
