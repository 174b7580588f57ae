package spool

import (
	"errors"
	"fmt"
)

// SyncError says that the disk did not take what was appended since the last Sync: these records may be gone
// after a loss of power. They are not given up: they are given out as long as they can be read. The file that
// failed is never synced again; the next record begins a new one.
type SyncError struct {
	Records, Points int
	Err             error
}

func (e *SyncError) Error() string {
	return fmt.Sprintf("sync spool: %d records with %d points may not be on disk: %v",
		e.Records, e.Points, e.Err)
}

// Unwrap is the system's error.
func (e *SyncError) Unwrap() error { return e.Err }

// Dirty tells whether Sync has anything to do, besides what is on its way with a flush.
func (l *Log) Dirty() bool { return l.Unsynced() || l.moved || l.spent() || l.untold() }

// untold tells whether a segment has come to its end since the last flush began and nobody needs it any more.
// One that could not be removed is tried again with the next flush, and makes none.
func (l *Log) untold() bool {
	for _, s := range l.segments {
		if s.finished() && !s.told {
			return true
		}
	}
	return false
}

// Unsynced tells whether Sync has records to bring to disk; else it is about what was acknowledged, which
// costs nothing but a repetition if it comes late.
func (l *Log) Unsynced() bool {
	for _, t := range l.rolled {
		if t.unsynced.records > 0 {
			return true
		}
	}
	return l.active != nil && l.active.tail.unsynced.records > 0
}

// spent tells whether all of the active segment is acknowledged.
func (l *Log) spent() bool {
	s := l.active
	return s != nil && s.waiting.records+s.out.records == 0 && s.end > s.first
}

// Sync makes durable what was appended and acknowledged, in this order, and then removes the segments that
// nobody needs. The error is about all that failed; a *SyncError in it says what of the records may be lost.
// It goes as far as it can in any case: a disk that is full is drained all the same. No flush may be under
// way.
func (l *Log) Sync() error {
	f := l.BeginFlush()
	f.Run()
	return l.EndFlush(f)
}

// doneRanges is what the position says is done with: every number that no segment has, and what is
// acknowledged in those that are there. So a segment that was removed stays removed, also where a crash
// brings its file back.
func (l *Log) doneRanges() ranges {
	var done ranges
	from := uint64(0)
	for _, s := range l.segments {
		done = done.add(sequences{from, s.first})
		from = s.end
		for _, stretch := range s.done {
			if len(done) > slotRanges {
				return done
			}
			done = done.add(stretch)
		}
	}
	return done.add(sequences{from, l.next})
}

// sweep removes segments that nobody needs, and keeps aside those that hold what is not understood; unless
// room is urgent only such as the position says all of. It reports whether the files became fewer.
func (l *Log) sweep(urgent bool) (swept bool, err error) {
	for i := 0; i < len(l.segments); {
		s := l.segments[i]
		if !s.finished() || !urgent && !s.told {
			i++
			continue
		}
		var problem error
		if s.damaged {
			problem = l.keepAside(s)
		} else {
			problem = l.unlink(s)
		}
		if problem != nil {
			err = errors.Join(err, fmt.Errorf("remove segment: %w", problem))
			i++
			continue
		}
		swept = true
	}
	for l.badBytes() > l.config.MaxBytes/badShare {
		if problem := l.removeBad(); problem != nil {
			return swept, errors.Join(err, problem)
		}
		swept = true
	}
	return swept, err
}

// keepAside gives a segment a name under which it is not read again.
func (l *Log) keepAside(s *segment) error {
	name := badName(s.first)
	if err := l.config.Files.Rename(s.name, name); err != nil {
		return err
	}
	l.forget(s)
	l.bad = append(l.bad, kept{name, s.size + s.slack})
	return nil
}

func badName(first uint64) string { return fmt.Sprintf("%020d%s", first, badEnd) }

func (l *Log) badBytes() (n int64) {
	for _, b := range l.bad {
		n += b.size
	}
	return n
}

// removeBad removes the oldest file that was kept aside.
func (l *Log) removeBad() error {
	b := l.bad[0]
	if err := l.config.Files.Remove(b.name); err != nil {
		return fmt.Errorf("remove what was kept aside: %w", err)
	}
	l.bad = l.bad[1:]
	l.bytes -= b.size
	return nil
}

// Close syncs and lets go of everything. What is out waits again when the spool is opened next. No flush may
// be under way.
func (l *Log) Close() error {
	err := l.Sync()
	if l.active != nil {
		l.roll()
	}
	if l.reading != nil {
		l.stopReading(l.reading)
	}
	if l.position.file != nil {
		err = errors.Join(err, l.position.file.Close())
		l.position.file = nil
	}
	l.press.close()
	return errors.Join(err, l.config.Files.Close())
}
