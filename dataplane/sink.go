package dataplane

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"sync/atomic"

	"culvert/dataplane/hist"
	"culvert/dataplane/influx"
	"culvert/dataplane/lineproto"
	"culvert/dataplane/shard"
	"culvert/dataplane/uring"
	"culvert/numa"
)

const (
	// LanesMax bounds the URLs of all sinks together, which share a ring: its tokens name a lane in a byte.
	LanesMax = 64
	// ringEntriesMax is the kernel's bound less a factor of four for the completions.
	ringEntriesMax = 8192
)

// SinkConfig says where a worker's batches go and how they are made.
type SinkConfig struct {
	// Writers are the targets, one for each URL, and their policy; the worker adds the ring and the memory.
	Writers []influx.Config
	// Spools (optional) are the ways to the spoolers, one for each URL.
	Spools []*SpoolPort
	// Always lets each batch go to disk before it is sent.
	Always bool
	// Routing is how points are shared out among the URLs.
	Routing Routing
	// Table (shared, replaced by the control plane) says whose a series is, for RoutingHash with several
	// URLs.
	Table *atomic.Pointer[shard.Table]
	// Order (optional; shared, replaced by the control plane) are the places among Writers of the URLs that
	// points go to, the first one first, for the other routings; without it they go to all, as they stand.
	// There is at least one.
	Order *atomic.Pointer[[]int]
	Uint  lineproto.UintPolicy
	// Batches of BatchBytes each are what a worker can hold for one URL, open, waiting and in flight.
	Batches, BatchBytes int
	// BatchPoints seals a batch at this many points.
	BatchPoints int
	// Linger is how old a batch's first point gets while a connection is idle, Age while none is;
	// nanoseconds.
	Linger, Age int64
	// TTL (optional) is how old a point may be by its own time when it comes, in nanoseconds; 0: any age.
	TTL       int64
	HugePages numa.HugePages
	// Sockets forces plain sockets where io_uring would work.
	Sockets bool
}

// openSinks takes the batches' memory, the ring and the writers: a lane for each URL, in the order of the
// configuration.
func (w *Worker) openSinks() error {
	sinks := w.config.Sinks
	lanes, size, sockets := 0, 0, false
	for i := range sinks {
		lanes += len(sinks[i].Writers)
		size += len(sinks[i].Writers) * sinks[i].Batches * sinks[i].BatchBytes
		sockets = sockets || sinks[i].Sockets
	}
	if lanes == 0 || lanes > LanesMax {
		return fmt.Errorf("open sinks: %d URLs in all, want 1 to %d", lanes, LanesMax)
	}
	if !sockets {
		if err := w.openRing(lanes); err != nil {
			return err
		}
	}
	batches, err := w.alloc(size, sinks[0].HugePages)
	if err != nil {
		return fmt.Errorf("allocate batches: %w", err)
	}
	if w.ring != nil && w.ring.ZeroCopy() && lanes > 1 {
		// A ring registers memory once. Without it sending in place works, only dearer.
		_ = w.ring.RegisterBuffers(batches)
	}
	for i := range sinks {
		c := &sinks[i]
		for j := range c.Writers {
			part := c.Batches * c.BatchBytes
			o := new(lane)
			if err := w.openLane(o, c, j, batches[:part:part], nil); err != nil {
				return err
			}
			batches = batches[part:]
			w.urls, w.lanes = append(w.urls, o), append(w.lanes, o)
		}
	}
	w.openTenants()
	w.showLanes()
	return nil
}

// lanesShown are a worker's lanes as others may read them. It is replaced when a URL comes, never written to;
// of the lanes others read the histograms and blocks, and what tells whose they are.
type lanesShown struct{ lanes, urls []*lane }

func (w *Worker) showLanes() { w.shown.Store(&lanesShown{w.lanes, w.urls}) }

// openRing makes the ring that all lanes share.
func (w *Worker) openRing(lanes int) (err error) {
	entries := min(1<<bits.Len(uint(ringEntries*lanes-1)), ringEntriesMax)
	w.ring, err = uring.New(uring.Config{Entries: entries, CompletionEntries: 4 * entries})
	if errors.Is(err, uring.ErrUnavailable) {
		w.withoutRing = err
		return nil
	}
	if err == nil {
		err = w.ring.Announce(w.waker.fd)
	}
	if err != nil {
		return fmt.Errorf("set up io_uring: %w", err)
	}
	return nil
}

