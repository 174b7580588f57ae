package dataplane

import (
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"culvert/dataplane/shard"
	"culvert/dataplane/spool"
)

// A URL that leaves its sink, and may come back, has a spooler like any other. What becomes of what waits
// there is its mode:
//
//	SpoolDeliver  it is sent to the URL
//	SpoolKeep     it lies where it is
//	SpoolGive     it goes to the spoolers of the URLs that own its series now, the heirs:
//
//	giver                                   heir
//	reads records, splits them  ──parcels─▶ appends, if there is room: taken over
//	counts them as moved        ◀──states── says when its disk has them
//	lets go of the record
//
// Parts of a record that an heir has no room for are offered again; its other parts have moved by then, and
// never move twice. A crash in between leaves the record in the giver's files: it is repeated, not lost.

// SpoolMode is what becomes of what a spooler holds.
type SpoolMode uint8

const (
	// SpoolDeliver delivers it to the spooler's URL.
	SpoolDeliver SpoolMode = iota
	// SpoolKeep lets it lie.
	SpoolKeep
	// SpoolGive gives it to others.
	SpoolGive
)

// Heirs are who gets what a spooler shares out.
type Heirs struct {
	// Spoolers are those of a sink's URLs, by their place in the table; nil for those that take nothing.
	Spoolers []*Spooler
	// Table (shared, replaced by the control plane) says whose a series is; nil: all are the first one's.
	Table *atomic.Pointer[shard.Table]
}

const (
	// giveRecords and giveBytes bound what is on its way to heirs at a time: it is twice in memory.
	giveRecords, giveBytes = 1024, 8 << 20
	// giveRetry is how long heirs that take nothing are left alone, in nanoseconds.
	giveRetry = int64(time.Second)
	// giveEnd and giveStep bound how long a spooler that ends waits for its heirs' disks.
	giveEnd, giveStep = 2 * time.Second, time.Millisecond
)

// spoolOrder is a mode and what belongs to it, on its way to the spooler's thread.
type spoolOrder struct {
	mode  SpoolMode
	heirs Heirs
}

// Turn changes what becomes of what waits; heirs are for SpoolGive. What is under way to the URL gets its
// answer first. Any goroutine may call it.
func (s *Spooler) Turn(mode SpoolMode, heirs Heirs) {
	s.order.Store(&spoolOrder{mode, heirs})
	s.waker.Wake()
}

// Limit changes how long the spool's files may get together, in bytes. Any goroutine may call it.
func (s *Spooler) Limit(most int64) {
	s.limit.Store(max(most, 1)) // 0 there is no change, and no record has less than a byte.
	s.waker.Wake()
}

// Parcel states. The giver makes a parcel offered, and withdrawn where its heir has not begun with it; all
// else is the heir's.
const (
	parcelOffered   uint32 = iota
	parcelTaken            // the heir is at it
	parcelRefused          // the heir has no room, or its disk fails
	parcelAccepted         // the heir answers for it from now on
	parcelDurable          // so does its disk
	parcelWithdrawn        // the heir leaves it alone
)

// parcel is some lines on their way from one spooler to another.
type parcel struct {
	record spool.Record
	giver  *Spooler
	heir   *Spooler
	state  atomic.Uint32
	moved  bool // the giver has counted it
	flush  int  // number of the heir's flush that brings it to disk
}

// answer lets the giver know.
func (p *parcel) answer(state uint32) {
	p.state.Store(state)
	p.giver.giving.answers.Add(1)
	p.giver.waker.Wake()
}

// offer lets the heir have it.
func (p *parcel) offer() {
	p.state.Store(parcelOffered)
	in := &p.heir.inlet
	in.mutex.Lock()
	in.parcels = append(in.parcels, p)
	in.waiting.Store(true)
	in.mutex.Unlock()
	p.heir.waker.Wake()
}

// inlet is where parcels come in.
type inlet struct {
	mutex   sync.Mutex
	parcels []*parcel
	waiting atomic.Bool
}

// take empties it.
func (in *inlet) take() []*parcel {
	if !in.waiting.Load() {
		return nil
	}
	in.mutex.Lock()
	defer in.mutex.Unlock()
	parcels := in.parcels
	in.parcels = nil
	in.waiting.Store(false)
	return parcels
}

// adopt takes over what others give; that it is on disk is told with the flush. It returns how much it did.
func (s *Spooler) adopt(now int64) (work int) {
	for _, p := range s.inlet.take() {
		if !p.state.CompareAndSwap(parcelOffered, parcelTaken) {
			continue
		}
		work++
		if !s.adoptOne(&p.record, now) {
			p.answer(parcelRefused)
			continue
		}
		p.flush = s.flusher.count + 1
		s.adopted = append(s.adopted, p)
		p.answer(parcelAccepted)
	}
	return work
}

