package dataplane

import (
	"math"
	"time"

	"culvert/dataplane/hist"
	"culvert/dataplane/influx"
	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
)

// lane is the way of one tenant's points from one worker to one URL of one sink: the batch being filled and
// the writer behind it. Tenants with the same sink have batches of their own, out of one pool, and share the
// writer.
type lane struct {
	place   int // its own among the worker's lanes
	index   int // of its URL among those of all sinks: the place of the lane that stands for its writer
	tenant  int
	sharing int // how many tenants share the pool
	batches int // taken out of the pool and not given back
	held    int // points in them
	touched bool
	parts   bool // it is among its route's parting

	pool    *influx.Pool
	writer  *influx.Writer
	encoder lineproto.Encoder
	open    *influx.Batch
	points  int   // seals a batch
	linger  int64 // nanoseconds
	age     int64
	sealed  int64   // when a batch was sealed last, CLOCK_MONOTONIC nanoseconds
	copies  []*lane // those that get each of its points as well
	route   *route  // its sink's
	// spool is the way to the spooler; nil: there is none. always: batches go there before they are sent.
	spool     *SpoolPort
	always    bool
	parked    int // points of settled batches whose bytes the spooler reads
	appending int // batches that are on their way to disk before they are sent

	writes   *hist.Histogram // sealed → acknowledged, nanoseconds
	counters LaneCounters
	block    laneBlock
}

const (
	// ringEntries is the io_uring's size for one lane: a connection has few operations under way at once.
	ringEntries = 256
	// closeTime bounds how long a worker waits at its end for the kernel to let go of batches, nanoseconds.
	closeTime = int64(2 * time.Second)
	// closeStep bounds one wait for the ring meanwhile: not everything that is waited for is on it.
	closeStep = int64(10 * time.Millisecond)
)

// row is lines that stand one behind the other in a payload and go into one lane's batch as they came, by one
// copy.
type row struct {
	lane             *lane
	from, to, points int
}

// storeLine adds a line of the payload to the row, or begins a new row with it.
func (w *Worker) storeLine(r *row, o *lane, payload *Payload, from, to int) {
	if from == r.to && o == r.lane && o.open != nil && to-r.from <= o.open.Room() &&
		o.open.Points()+r.points < o.points {
		r.to = to
		r.points++
		return
	}
	w.storeRow(r, payload)
	*r = row{o, from, to, 1}
}

// storeRow copies the row into its lane's open batch and empties it.
func (w *Worker) storeRow(r *row, payload *Payload) {
	if r.points == 0 {
		return
	}
	text := payload.Bytes[r.from:r.to]
	w.storeText(r.lane, text, r.points, payload.Arrival)
	for _, o := range r.lane.copies {
		w.counters.PointsCopied += uint64(r.points)
		w.storeText(o, text, r.points, payload.Arrival)
	}
	*r = row{}
}

// storeText copies whole lines into a lane's open batch.
func (w *Worker) storeText(o *lane, text []byte, points int, arrival int64) {
	o.counters.Stored += uint64(points)
	o.touched = true
	if w.makeRoom(o, len(text), points) {
		o.held += points
		o.open.Taken = w.now
		o.open.Extend(append(o.open.Body(), text...), points, arrival)
		w.sealFull(o)
	}
}

// store writes a point into a lane's open batch, and into those of its copies: the only copy of its bytes on
// the way through.
func (w *Worker) store(o *lane, p *point.Point, arrival int64) {
	w.storePoint(o, p, arrival)
	for _, c := range o.copies {
		w.counters.PointsCopied++
		w.storePoint(c, p, arrival)
	}
}

func (w *Worker) storePoint(o *lane, p *point.Point, arrival int64) {
	o.counters.Stored++
	o.touched = true
	if !w.makeRoom(o, o.encoder.Bound(p), 1) {
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
		w.rejectAtSink(o, reason, 1)
		return
	}
	o.held++
	o.open.Taken = w.now
	o.open.Extend(body, 1, arrival)
	w.sealFull(o)
}

// makeRoom opens a batch with room for so many bytes unless the open one has it. Where there is none it
// counts the points as dropped and reports false.
func (w *Worker) makeRoom(o *lane, bytes, points int) bool {
	if o.open != nil && o.open.Room() < bytes {
		w.seal(o, w.clock.Now())
	}
	if o.open == nil {
		if o.open = o.take(); o.open == nil {
			w.drop(o, DropOverload, points)
			return false
		}
		if w.traces.every > 0 {
			w.traces.opened(o.open, w.heartbeat.Load())
		}
	}
	if o.open.Room() < bytes {
		w.drop(o, DropOversize, points)
		return false
	}
	return true
}