// openLane makes the writer to one URL, the next one. heads (optional) is memory for its requests' heads.
func (w *Worker) openLane(o *lane, c *SinkConfig, url int, batches, heads []byte) (err error) {
	if o.pool, err = influx.NewPool(batches, c.BatchBytes); err != nil {
		return err
	}
	config := c.Writers[url]
	if len(c.Spools) > 0 {
		o.spool, o.always, config.Aside = c.Spools[url], c.Always, true
	}
	o.index = len(w.urls)
	config.Ring, config.Pool, config.Tag, config.Memory = w.ring, o.pool, uint8(o.index), heads
	if config.Remote != nil {
		one := *config.Remote
		one.Wake = w.waker.Wake
		config.Remote = &one
	}
	if heads == nil {
		config.Memory, err = w.alloc(influx.MemorySize(config), numa.HugeOff)
	}
	if err != nil {
		return fmt.Errorf("allocate request heads: %w", err)
	}
	if o.writer, err = influx.NewWriter(config); err != nil {
		return err
	}
	if o.spool != nil {
		o.writer.StayBehind()
	}
	o.encoder = lineproto.Encoder{Uint: c.Uint}
	o.writes = new(hist.Histogram)
	o.points, o.linger, o.age = c.BatchPoints, c.Linger, c.Age
	return nil
}

// alloc takes memory on the worker's node that is given back when the worker ends.
func (w *Worker) alloc(size int, huge numa.HugePages) ([]byte, error) {
	memory, err := numa.Alloc(size, w.config.Node, huge)
	if err != nil {
		return nil, err
	}
	w.memory = append(w.memory, memory)
	return memory.Bytes(), nil
}

// held is how many points are in batches.
func (w *Worker) held() (points int) {
	for _, o := range w.urls {
		points += o.pool.Held()
	}
	return points
}

// sinkTimer is when deliver must be called even if nothing happens, or the end of time.
func (w *Worker) sinkTimer() int64 {
	next := int64(math.MaxInt64)
	for _, o := range w.lanes {
		next = min(next, o.timer())
	}
	for _, o := range w.urls {
		next = min(next, o.writer.NextTimer())
	}
	return next
}

// deliver takes what the kernel completed, seals the open batches whose time has come, lets the writers go on
// and settles the batches that have their answer. It returns how much it did.
func (w *Worker) deliver() int {
	now := w.clock.Now()
	work := w.takeBack(now)
	if w.ring != nil {
		if w.ring.NeedsEnter() {
			// A failure leaves everything queued; the next turn enters again.
			_ = w.ring.Enter()
		}
		work += w.complete(now)
	}
	for _, o := range w.lanes {
		if now >= o.timer() && !w.growing(o) {
			w.seal(o, now)
			work++
		}
	}
	for _, o := range w.urls {
		o.writer.Poll(now)
		work += w.settleAll(o, now)
		if o.spool != nil && o.writer.Breaker() != influx.BreakerClosed &&
			o.spool.good.Load() > o.writer.LastTrouble() {
			o.writer.Trust()
		}
		// Only now has the spool been told of all that went aside.
		if o.writer.Behind() && o.spool != nil && o.spool.caughtUp() {
			o.writer.Resume()
		}
	}
	for i := range w.routes {
		r := &w.routes[i]
		if len(r.parting) > 0 {
			w.part(r, now)
		}
		r.refresh()
	}
	if w.ring != nil && w.ring.NeedsEnter() {
		_ = w.ring.Enter()
	}
	return work
}

// complete gives the ring's completions to their writers.
func (w *Worker) complete(now int64) (work int) {
	var cqe uring.CQE
	for w.ring.Next(&cqe) {
		if tag := influx.Tag(cqe); int(tag) < len(w.urls) {
			w.urls[tag].writer.Complete(cqe, now)
		}
		work++
	}
	return work
}

