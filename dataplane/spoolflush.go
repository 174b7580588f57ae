package dataplane

import "culvert/dataplane/spool"

// diskFlusher waits for a spool's disk, so that its spooler need not: a flush may take the better part of a
// second, and the workers' batches come meanwhile.
type diskFlusher struct {
	begun   chan *spool.Flush
	ended   chan *spool.Flush
	waiting bool // for ended; the spooler's own, as what follows
	// count is how many flushes were begun, good the number of the last of them that succeeded. What is
	// appended now is durable with number count+1 or one behind it.
	count, good int
}

// start begins the goroutine; it ends once begun is closed. wake is called behind each flush.
func (d *diskFlusher) start(wake func()) {
	// One flush is under way at a time: neither side ever waits to pass it on.
	d.begun, d.ended = make(chan *spool.Flush, 1), make(chan *spool.Flush, 1)
	go func() {
		for f := range d.begun {
			f.Run()
			d.ended <- f
			wake()
		}
	}()
}

// over tells whether a flush waits to be taken back.
func (d *diskFlusher) over() bool { return len(d.ended) > 0 }

// sync makes durable what was appended and acknowledged when it is due.
func (s *Spooler) sync(now int64) {
	if s.flusher.over() {
		s.flushed(<-s.flusher.ended, now)
	}
	if s.log == nil || !s.log.Dirty() {
		s.syncAt = 0
		return
	}
	due := now + int64(s.config.Sync)
	if !s.log.Unsynced() {
		due = now + max(int64(s.config.Sync), ackSync)
	}
	if s.syncAt == 0 || due < s.syncAt {
		s.syncAt = due
	}
	if now < s.syncAt || s.flusher.waiting {
		return
	}
	s.syncAt = 0
	s.flusher.waiting = true
	s.flusher.count++
	s.flusher.begun <- s.log.BeginFlush()
}

// flushed takes a flush back.
func (s *Spooler) flushed(f *spool.Flush, now int64) {
	s.flusher.waiting = false
	if err := s.log.EndFlush(f); err != nil {
		s.diskFailed(err, now)
		return
	}
	s.flusher.good = s.flusher.count
	s.tellDurable(s.flusher.good)
	if now >= s.diskAt {
		s.counts.DiskError = ""
	}
}

// endFlusher waits for the flush that is under way and ends the goroutine.
func (s *Spooler) endFlusher() {
	if s.flusher.waiting {
		s.flushed(<-s.flusher.ended, s.clock.Now())
	}
	close(s.flusher.begun)
}
