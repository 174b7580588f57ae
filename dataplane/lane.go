package dataplane

import (
	"errors"
	"fmt"
	"math"
	"time"

	"culvert/dataplane/influx"
	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
	"culvert/dataplane/uring"
	"culvert/numa"
)

// SinkConfig says where a worker's batches go and how they are made.
type SinkConfig struct {
	// Writer is the target and its policy; the worker adds the ring and the memory.
	Writer influx.Config
	Uint   lineproto.UintPolicy
	// Batches of BatchBytes each are what a worker can hold, open, waiting and in flight.
	Batches, BatchBytes int
	// BatchPoints seals a batch at this many points.
	BatchPoints int
	// Linger is how old a batch's first point gets while a connection is idle, Age while none is;
	// nanoseconds.
	Linger, Age int64
	HugePages   numa.HugePages
	// Sockets forces plain sockets where io_uring would work.
	Sockets bool
}

// lane is the way of one worker's points to one URL: the batch being filled and the writer behind it.
type lane struct {
	pool    *influx.Pool
	writer  *influx.Writer
	encoder lineproto.Encoder
	open    *influx.Batch
	points  int   // seals a batch
	linger  int64 // nanoseconds
	age     int64
	sealed  int64 // when a batch was sealed last, CLOCK_MONOTONIC nanoseconds
}

const (
	// ringEntries is the io_uring's size: a connection has few operations under way at once.
	ringEntries = 256
	// closeTime bounds how long a worker waits at its end for the kernel to let go of batches, nanoseconds.
	closeTime = int64(2 * time.Second)
)

