package dataplane

import (
	"errors"
	"fmt"
	"math"
	"time"

	"culvert/dataplane/influx"
	"culvert/dataplane/spool"
	"culvert/numa"
)

const (
	// replayBatches is how many requests are under way or being made; replayWindow how many of them are under
	// way while nothing live needs the server.
	replayBatches = 4
	replayWindow  = 2
	// replayRecords bounds the records of one request and of one turn's move from memory to disk.
	replayRecords = 256
	// probeRest is how often an open breaker is looked at, in nanoseconds.
	probeRest = int64(50 * time.Millisecond)
	// parkedMax bounds the records that were set aside since the server refuses them alone.
	parkedMax = 256
	// parkFirst and parkMax are how long such a record waits after its first failure and at most.
	parkFirst, parkMax = int64(time.Second), int64(5 * time.Minute)
)

// flown is a record, or the next part of one, that is in a request: of the log, or of the memory tier.
type flown struct {
	sequence      uint64 // of the log; 0 for one of the memory
	kept          kept
	trace         TraceOf
	tenant        int
	bytes, points int // of the record
	expired       int // of these points, left out since they are too old
}

// parked is a record that was sent alone and in vain while the server took others: it steps aside so that
// these pass it.
type parked struct {
	sequence uint64
	until    int64
}

// replayer is a spooler's way to the server: a writer of its own over plain sockets.
type replayer struct {
	config  influx.Config
	pool    *influx.Pool
	writer  *influx.Writer
	memory  []*numa.Memory
	size    int // of a request
	flights map[*influx.Batch][]flown
	failed  map[uint64]int // how often a record of the log failed while others did not
	parked  []parked
	next    *spool.Record // read and not yet in a request; its body is in scratch
	cut     bool          // a part of the oldest record, which is next or in memory, is under way alone
	scratch []byte
	pace    pace
}

// open makes the writer for requests of so many bytes.
func (r *replayer) open(config influx.Config, size int) (err error) {
	r.config, r.size = config, size
	r.flights, r.failed = map[*influx.Batch][]flown{}, map[uint64]int{}
	config.Ring, config.Aside, config.Connections = nil, true, replayWindow
	for _, take := range []struct {
		size int
		into *[]byte
	}{{influx.MemorySize(config), &config.Memory}, {replayBatches * size, nil}} {
		memory, err := memoryOf(take.size)
		if err != nil {
			return fmt.Errorf("allocate memory for replay: %w", err)
		}
		r.memory = append(r.memory, memory)
		if take.into != nil {
			*take.into = memory.Bytes()
		} else if r.pool, err = influx.NewPool(memory.Bytes(), size); err != nil {
			return err
		}
	}
	config.Pool = r.pool
	r.writer, err = influx.NewWriter(config)
	return err
}

// close gives the memory back. The writer is shut.
func (r *replayer) close() error {
	var errs []error
	now, err := monotonic()
	errs = append(errs, err)
	r.writer.Close(now, now+closeTime)
	for _, memory := range r.memory {
		errs = append(errs, memory.Close())
	}
	r.memory = nil
	return errors.Join(errs...)
}

// release lets go of what is in nobody's request: it waits on disk for the next start.
func (r *replayer) release(s *Spooler) {
	if r.next != nil {
		s.giveBack(r.next.Sequence)
		r.next = nil
	}
	for _, p := range r.parked {
		s.giveBack(p.sequence)
	}
	r.parked = nil
}

// giveBack lets a record of the log wait again. Its segment may have given way meanwhile.
func (s *Spooler) giveBack(sequence uint64) {
	if dropped := s.log.Return(sequence); dropped > 0 {
		s.counts.Dropped[DropSpoolFull] += uint64(dropped) // the log knows whose
		delete(s.replayer.failed, sequence)
	}
}

// due is when replay goes on by itself. An open breaker has no timer of its own while the writer has nothing.
func (r *replayer) due(now int64) int64 {
	at := int64(math.MaxInt64)
	if r.writer.Breaker() != influx.BreakerClosed && len(r.flights) == 0 {
		at = now + probeRest
	}
	if r.pace.nextAt > now {
		at = min(at, r.pace.nextAt)
	}
	for _, p := range r.parked {
		at = min(at, p.until)
	}
	return at
}