// tellDurable tells givers what the flushes up to this one have brought to disk.
func (s *Spooler) tellDurable(flush int) {
	kept := s.adopted[:0]
	for _, p := range s.adopted {
		if p.flush <= flush {
			p.answer(parcelDurable)
		} else {
			kept = append(kept, p)
		}
	}
	clear(s.adopted[len(kept):])
	s.adopted = kept
}

// adoptOne puts a record on disk that is another's until then, and reports whether it is there.
func (s *Spooler) adoptOne(r *spool.Record, now int64) bool {
	if s.log == nil || now < s.diskAt || !s.inTurn(now) {
		return false
	}
	if err := s.log.Adopt(r); err != nil {
		if !errors.Is(err, spool.ErrFull) {
			s.diskFailed(err, now)
		}
		return false
	}
	for _, port := range s.config.Ports {
		// What a worker sends now would pass this, where the order is kept.
		port.settled.Store(math.MaxUint64)
	}
	s.counts.Adopted += uint64(r.Points)
	s.shares[s.tenantOf(r.Tenant)].Adopted += uint64(r.Points)
	return true
}

// giving is what a spooler has on its way to others.
type giving struct {
	splitter Splitter
	records  []given
	open     int           // parcels that no heir has taken over
	nextAt   int64         // heirs are left alone until then
	answers  atomic.Uint32 // how many came
	seen     uint32        // of them
}

// given is a record of which all lines are in parcels.
type given struct {
	flown
	parcels []*parcel
}

// answered tells whether an heir has said something new.
func (g *giving) answered() bool { return g.answers.Load() != g.seen }

// onward lets what waits go where the mode says, and returns how much it did.
func (s *Spooler) onward(now int64) (work int) {
	r := &s.replayer
	work = s.pursue(now)
	if s.mode == SpoolDeliver {
		return work + s.replay(now)
	}
	r.pace.watch(s.config.Ports, len(r.flights) > 0, now)
	if s.mode == SpoolGive && len(r.flights) == 0 && now >= s.giving.nextAt && s.mayGive() {
		work += s.give(now)
	}
	return work
}

// mayGive tells whether more may go on its way. Where the order is kept each record waits until heirs have
// taken over the one before, so that none passes it, but not for their disks.
func (s *Spooler) mayGive() bool {
	if s.config.Ordered {
		return s.giving.open == 0 && len(s.giving.records) < giveRecords
	}
	return len(s.giving.records) == 0
}

// turn takes a new mode over.
func (s *Spooler) turn(o *spoolOrder) {
	s.mode, s.heirs, s.giving.nextAt = o.mode, o.heirs, 0
	if o.mode == SpoolDeliver {
		s.replayer.writer.Return()
	} else {
		s.replayer.writer.Leave()
	}
}

// give offers what waits to those that own it, the oldest first, and returns how many records it was.
func (s *Spooler) give(now int64) (work int) {
	s.unpark(math.MaxInt64)
	most := giveRecords
	if s.config.Ordered {
		most = 1
	}
	for bytes := 0; work < most && bytes < giveBytes; work++ {
		f, body, ok := s.oldest()
		if !ok {
			return work
		}
		parcels := s.pack(&f, body)
		if parcels == nil {
			// The table is newer than the heirs, or this URL is about to come back.
			s.leave(&f)
			s.giving.nextAt = now + giveRetry
			return work
		}
		if f.sequence != 0 {
			s.replayer.next = nil
		}
		bytes += len(body)
		s.giving.records = append(s.giving.records, given{f, parcels})
		s.giving.open += len(parcels)
		for _, p := range parcels {
			p.offer()
		}
	}
	return work
}

// pack splits a record by who owns its lines, or returns nil where one of them has no heir.
func (s *Spooler) pack(f *flown, body []byte) (parcels []*parcel) {
	whole := spool.Record{Tenant: s.nameOf(f.tenant), Oldest: f.kept.oldest, Worker: f.kept.worker,
		Batch: f.kept.number}
	if f.sequence != 0 {
		n := s.replayer.next
		whole.Tenant, whole.Oldest, whole.Worker, whole.Batch = n.Tenant, n.Oldest, n.Worker, n.Batch
	}
	split, table := &s.giving.splitter, (*shard.Table)(nil)
	if s.heirs.Table != nil {
		table = s.heirs.Table.Load()
	}
	if !split.Split(body, len(s.heirs.Spoolers), table) {
		return nil
	}
	found := 0
	for i, points := range split.Points {
		if points == 0 {
			continue
		}
		heir := s.heirs.Spoolers[i]
		if heir == nil || heir == s {
			return nil
		}
		p := &parcel{record: whole, giver: s, heir: heir}
		p.record.Points, p.record.Body = points, append([]byte(nil), split.Bodies[i]...)
		parcels = append(parcels, p)
		found += points
	}
	if found != f.points && len(parcels) > 0 {
		// No worker writes what counts otherwise than it reads. The ledger goes by what was written.
		parcels = parcels[:1]
		parcels[0].record.Points, parcels[0].record.Body = f.points, append([]byte(nil), body...)
	}
	return parcels
}