// openSink takes the batches' memory, the ring and the writer.
func (w *Worker) openSink() error {
	config := w.config.Sink
	batches, err := w.alloc(config.Batches*config.BatchBytes, config.HugePages)
	if err != nil {
		return fmt.Errorf("allocate batches: %w", err)
	}
	w.out.pool, err = influx.NewPool(batches, config.BatchBytes)
	if err != nil {
		return err
	}
	if !config.Sockets {
		w.ring, err = uring.New(uring.Config{Entries: ringEntries, CompletionEntries: 4 * ringEntries})
		if errors.Is(err, uring.ErrUnavailable) {
			w.withoutRing = err
		} else if err != nil {
			return fmt.Errorf("set up io_uring: %w", err)
		}
		if err == nil {
			if err := w.ring.Announce(w.waker.fd); err != nil {
				return fmt.Errorf("set up io_uring: %w", err)
			}
		}
	}
	config.Writer.Ring, config.Writer.Pool = w.ring, w.out.pool
	if config.Writer.Memory, err = w.alloc(influx.MemorySize(config.Writer), numa.HugeOff); err != nil {
		return fmt.Errorf("allocate request heads: %w", err)
	}
	if w.out.writer, err = influx.NewWriter(config.Writer); err != nil {
		return err
	}
	w.out.encoder = lineproto.Encoder{Uint: config.Uint}
	w.out.points, w.out.linger, w.out.age = config.BatchPoints, config.Linger, config.Age
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

// row is lines that stand one behind the other in a payload and go into the batch as they came, by one copy.
type row struct{ from, to, points int }

// storeLine adds a line of the payload to the row, or begins a new row with it.
func (w *Worker) storeLine(r *row, payload *Payload, from, to int) {
	o := &w.out
	if from == r.to && o.open != nil && to-r.from <= o.open.Room() && o.open.Points()+r.points < o.points {
		r.to = to
		r.points++
		return
	}
	w.storeRow(r, payload)
	*r = row{from, to, 1}
}

// storeRow copies the row into the open batch and empties it.
func (w *Worker) storeRow(r *row, payload *Payload) {
	if r.points == 0 {
		return
	}
	text := payload.Bytes[r.from:r.to]
	if w.makeRoom(len(text), r.points) {
		o := &w.out
		o.open.Extend(append(o.open.Body(), text...), r.points, payload.Arrival)
		w.sealFull()
	}
	*r = row{}
}

// store writes a point into the open batch: the only copy of its bytes on the way through.
func (w *Worker) store(p *point.Point, arrival int64) {
	o := &w.out
	if !w.makeRoom(o.encoder.Bound(p), 1) {
		return
	}
	body, ok := o.encoder.Append(o.open.Body(), p)
	if !ok {
		// Two things can make a decoded point unwritable: an unsigned value that the policy has no room for,
		// and tags of the listener that make its key too long.
		reason := SinkKeyLength
		if p.HasUint && o.encoder.Uint == lineproto.UintInt {
			reason = SinkUintRange
		}
		w.counters.PointsSinkRejected[reason]++
		return
	}
	o.open.Extend(body, 1, arrival)
	w.sealFull()
}

// makeRoom opens a batch with room for so many bytes unless the open one has it. Where there is none it
// counts the points as dropped and reports false.
func (w *Worker) makeRoom(bytes, points int) bool {
	o := &w.out
	if o.open != nil && o.open.Room() < bytes {
		w.seal(w.clock.Now())
	}
	if o.open == nil {
		if o.open = o.pool.Take(); o.open == nil {
			w.counters.PointsDropped[DropOverload] += uint64(points)
			return false
		}
	}
	if o.open.Room() < bytes {
		w.counters.PointsDropped[DropOversize] += uint64(points)
		return false
	}
	return true
}

// sealFull seals the open batch if it has as many points as one shall have.
func (w *Worker) sealFull() {
	if w.out.open.Points() >= w.out.points {
		w.seal(w.clock.Now())
	}
}

// seal closes the open batch and hands it to the writer.
func (w *Worker) seal(now int64) {
	o := &w.out
	if o.open == nil || o.open.Points() == 0 {
		return
	}
	w.stages.BatchWait.Record(now - o.open.Opened())
	w.counters.BatchesSealed++
	o.open.Seal(now)
	o.writer.Submit(o.open, now)
	o.open, o.sealed = nil, now
}

// timer is when the open batch must be sealed, CLOCK_MONOTONIC nanoseconds, or the end of time. While batches
// wait for a connection, sealing another gains nothing and costs a batch of the pool: it grows until it is
// full, and a slow sink gets large batches (docs/decisions/0001).
func (o *lane) timer() int64 {
	if o.open == nil || o.open.Points() == 0 {
		return math.MaxInt64
	}
	idle := o.writer.Idle()
	if !idle && o.writer.Backlog() > 0 {
		return math.MaxInt64
	}
	return due(idle, o.open.Opened(), o.sealed, o.linger, o.age)
}

// due is when a batch must be sealed whose first point came at opened, after the one before was sealed.
// Points that come further apart than linger wait for none of it: nothing would come to share their batch,
// and a worker that sleeps would wake up once more for each.
func due(idle bool, opened, sealed, linger, age int64) int64 {
	switch {
	case !idle:
		return opened + age
	case opened-sealed > linger:
		return opened
	}
	return opened + linger
}

// growBytes is how long a batch gets before it is sealed while there is a backlog of packets. Sending a line
// costs half as much again in a batch of 64 KiB (BenchmarkSendCPU), and more than this gains nothing.
const growBytes = 256 << 10

// growing tells whether the open batch is to grow on although its time has come: the turn was full, so that
// the next one, some ten microseconds away, brings more, and who is late is made later by dear sending.
func (w *Worker) growing() bool {
	o := &w.out
	return w.fullTurn && o.open != nil && o.open.Bytes() < growBytes
}

// deliver takes what the kernel completed, seals the open batch when its time has come, lets the writer go on
// and settles the batches that have their answer. It returns how much it did.
func (w *Worker) deliver() int {
	o, work := &w.out, 0
	now := w.clock.Now()
	if w.ring != nil {
		if w.ring.NeedsEnter() {
			// A failure leaves everything queued; the next turn enters again.
			_ = w.ring.Enter()
		}
		var cqe uring.CQE
		for w.ring.Next(&cqe) {
			o.writer.Complete(cqe, now)
			work++
		}
	}
	if now >= o.timer() && !w.growing() {
		w.seal(now)
		work++
	}
	o.writer.Poll(now)
	for {
		outcome, ok := o.writer.Outcome()
		if !ok {
			break
		}
		w.settle(&outcome, now)
		work++
	}
	if w.ring != nil && w.ring.NeedsEnter() {
		_ = w.ring.Enter()
	}
	return work
}

// settle enters a batch's outcome into the ledger and gives the batch back.
func (w *Worker) settle(outcome *influx.Outcome, now int64) {
	b := outcome.Batch
	w.counters.PointsWritten += uint64(outcome.Written)
	// Nobody keeps yet what was set aside.
	w.counters.PointsDropped[DropUndelivered] += uint64(outcome.Undelivered + outcome.Aside)
	reason := SinkRefused
	if outcome.Reason == influx.ReasonPartial {
		reason = SinkPartial
	}
	w.counters.PointsSinkRejected[reason] += uint64(outcome.Rejected)
	if outcome.Written > 0 {
		w.stages.Write.Record(now - b.SealedAt())
		for _, run := range b.Runs() {
			w.stages.EndToEnd.RecordN(now-run.Arrival, uint64(run.Count))
		}
	}
	w.out.pool.Release(b)
}