// replay sends the oldest of what waits, as much as live traffic leaves it, and returns how many requests it
// began.
func (s *Spooler) replay(now int64) (work int) {
	r := &s.replayer
	s.unpark(now)
	r.pace.watch(s.config.Ports, len(r.flights) > 0, now)
	r.pace.measure(s.config.Ports, now)
	window, size := replayWindow, r.size
	switch {
	case r.pace.live(s.config.Ports, now):
		window, size = 1, min(size, r.pace.size())
	case s.config.Ordered:
		window = 1
	}
	for now >= r.pace.nextAt && len(r.flights) < window && r.writer.Idle() {
		b, flight := s.fill(size, now)
		if b == nil {
			break
		}
		r.flights[b] = flight
		b.Seal(now)
		s.traces.begin(b, flight)
		r.writer.Submit(b, now)
		work++
	}
	return work
}

// fill makes a request of so many bytes of what waits, or returns nil. A record that is longer goes in parts,
// one behind the other.
func (s *Spooler) fill(size int, now int64) (*influx.Batch, []flown) {
	r := &s.replayer
	if r.cut {
		return nil, nil
	}
	b := r.pool.Take()
	if b == nil {
		return nil, nil
	}
	var flight []flown
	line := 0 // that is longer than any request
	for len(flight) < replayRecords {
		f, body, ok := s.oldest()
		if !ok {
			break
		}
		alone := r.failed[f.sequence] > 0 || f.kept.bad > 0
		if len(flight) > 0 && (alone || b.Bytes()+len(body) > size) {
			s.leave(&f)
			break
		}
		part := len(body) > size
		if part {
			f.bytes, f.points = influx.Head(body, size)
			if len(r.flights) > 0 || f.bytes > b.Room() {
				s.leave(&f)
				line = f.bytes
				break
			}
			part = f.bytes < len(body)
		}
		if r.cut = part; !part {
			r.next = nil
		}
		f.expired = s.extend(b, body[:f.bytes], f.points, now)
		flight = append(flight, f)
		if alone || part {
			break
		}
	}
	if len(flight) == 0 {
		r.pool.Release(b)
		s.grow(line)
		return nil, nil
	}
	return b, flight
}

// leave lets a record that was read and found no place be the next one.
func (s *Spooler) leave(f *flown) {
	if f.sequence == 0 {
		s.memory.putBack(f.kept)
	}
}

// extend puts lines into a request as a section of its own, but those that are too old, and returns how many
// of these there were.
func (s *Spooler) extend(b *influx.Batch, body []byte, points int, now int64) (expired int) {
	if s.config.TTL == 0 {
		b.Extend(append(b.Body(), body...), points, now)
	} else {
		expired = b.Fresh(body, points, s.clock.Wall(now)-int64(s.config.TTL), now)
	}
	b.EndSection()
	return expired
}

// oldest reads the next record: of the log, else of the memory.
func (s *Spooler) oldest() (f flown, body []byte, ok bool) {
	r := &s.replayer
	if r.next == nil && s.log != nil {
		record, more, err := s.log.Next(r.scratch)
		if err != nil {
			s.diskFailed(err, s.clock.Now())
		} else if more {
			r.scratch, r.next = record.Body, &record
		}
	}
	if n := r.next; n != nil {
		return flown{
			sequence: n.Sequence, tenant: s.tenantOf(n.Tenant), bytes: len(n.Body), points: n.Points,
			trace: s.traces.of(n.Sequence),
		}, n.Body, true
	}
	k, ok := s.memory.pop()
	return flown{
		kept: k, tenant: k.tenant, bytes: len(k.body), points: k.points, trace: k.trace,
	}, k.body, ok
}

// grow makes requests long enough for a line that fits into none, once nothing is under way. Such a line was
// written when batches were longer.
func (s *Spooler) grow(size int) {
	r := &s.replayer
	if len(r.flights) > 0 || size <= r.size {
		return
	}
	larger := replayer{scratch: r.scratch, next: r.next, parked: r.parked, pace: r.pace}
	if err := larger.open(r.config, size); err != nil {
		// No memory now: it is tried again with the next turn.
		_ = larger.closeMemory()
		return
	}
	larger.failed = r.failed
	old := *r
	*r = larger
	old.writer.Shut(s.clock.Now())
	_ = old.close()
}

// closeMemory gives back the memory of a replayer that did not come to be.
func (r *replayer) closeMemory() error {
	var errs []error
	for _, memory := range r.memory {
		errs = append(errs, memory.Close())
	}
	return errors.Join(errs...)
}

