package dataplane

import (
	"errors"

	"culvert/dataplane/spool"
)

// takeIn takes what the workers tell and gives the batches back. It returns how much it was.
func (s *Spooler) takeIn(now int64) (work int) {
	for _, p := range s.config.Ports {
		taken := 0
		for taken < p.items.Size() {
			item := p.items.Peek()
			if item == nil {
				break
			}
			s.obey(p, item, now)
			p.items.Release()
			p.popped++
			taken++
		}
		if taken > 0 {
			p.worker.Wake()
		}
		work += taken
	}
	return work
}

// obey does what a worker asks for.
func (s *Spooler) obey(p *SpoolPort, item *spoolItem, now int64) {
	back := spoolBack{kind: item.kind, batch: item.batch}
	switch item.kind {
	case spoolAppend:
		// What the disk does not take is sent all the same: it is in memory, and nobody's loss yet.
		r := spool.Record{
			Body: item.batch.Body(), Points: item.batch.Points(), Oldest: item.oldest, Worker: p.index,
			Batch: item.number, Tenant: s.nameOf(int(item.tenant)),
		}
		if s.inTurn(now) && s.append(&r, true, now) == nil {
			back.sequence = r.Sequence
		}
	case spoolForget:
		s.log.Ack(item.sequence)
		return
	case spoolReplay:
		s.took(s.placeOf(int(item.tenant)), item.points)
		s.traces.remember(item.sequence, item.trace)
		s.giveBack(item.sequence)
		return
	case spoolKeep:
		if s.config.Ordered && item.sequence != 0 && s.keepEnd(item) {
			break
		}
		for _, part := range item.batch.Rest() {
			s.store(&spool.Record{
				Body: item.batch.Body()[part.From:part.To], Points: part.Points, Oldest: item.oldest,
				Worker: p.index, Batch: item.number, Tenant: s.nameOf(int(item.tenant)),
			}, item, now)
		}
		if item.sequence != 0 {
			s.log.Ack(item.sequence)
		}
	}
	// The ring has room for every batch.
	p.backs.Push(&back)
}

// keepEnd lets what is left of a batch wait in the record of it, whose place in the order it has, if that is
// its end. It reports false otherwise.
func (s *Spooler) keepEnd(item *spoolItem) bool {
	rest := item.batch.Rest()
	at, points := rest[0].From, 0
	for _, part := range rest {
		if part.From != at {
			return false
		}
		at, points = part.To, points+part.Points
	}
	if at != item.batch.Bytes() {
		return false
	}
	s.took(s.placeOf(int(item.tenant)), points)
	s.traces.remember(item.sequence, item.trace)
	if settled := item.batch.Points() - points; settled > 0 {
		s.log.Advance(item.sequence, rest[0].From, settled)
	}
	s.giveBack(item.sequence)
	return true
}

// inTurn tells whether the disk may have what comes now: where the order is kept, what waits in memory since
// the disk failed goes there first.
func (s *Spooler) inTurn(now int64) bool {
	if !s.config.Ordered || s.memory.points == 0 {
		return true
	}
	s.toDisk(now)
	return s.memory.points == 0
}

// store puts a record on disk, or keeps a copy of it in memory where the disk takes none.
func (s *Spooler) store(r *spool.Record, item *spoolItem, now int64) {
	tenant, place := s.placeOf(int(item.tenant)), spooledDisk
	s.took(tenant, r.Points)
	if s.inTurn(now) && s.keep(r, tenant, now) {
		if r.Sequence == 0 {
			place = spooledNowhere
		}
		s.traces.remember(r.Sequence, item.trace)
	} else {
		k := kept{
			points: r.Points, tenant: tenant, oldest: r.Oldest, worker: r.Worker, number: r.Batch, since: now,
			trace: item.trace,
		}
		k.body = append(k.body, r.Body...)
		place = spooledMemory
		if !s.memory.push(k) {
			place = spooledNowhere
			s.drop(DropSpoolFull, tenant, r.Points)
		}
	}
	if item.trace.Root != 0 {
		s.traces.spooled(item, r, place, s.clock.Now())
	}
}

// took enters points that a worker handed over.
func (s *Spooler) took(tenant, points int) {
	s.counts.Taken += uint64(points)
	s.shares[tenant].Taken += uint64(points)
}

// errNoDisk is why nothing is appended: the disk is left alone for a while.
var errNoDisk = errors.New("the disk is left alone")

// keep puts a record on disk and reports whether that settled where it is: it is there, or the policy gave it
// up.
func (s *Spooler) keep(r *spool.Record, tenant int, now int64) bool {
	err := s.append(r, false, now)
	if errors.Is(err, spool.ErrFull) {
		s.drop(DropSpoolFull, tenant, r.Points)
		return true
	}
	return err == nil
}

// append puts a record on disk; with hold it is not given out for replay.
func (s *Spooler) append(r *spool.Record, hold bool, now int64) error {
	if s.log == nil || now < s.diskAt {
		return errNoDisk
	}
	dropped, err := s.log.Append(r, hold)
	s.counts.Dropped[DropSpoolFull] += uint64(dropped) // the log knows whose
	if err != nil && !errors.Is(err, spool.ErrFull) {
		s.diskFailed(err, now)
	}
	return err
}

// memoryIsOut tells whether a record of the memory is under way, to the server or to an heir.
func (s *Spooler) memoryIsOut() bool {
	for _, flight := range s.replayer.flights {
		if flight[len(flight)-1].sequence == 0 {
			return true // The log's stand before it, if there are any.
		}
	}
	for i := range s.giving.records {
		if s.giving.records[i].sequence == 0 {
			return true
		}
	}
	return false
}

// toDisk moves what is kept in memory to the disk once that takes something again. It returns how many
// records it moved.
func (s *Spooler) toDisk(now int64) (work int) {
	if s.config.Ordered && s.memoryIsOut() {
		return 0 // What is under way may come back, and is older.
	}
	for work < replayRecords && now >= s.diskAt && s.log != nil {
		k, ok := s.memory.pop()
		if !ok {
			break
		}
		r := spool.Record{
			Body: k.body, Points: k.points, Oldest: k.oldest, Worker: k.worker, Batch: k.number,
			Tenant: s.nameOf(k.tenant),
		}
		if !s.keep(&r, k.tenant, now) {
			s.memory.putBack(k)
			break
		}
		s.traces.remember(r.Sequence, k.trace)
		s.memory.settle(&k)
		work++
	}
	return work
}
