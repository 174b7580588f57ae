package dataplane

import (
	"fmt"
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
	"culvert/dataplane/rules"
	"culvert/dataplane/spsc"
	"culvert/dataplane/uring"
	"culvert/numa"
)

// WaitMode is what a worker does when there is nothing to do.
type WaitMode uint8

const (
	// WaitAdaptive spins while work comes at short intervals and sleeps otherwise.
	WaitAdaptive WaitMode = iota
	// WaitBusy never sleeps.
	WaitBusy
	// WaitSleep sleeps at once.
	WaitSleep
)

const (
	// spinTime is how long an adaptive worker looks for work before it sleeps: about what a sleep and the
	// waking from it cost, so that spinning never costs more than it saves, in nanoseconds.
	spinTime = int64(50 * time.Microsecond)
	// waitMax bounds every sleep, so that the heartbeat goes on, in nanoseconds.
	waitMax = int64(100 * time.Millisecond)
	// scratchSize holds what one payload's points need beside the payload: texts freed of escapes (never
	// longer than the payload, 64 KiB at most) and the tags that a listener adds.
	scratchSize = 128 << 10
)

// Config is what a worker needs. Everything in it is the worker's alone from Start on, except what is said to
// be shared.
type Config struct {
	Name  string
	Index int // its place among the workers of the Exchange
	CPU   int // to be pinned to; −1: not pinned
	Node  int // NUMA node of its memory; −1: wherever the kernel puts it
	Wait  WaitMode
	Batch int // frames taken from a queue per turn

	Listeners []Listener                 // shared, never written
	Addresses *atomic.Pointer[Addresses] // shared, replaced by the control plane
	Limits    *Limits                    // (optional) shared: the tenants' bounds
	Rules     *rules.Set                 // (optional) shared, never written
	RuleState rules.Config               // how keys are dealt out and bounded
	// RuleCheckpoints (optional; shared, never written) are what all workers saved before; each takes the
	// keys it owns.
	RuleCheckpoints [][]byte
	Exchange        *Exchange          // shared: the rings between workers
	Alerts          *Alerts            // the way of this worker's state changes to the notifiers
	Samples         *spsc.Ring[Sample] // samples of rejects for the log
	// Traces (optional) is where finished traces go; one in TraceOneIn batches of a worker is traced.
	Traces     *TraceRing
	TraceOneIn int
	// Refusals (optional) are points that servers refused; what finds the ring full is counted, but not told.
	Refusals *spsc.Ring[Refusal]
	// Departures (optional), at most 64, are the notifiers whose alerts may leave by TX rings.
	Departures []Departure
	Sinks      []SinkConfig
	// TenantSinks (optional; shared, never written) are each tenant's place in Sinks; a tenant beyond its end
	// has the first.
	TenantSinks []uint8
}

// Worker is one core's loop. Its methods are for the control plane; all but Do, Stop and the readers run on
// its own thread.
type Worker struct {
	config Config
	links  *Exchange
	waker  *Waker
	clock  *Clock

	// The turn's own state, touched by the worker's thread alone.
	queues       []*Queue
	sockets      []*Door
	decoder      lineproto.Decoder
	point        point.Point
	listeners    []listenerText
	seed         maphash.Seed // of hashes of series
	gates        *gates       // nil without limits
	hitters      hitters
	lastStamp    int64
	now          int64 // the turn's start, CLOCK_MONOTONIC nanoseconds
	wallNow      int64 // the same as wall time
	fullTurn     bool  // a source had at least as much as the turn takes from it
	timedAt      int64 // when a payload's stages were last measured
	rules        *rules.Evaluator
	made         point.Point // a point that a record made
	restored     rules.Restored
	restoreError error
	saved        chan []byte // where a checkpoint that is being written goes; nil for none
	reload       *ruleReload // that waits for other workers to hear of it; nil for none
	forwarded    uint64      // state changes that went to the notifiers
	counters     Counters
	sampledAt    [sampleReasons]int64
	tap          *Tap // nil while nobody watches
	traces       tracing
	// lanes are all there are: one for each URL of each sink, in order, behind these those of further tenants
	// of the same sinks, and then those of URLs that came later. A tenant has one for each URL of its sink.
	// urls are, by URL, those that stand for its writer.
	lanes, urls []*lane
	routes      []route        // one for each tenant
	tenants     []tenantLedger // nil where there is only one
	marks       payloadMarks
	ring        *uring.Ring
	memory      []*numa.Memory
	keepMemory  bool // somebody may still read it
	datagrams   datagramBatch

	departures departures
	thread     int // written once, before others know the worker

	// Waiting.
	pollSet   []unix.PollFd
	timeout   unix.Timespec
	spin      bool
	idleSince int64

	withoutRing error // why there is no ring; written before Start returns

	// What others read.
	block     Block
	stages    *Stages
	shown     atomic.Pointer[lanesShown]
	heartbeat atomic.Int64
	unshown   bool // counters may have changed outside of a turn; the worker's thread alone uses it

	// Commands from the control plane, run between two turns.
	mutex    sync.Mutex
	commands []func()
	pending  atomic.Bool

	draining   bool
	drainUntil int64
	leaveAt    int64 // when sockets that the next process takes over are left at the latest
	drained    chan struct{}
	exit       bool
	ended      chan struct{}
}