// settle enters what became of requests into the ledger and returns how many they were.
func (s *Spooler) settle(now int64) (work int) {
	r := &s.replayer
	for {
		outcome, ok := r.writer.Outcome()
		if !ok {
			s.tellRefusals()
			return work
		}
		flight := r.flights[outcome.Batch]
		delete(r.flights, outcome.Batch)
		if outcome.Aside+outcome.Undelivered == 0 {
			s.delivered(flight, &outcome)
			s.tellGood(now)
		} else {
			s.undelivered(flight, now)
		}
		s.traces.replayed(&outcome, flight, now)
		r.pace.after(s.config.Ports, outcome.Batch.Points(), now-outcome.Batch.SealedAt(), now)
		r.pool.Release(outcome.Batch)
		work++
	}
}

// tellGood lets workers know that the server takes points: those that have none now would not find out.
func (s *Spooler) tellGood(now int64) {
	for _, p := range s.config.Ports {
		p.good.Store(now)
	}
}

// tellRefusals passes on what the server refused.
func (s *Spooler) tellRefusals() {
	refusals := s.replayer.writer.Refusals()
	if len(refusals) == 0 {
		return
	}
	if s.config.Refusals != nil {
		for i := range refusals {
			s.config.Refusals.Push(&Refusal{Lane: s.config.Lane, Refusal: refusals[i]})
		}
	}
	s.replayer.writer.RefusalsTaken()
}

// delivered enters what became of a request's records and parts of records. Their tenants share the request,
// of which each record is a section.
func (s *Spooler) delivered(flight []flown, outcome *influx.Outcome) {
	reason := SinkRefused
	if outcome.Reason == influx.ReasonPartial {
		reason = SinkPartial
	}
	for i := range flight {
		f := &flight[i]
		refused := outcome.Batch.Refused(i)
		written := f.points - f.expired - refused
		s.counts.Replayed += uint64(written)
		s.counts.Rejected[reason] += uint64(refused)
		share := &s.shares[f.tenant]
		share.Replayed += uint64(written)
		share.Rejected[reason] += uint64(refused)
		s.drop(DropTTL, f.tenant, f.expired)
		s.acknowledge(f)
	}
}

// acknowledge lets go of a record, or of the part of one that was under way.
func (s *Spooler) acknowledge(f *flown) {
	r := &s.replayer
	part := r.cut
	r.cut = false
	switch {
	case f.sequence == 0 && part:
		s.memory.advance(&f.kept, f.bytes, f.points)
		s.memory.putBack(f.kept)
	case f.sequence == 0:
		s.memory.settle(&f.kept)
	case part:
		s.log.Advance(f.sequence, f.bytes, f.points)
		r.next.Body = r.next.Body[f.bytes:]
		r.next.Points -= f.points
	default:
		s.log.Ack(f.sequence)
	}
	delete(r.failed, f.sequence)
}

// undelivered lets the records of a request wait again, whatever of them the server took: sending them once
// more changes nothing there, and is counted once. Where the server takes others it is one of the records
// that is at fault: each is sent alone then, and one that fails alone steps aside for a while.
func (s *Spooler) undelivered(flight []flown, now int64) {
	r := &s.replayer
	if r.next != nil && !r.cut {
		// These come before it.
		s.giveBack(r.next.Sequence)
	}
	r.next, r.cut = nil, false
	fault := r.writer.Breaker() == influx.BreakerClosed && !s.config.Ordered && s.mode == SpoolDeliver
	for i := len(flight) - 1; i >= 0; i-- {
		f := flight[i]
		if f.sequence == 0 {
			if fault {
				f.kept.bad++
			}
			s.memory.putBack(f.kept)
			continue
		}
		if fault {
			r.failed[f.sequence]++
		}
		failures := r.failed[f.sequence]
		if fault && len(flight) == 1 && len(r.parked) < parkedMax {
			wait := min(parkFirst<<min(failures-1, 20), parkMax)
			r.parked = append(r.parked, parked{f.sequence, now + wait})
			continue
		}
		s.giveBack(f.sequence)
	}
}

// unpark gives records that stepped aside another try.
func (s *Spooler) unpark(now int64) {
	r := &s.replayer
	waiting := r.parked[:0]
	for _, p := range r.parked {
		if now < p.until {
			waiting = append(waiting, p)
			continue
		}
		s.giveBack(p.sequence)
	}
	r.parked = waiting
}