// pursue enters what heirs have answered, and lets go of what they have on disk. It returns how much it did.
func (s *Spooler) pursue(now int64) (work int) {
	g := &s.giving
	if len(g.records) == 0 || !g.answered() && now < g.nextAt {
		return 0
	}
	g.seen, g.open = g.answers.Load(), 0
	again := now >= g.nextAt
	kept := g.records[:0]
	for i := range g.records {
		left, open, refused := s.entered(&g.records[i], again)
		g.open += open
		// Where the order is kept, a crash repeats all that is behind what it repeats.
		if left == 0 && (len(kept) == 0 || !s.config.Ordered) {
			s.handedOver(&g.records[i])
			work++
			continue
		}
		if refused && again {
			g.nextAt = now + giveRetry
		}
		kept = append(kept, g.records[i])
	}
	clear(g.records[len(kept):])
	g.records = kept
	return work
}

// entered counts what heirs took over of a record, and returns how many parcels are not on disk yet, how many
// of these nobody has taken over, and whether some were refused. With again set those are offered once more:
// where they were, or, since the rest of their record is elsewhere by now, to this spooler itself if it is
// not to share out any more, or their heir is none any more.
func (s *Spooler) entered(g *given, again bool) (left, open int, refused bool) {
	for _, p := range g.parcels {
		switch state := p.state.Load(); state {
		case parcelAccepted, parcelDurable:
			s.moved(p)
			// A flush brings its own files to disk before it lets go of what was in them.
			if state == parcelAccepted && p.heir != s {
				left++
			}
		case parcelRefused:
			left++
			open++
			refused = true
			if again {
				if s.mode != SpoolGive || !slices.Contains(s.heirs.Spoolers, p.heir) {
					p.heir = s
				}
				p.offer()
			}
		default:
			left++
			open++
		}
	}
	return left, open, refused
}

// moved counts a parcel that another answers for.
func (s *Spooler) moved(p *parcel) {
	if p.moved {
		return
	}
	p.moved, p.record.Body = true, nil // which its heir needs no more
	s.counts.Moved += uint64(p.record.Points)
	s.shares[s.tenantOf(p.record.Tenant)].Moved += uint64(p.record.Points)
}

// handedOver lets go of a record that others have.
func (s *Spooler) handedOver(g *given) {
	if g.sequence == 0 {
		s.memory.settle(&g.kept)
		return
	}
	s.log.Ack(g.sequence)
	delete(s.replayer.failed, g.sequence)
}

// takeHome ends what is on its way to others, as the spooler's own end: what nobody has begun with is its own
// again, and what somebody has is waited for until it is on his disk.
func (s *Spooler) takeHome() {
	for until := time.Now().Add(giveEnd); s.underWay() && time.Now().Before(until); {
		time.Sleep(giveStep)
	}
	some := false // wait again
	for i := range s.giving.records {
		g := &s.giving.records[i]
		left, _, _ := s.entered(g, false)
		if left == 0 && !(some && s.config.Ordered) {
			s.handedOver(g)
			continue
		}
		some = true
		switch {
		case g.sequence != 0:
			// On disk all of it waits again: what has moved is repeated with the next start.
			s.giveBack(g.sequence)
		default:
			s.memory.settle(&g.kept)
			for _, p := range g.parcels {
				if !p.moved {
					k := g.kept
					k.body, k.points = p.record.Body, p.record.Points
					s.memory.bytes += int64(len(k.body))
					s.memory.points += k.points
					s.memory.putBack(k)
				}
			}
		}
	}
	s.giving.records = nil
}

// underWay withdraws what no heir has begun with, and tells whether some have what is not on their disk yet.
func (s *Spooler) underWay() (waits bool) {
	for i := range s.giving.records {
		for _, p := range s.giving.records[i].parcels {
			p.state.CompareAndSwap(parcelOffered, parcelWithdrawn)
			state := p.state.Load()
			waits = waits || p.heir != s && (state == parcelTaken || state == parcelAccepted)
		}
	}
	return waits
}