// settleAll enters the outcomes of a URL that there are into the ledger, each with its tenant's lane.
func (w *Worker) settleAll(first *lane, now int64) (work int) {
	for {
		outcome, ok := first.writer.Outcome()
		if !ok {
			w.tellRefusals(first)
			return work
		}
		w.settle(w.lanes[outcome.Batch.Owner], &outcome, now)
		work++
	}
}

// tellRefusals passes on what the server refused.
func (w *Worker) tellRefusals(o *lane) {
	refusals := o.writer.Refusals()
	if len(refusals) == 0 {
		return
	}
	if w.config.Refusals != nil {
		for i := range refusals {
			w.config.Refusals.Push(&Refusal{Lane: o.index, Refusal: refusals[i]})
		}
	}
	o.writer.RefusalsTaken()
}

// settle enters a batch's outcome into the ledger and gives the batch back.
func (w *Worker) settle(o *lane, outcome *influx.Outcome, now int64) {
	b := outcome.Batch
	w.counters.PointsWritten += uint64(outcome.Written)
	o.counters.Written += uint64(outcome.Written)
	reason := SinkRefused
	if outcome.Reason == influx.ReasonPartial {
		reason = SinkPartial
	}
	w.rejectAtSink(o, reason, outcome.Rejected)
	w.drop(o, DropUndelivered, outcome.Undelivered)
	if o.spool != nil {
		// As in submit: the last one to be settled says that nothing waits any more.
		o.spool.backlog.Store(int64(o.writer.Backlog()))
	}
	if outcome.Written > 0 {
		w.urls[o.index].writes.Record(now - b.SealedAt())
		if o.spool != nil {
			o.spool.wrote(now-b.Opened(), outcome.Written, o.counters.Written)
		}
		all := uint64(0)
		for _, run := range b.Runs() {
			n := uint64(run.Count)
			w.stages.BatchWait.RecordN(b.SealedAt()-run.Taken, n)
			w.stages.EndToEnd.RecordN(now-run.Arrival, n)
			all += n
		}
		w.stages.Write.RecordN(now-b.SealedAt(), all)
	}
	o.held -= b.Points()
	o.touched = true
	trace := traceOf(b)
	if b.Trace() != nil {
		w.traces.settled(o, outcome, now)
	}
	switch {
	case outcome.Aside > 0:
		w.stepAside(o, b, outcome.Aside, trace, now)
		return
	case b.Mark != 0:
		o.spool.push(spoolItem{kind: spoolForget, sequence: b.Mark})
	}
	o.release(b)
}

// closeSinks gives up on what the sinks did not take in time, the open batches included, and waits for the
// kernel to let go of all memory.
func (w *Worker) closeSinks(now int64) {
	for _, o := range w.lanes {
		w.seal(o, now)
	}
	w.recall(now + closeTime)
	for _, o := range w.urls {
		o.writer.Shut(now)
	}
	for i := range w.routes {
		w.routes[i].closed = true
	}
	deadline := now + closeTime
	for w.ring != nil && !w.quiet() && now < deadline {
		if w.ring.EnterWait(min(deadline-now, closeStep)) != nil {
			break
		}
		now = w.clock.Now()
		w.complete(now)
		for _, o := range w.urls {
			o.writer.Poll(now)
		}
	}
	for _, o := range w.urls {
		// Only those wait here that are not on the ring.
		o.writer.Close(now, deadline)
		w.settleAll(o, now)
	}
	w.recall(now + closeTime)
	w.publish()
}

// quiet tells whether the kernel holds nothing of any writer.
func (w *Worker) quiet() bool {
	for _, o := range w.urls {
		if !o.writer.Quiet() {
			return false
		}
	}
	return true
}

// publish shows the counters to others: the lanes' and tenants' first, so that what is in the worker's is in
// those too.
func (w *Worker) publish() {
	held := 0
	for _, o := range w.lanes {
		held += o.held
		if o.touched {
			o.counters.InFlight = uint64(o.held)
			o.block.publish(&o.counters)
			o.touched = false
		}
	}
	for i := range w.tenants {
		if t := &w.tenants[i]; t.touched {
			t.block.publish(&t.counters)
			t.touched = false
		}
	}
	w.counters.PointsInFlight = uint64(held)
	w.block.publish(&w.counters)
}
