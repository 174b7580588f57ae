package spool

import "errors"

// tail is a segment's file while not all that was appended to it has reached the disk. It is the Log's; what
// a flush does with it meanwhile is to sync the file.
type tail struct {
	segment  *segment
	file     File
	unsynced amount // appended since the last flush of it began
	fresh    bool   // the segment's name may not be durable yet
	flushing bool   // a flush has the file: nobody closes it
}

// letGo closes the file for good. What was to be synced was, or was told.
func (t *tail) letGo() {
	_ = t.file.Close()
	t.segment.tail = nil
}

// Flush brings to disk what a Log was given until it began:
//
//	BeginFlush ──▶ Run ──▶ EndFlush
//	   Log's       any        Log's thread
//
// While it runs the Log goes on: appending, reading and acknowledging wait for no fsync. What comes meanwhile
// is the next one's. There is one at a time.
type Flush struct {
	files    Files
	parts    []flushPart
	names    bool // of segments, new ones, are to be synced
	moved    bool // the position is to be written
	position *position
	next     uint64
	done     ranges

	positionErr error
}

// flushPart is one file of a flush.
type flushPart struct {
	tail *tail
	was  amount // to be synced
	err  error
}

// BeginFlush takes together what is to be done. Whoever calls it owes a Run and then an EndFlush, and until
// then calls neither BeginFlush nor Sync nor Close.
func (l *Log) BeginFlush() *Flush {
	if l.flush != nil {
		panic("BUG: a flush begins while another one is under way")
	}
	f := &Flush{files: l.config.Files, position: &l.position}
	if !l.Unsynced() && l.spent() {
		// Nothing comes: its room need not wait until it is full.
		l.roll()
	}
	for _, t := range l.rolled {
		f.take(t)
	}
	if l.active != nil {
		f.take(l.active.tail)
	}
	for _, s := range l.segments {
		s.told = s.finished()
	}
	if l.moved {
		// Numbers that are given from now on are at least next: of them this position says nothing.
		f.moved, f.next, f.done = true, l.next, l.doneRanges()
		l.moved = false
	}
	l.flush = f
	return f
}

// take adds a file if there is anything in it to be synced.
func (f *Flush) take(t *tail) {
	if t.unsynced.records == 0 {
		return
	}
	f.parts = append(f.parts, flushPart{tail: t, was: t.unsynced})
	f.names = f.names || t.fresh
	t.unsynced, t.flushing = amount{}, true
}

// Run waits for the disk. It touches nothing of the Log but its files, and may be called on any goroutine.
func (f *Flush) Run() {
	for i := range f.parts {
		f.parts[i].err = f.parts[i].tail.file.Sync()
	}
	if f.names {
		err := f.files.Sync()
		for i := range f.parts {
			if p := &f.parts[i]; p.err == nil && p.tail.fresh {
				p.err = err
			}
		}
	}
	if f.moved {
		f.positionErr = f.position.store(f.files, f.next, f.done)
	}
}

// EndFlush takes over what became of it, and removes the segments that nobody needs. The error is Sync's.
func (l *Log) EndFlush(f *Flush) error {
	if l.flush != f {
		panic("BUG: a flush ends that is not under way")
	}
	l.flush = nil
	var failed SyncError
	for i := range f.parts {
		p := &f.parts[i]
		p.tail.flushing = false
		if p.err == nil {
			l.stats.Synced++
			p.tail.fresh = false
			continue
		}
		l.stats.SyncFailures++
		l.doubt(p, &failed)
	}
	l.settleTails()
	var err error
	if failed.Err != nil {
		err = &failed
	}
	if f.positionErr != nil {
		err = errors.Join(err, f.positionErr)
		l.moved = true
	}
	// The position before the segments: after a crash in between, what is acknowledged stays so. If it could
	// not be written they go all the same, since a segment that is gone is not delivered again either.
	_, sweepErr := l.sweep(false)
	return errors.Join(err, sweepErr)
}

// doubt ends a segment whose sync failed: what was appended to it meanwhile is as much in doubt as what was
// to be synced, since nobody asks for that file again.
func (l *Log) doubt(p *flushPart, failed *SyncError) {
	t := p.tail
	if !t.segment.gone {
		failed.Records += p.was.records + t.unsynced.records
		failed.Points += p.was.points + t.unsynced.points
	}
	failed.Err = errors.Join(failed.Err, p.err)
	t.unsynced = amount{}
	if t.segment == l.active {
		l.roll()
	}
}

// settleTails closes the files of ended segments that no flush has and that need none.
func (l *Log) settleTails() {
	kept := l.rolled[:0]
	for _, t := range l.rolled {
		if t.segment.gone {
			t.unsynced = amount{}
		}
		if t.flushing || t.unsynced.records > 0 {
			kept = append(kept, t)
			continue
		}
		t.letGo()
	}
	clear(l.rolled[len(kept):])
	l.rolled = kept
}