// take opens a batch. Of the pool's batches a tenant among n may hold 2 in n+1, and so never all of them, so
// that one that sends more than its sink takes, or whose server is away, leaves the others room.
func (o *lane) take() *influx.Batch {
	if o.sharing > 1 && o.batches >= o.most() {
		return nil
	}
	b := o.pool.Take()
	if b != nil {
		b.Owner = o.place
		o.batches++
	}
	return b
}

// most is how many batches the lane may have.
func (o *lane) most() int {
	if o.sharing > 1 {
		return max(2*o.pool.Size()/(o.sharing+1), 1)
	}
	return o.pool.Size()
}

// short tells whether half of the batches that the lane may have are out, or none is left: what is out comes
// back with the server's answer or once the spool has read it, and a disk can take a second for an fsync.
// Until then the others have room for many points if they are filled, and for few if age seals them.
func (o *lane) short() bool { return o.batches > 1 && 2*o.batches > o.most() || o.pool.Free() == 0 }

// release gives a batch back.
func (o *lane) release(b *influx.Batch) {
	o.batches--
	o.pool.Release(b)
}

// sealFull seals the open batch if it has as many points as one shall have.
func (w *Worker) sealFull(o *lane) {
	if o.open.Points() >= o.points {
		w.seal(o, w.clock.Now())
	}
}

// seal closes a lane's open batch and hands it to the writer.
func (w *Worker) seal(o *lane, now int64) {
	if o.open == nil || o.open.Points() == 0 {
		return
	}
	w.counters.BatchesSealed++
	o.open.Seal(now)
	if t := o.open.Trace(); t != nil {
		w.traces.sealed(t, o.open)
	}
	w.submit(o, o.open, now)
	o.open, o.sealed = nil, now
}

// timer is when the open batch must be sealed, CLOCK_MONOTONIC nanoseconds, or the end of time. While batches
// wait for a connection, sealing another gains nothing and costs a batch of the pool: it grows until it is
// full, and a slow sink gets large batches (docs/decisions/0001). So it does while many are out, also where
// a connection is idle: a server that answers at once with an error has them all before it is known to be
// away, and they wait for their next attempt.
func (o *lane) timer() int64 {
	if o.open == nil || o.open.Points() == 0 {
		return math.MaxInt64
	}
	if o.parts {
		return o.open.Opened() + partingAge
	}
	// Batches that go to disk first wait as well.
	idle := o.appending == 0 && o.writer.Idle()
	if o.short() || !idle && o.appending+o.writer.Backlog() > 0 {
		return math.MaxInt64
	}
	return due(idle, o.open.Points(), o.open.Opened(), o.sealed, o.linger, o.age)
}

// company is how many points a batch has that is in company: more come than one in linger / company, and a
// request for so few of them costs server and gateway more than the points do. Such a batch may grow until it
// is stretch times linger old, but not beyond stretchMax nanoseconds (docs/decisions/0027).
const (
	company    = 16
	stretch    = 5
	stretchMax = 1_000_000
)

// due is when a batch must be sealed that has these points, the first of which came at opened, after the one
// before was sealed. Points that come further apart than linger wait for none of it: nothing would come to
// share their batch, and a worker that sleeps would wake up once more for each.
func due(idle bool, points int, opened, sealed, linger, age int64) int64 {
	switch {
	case !idle:
		return opened + age
	case opened-sealed > linger:
		return opened
	case points >= company:
		return opened + max(linger, min(stretch*linger, stretchMax, age))
	}
	return opened + linger
}

// growBytes is how long a batch gets before it is sealed while there is a backlog of packets. Sending a line
// costs half as much again in a batch of 64 KiB (BenchmarkSendCPU), and more than this gains nothing.
const growBytes = 256 << 10

// growing tells whether the open batch is to grow on although its time has come: the turn was full, so that
// the next one, some ten microseconds away, brings more, and who is late is made later by dear sending.
func (w *Worker) growing(o *lane) bool {
	return w.fullTurn && o.open != nil && o.open.Bytes() < growBytes
}

// drop counts points of a lane that were fine and are given up.
func (w *Worker) drop(o *lane, why Drop, points int) {
	o.touched = true
	w.counters.PointsDropped[why] += uint64(points)
	o.counters.Dropped[why] += uint64(points)
}

// expired counts a point that is too old for its sink.
func (w *Worker) expired(o *lane) {
	o.counters.Stored++
	w.drop(o, DropTTL, 1)
	for _, c := range o.copies {
		w.counters.PointsCopied++
		c.counters.Stored++
		w.drop(c, DropTTL, 1)
	}
}

// rejectAtSink counts points that a lane's server, or the encoder on its behalf, refused.
func (w *Worker) rejectAtSink(o *lane, why SinkReject, points int) {
	w.counters.PointsSinkRejected[why] += uint64(points)
	o.counters.Rejected[why] += uint64(points)
}