// Start makes a worker on a thread of its own, pinned and with its memory on its node, and runs its loop
// until Close. The worker has no sources yet. Errors of any step are returned, and nothing is left behind.
func Start(config Config) (*Worker, error) {
	w := &Worker{
		config: config, links: config.Exchange, waker: config.Exchange.wakers[config.Index],
		stages: new(Stages), drained: make(chan struct{}), ended: make(chan struct{}),
	}
	started := make(chan error)
	go func() {
		// Never unlocked: affinity and memory policy are the thread's, which ends with this goroutine.
		runtime.LockOSThread()
		if err := w.open(); err != nil {
			w.closeAll()
			started <- err
			return
		}
		started <- nil
		w.run()
		w.closeAll()
		close(w.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start worker %q: %w", config.Name, err)
	}
	return w, nil
}

// open takes everything the loop needs, on the worker's thread.
func (w *Worker) open() (err error) {
	w.thread = unix.Gettid()
	if w.config.CPU >= 0 {
		if err := numa.Pin(w.config.CPU); err != nil {
			return err
		}
		if w.config.Node >= 0 {
			if err := numa.PreferNode(w.config.Node); err != nil {
				return err
			}
		}
	}
	if w.clock, err = NewClock(); err != nil {
		return err
	}
	w.point.ScratchBytes = make([]byte, 0, scratchSize)
	for i := range w.config.Listeners {
		w.listeners = append(w.listeners, newListenerText(&w.config.Listeners[i]))
	}
	w.seed = maphash.MakeSeed()
	w.hitters = newHitters(maphash.Bytes(w.seed, nil))
	w.gates = newGates(w.config.Limits)
	if w.config.Rules != nil {
		w.rules = rules.NewEvaluator(w.config.Rules, w.config.RuleState)
		w.restoreRules()
	}
	w.traces = newTracing(w.config.Traces, w.config.TraceOneIn,
		w.config.RuleState.Seed[0]^uint64(w.config.Index)<<32^uint64(w.clock.Now()))
	w.openDepartures()
	if err := w.openSinks(); err != nil {
		return err
	}
	now := w.clock.Now()
	w.beat(now)
	w.idleSince = now
	return nil
}

// run is the loop. It ends when a command sets exit.
func (w *Worker) run() {
	for !w.exit {
		now := w.clock.Now()
		w.clock.Measure(now)
		w.beat(now)
		work := w.turn(now)
		if w.pending.Load() {
			work += w.obey()
		}
		if w.reload != nil {
			w.reloadRules()
		}
		if w.draining {
			w.drain(now, work)
		}
		if work > 0 {
			w.idleSince = now
			continue
		}
		w.rest(now)
	}
}

// turn takes what every source has, at most a batch each, and moves what is on its way out. It returns how
// much it did; 0 means that there was nothing to do.
func (w *Worker) turn(now int64) int {
	w.now, w.wallNow = now, w.clock.Wall(now)
	for i := range w.routes {
		w.routes[i].age(w.wallNow)
	}
	if w.rules != nil {
		w.rules.SetWall(w.wallNow - now)
	}
	work, most := 0, 0
	for _, q := range w.queues {
		n := w.takeFrames(q, now)
		work, most = work+n, max(most, n)
	}
	for _, d := range w.sockets {
		n := w.takeDatagrams(d, now)
		work, most = work+n, max(most, n)
	}
	w.fullTurn = most >= w.config.Batch
	if w.rules != nil {
		work += w.exchange(now) + w.save()
	}
	work += w.deliver()
	if work > 0 {
		w.counters.Turns++
	}
	// A worker that spins changes no counter, and comparing all of them would be most of its turn.
	if work > 0 || w.unshown {
		w.publish()
		w.unshown = false
	}
	return work
}

// beat shows life: to the liveness check, and to the XDP program, which passes packets to the kernel when a
// queue's worker is stuck.
func (w *Worker) beat(now int64) {
	w.heartbeat.Store(now)
	for _, q := range w.queues {
		q.heartbeat.Store(uint64(now))
	}
}

// rest waits for work: it returns at once while spinning pays, else it sleeps in the kernel until a source,
// the ring, a waker or a timer has something.
func (w *Worker) rest(now int64) {
	if w.config.Wait == WaitBusy {
		return
	}
	if w.config.Wait == WaitAdaptive && w.spin && now-w.idleSince < spinTime {
		return
	}
	w.waker.sleeping.Store(true)
	// What was published before the flag was seen must be seen now: clear, check again, then sleep. The ring
	// writes to the same eventfd, at all times.
	w.waker.clear()
	if w.anything() {
		w.waker.sleeping.Store(false)
		return
	}
	timeout := w.untilTimer(now)
	slept := w.clock.Now()
	w.sleep(timeout)
	w.forgetPolls()
	w.waker.sleeping.Store(false)
	woke := w.clock.Now()
	// A short sleep would have been caught by spinning: spin next time. A long one says that it would not
	// pay.
	w.spin = woke-slept < spinTime
	w.idleSince = woke
	w.counters.Sleeps++
	w.unshown = true
}

// anything tells whether something came for which no file descriptor becomes readable, or only the waker's.
func (w *Worker) anything() bool {
	if w.pending.Load() || w.reload != nil || w.ring != nil && w.ring.Ready() || w.cameBack() {
		return true
	}
	for _, q := range w.queues {
		if q.returnsDue() {
			return true
		}
	}
	for _, o := range w.urls {
		if o.writer.Ready() {
			return true
		}
	}
	if w.rules == nil {
		return false
	}
	me := w.config.Index
	for peer := range w.links.rings {
		if peer != me && w.links.rings[peer][me].Peek() != nil {
			return true
		}
	}
	return false
}

// untilTimer is how long the worker may sleep, in nanoseconds: until the next thing that time alone brings.
func (w *Worker) untilTimer(now int64) int64 {
	until := min(now+w.sleepMax(), w.sinkTimer())
	if w.rules != nil {
		until = min(until, w.rules.NextTimer())
	}
	// What found a ring full is offered again soon, although nothing will wake this worker for it.
	if w.draining || w.handingOver() {
		until = min(until, now+int64(time.Millisecond))
	}
	return max(until-now, 0)
}

// sleep polls all descriptors. The set is made anew each time: it is short, sources come and go, and plain
// sockets change what they wait for.
func (w *Worker) sleep(timeout int64) {
	set := append(w.pollSet[:0], unix.PollFd{Fd: int32(w.waker.fd), Events: unix.POLLIN})
	first := len(set)
	for _, q := range w.queues {
		set = append(set, unix.PollFd{Fd: q.pollFD(), Events: unix.POLLIN})
	}
	for _, d := range w.sockets {
		set = append(set, unix.PollFd{Fd: int32(d.socket.FD()), Events: unix.POLLIN})
	}
	for _, o := range w.urls {
		set = o.writer.PollFDs(set)
	}
	w.pollSet = set
	w.timeout = unix.NsecToTimespec(timeout)
	// EINTR and EAGAIN are answered by the next turn like every other waking.
	_, _ = unix.Ppoll(set, &w.timeout, nil)
	for i, q := range w.queues {
		q.noteEvents(set[first+i].Revents)
	}
}
