package spool

import (
	"errors"
	"fmt"
	"math/rand/v2"
)

// WhenFull says what gives way when a record does not fit into MaxBytes.
type WhenFull uint8

const (
	// DropOldest removes the oldest segment.
	DropOldest WhenFull = iota
	// DropNewest refuses the record.
	DropNewest
)

// ErrFull says that a record does not fit and that nothing may be dropped for it.
var ErrFull = errors.New("spool is full")

// Config is what a Log needs.
type Config struct {
	// Files is the directory. The Log closes it, also when Open fails.
	Files Files
	Label Label
	// SegmentBytes is how long a segment gets, MaxBytes how long all files together.
	SegmentBytes, MaxBytes int64
	WhenFull               WhenFull
	Codec                  Codec
	// Tenants (optional) are the names that Shares goes by.
	Tenants []string
}

// badShare is the part of MaxBytes that what was kept aside may take; the oldest of it goes first.
const badShare = 8

// amount is a number of records and of their points.
type amount struct{ records, points int }

func (a *amount) add(points int)      { a.records++; a.points += points }
func (a *amount) take(points int)     { a.records--; a.points -= points }
func (a *amount) addAll(other amount) { a.records += other.records; a.points += other.points }

// segment is one file.
type segment struct {
	segmentHead
	name    string
	size    int64  // of what counts in the file: what lies behind was never appended
	slack   int64  // how long what lies behind it can be
	end     uint64 // the sequence behind its last record
	waiting amount // neither out nor done
	out     amount // given out, or held from the beginning: who has them owes an Ack or a Return
	done    ranges
	shares  []int // of the waiting points, by tenant
	oldest  int64 // arrival of the oldest point that may still wait, nanoseconds since 1970
	closed  bool  // nothing more is appended
	damaged bool  // kept aside when it is done with
	told    bool  // it was finished when the position that is on disk was made
	gone    bool  // no longer on disk; only what is out still counts
	misses  int   // how often it could not be opened for reading
	tail    *tail // its file as it is written; nil: all of it was synced, or is not to be
}

// finished tells whether nobody needs the segment any more.
func (s *segment) finished() bool { return s.closed && s.waiting.records == 0 && s.out.records == 0 }

// outRecord is a record that somebody has.
type outRecord struct {
	segment *segment
	offset  int64
	points  int // that are not delivered yet
	tenant  int
	part    progress
}

// progress is how much of a record, from its beginning, is delivered.
type progress struct{ bytes, points int }

// kept is a file that was kept aside.
type kept struct {
	name string
	size int64
}

// Log is one open spool. It belongs to one thread.
type Log struct {
	config   Config
	press    press
	segments []*segment // oldest first; the last one may be active
	active   *segment   // nil: the next record begins a new one; its tail is never nil
	rolled   []*tail    // of segments that are ended and not yet synced to their end
	flush    *Flush     // that is under way

	next     uint64 // sequence of the next record
	position position
	moved    bool // the position on disk is behind

	out      map[uint64]outRecord
	parts    map[uint64]progress // of records that wait again
	cursor   *segment            // where Next reads on; nil is the oldest
	offset   int64
	reading  *segment // whose file is open for reading
	readFile File
	walker   walker
	packed   []byte // the record being appended
	stored   []byte // the record being read

	bad   []kept // oldest first
	bytes int64
	stats Stats

	tenants map[string]int // places in shares
	shares  []Share
}

// Stats is what a Log counted since Open. At any time
//
//	Restored + Appended = Acknowledged + Dropped + Corrupt + Waiting + Out
type Stats struct {
	// Restored are points that were found waiting at Open.
	Restored uint64
	// Appended are points that were taken since, Acknowledged those that were reported delivered.
	Appended, Acknowledged uint64
	// Dropped are points whose segment gave way, Corrupt those in records that do not hold any more.
	Dropped, Corrupt uint64
	// Waiting are points on disk, Out those given out or held and not yet reported on.
	Waiting, Out uint64
	// WaitingRecords and OutRecords count records likewise.
	WaitingRecords, OutRecords uint64
	// Skipped counts stretches of segments that were no record, or one whose body does not hold.
	Skipped uint64
	// Segments is how many there are, Bytes what all files take, BadBytes what of it was kept aside.
	Segments        int
	Bytes, BadBytes int64
	// Oldest is about when the oldest waiting point arrived, nanoseconds since 1970; 0 if none waits.
	Oldest int64
	// Synced and SyncFailures count what became of fsyncs.
	Synced, SyncFailures uint64
}

// Stats counts up to now.
func (l *Log) Stats() Stats {
	s := l.stats
	var waiting, out amount
	for _, segment := range l.segments {
		waiting.addAll(segment.waiting)
		if segment.waiting.records > 0 && s.Oldest == 0 {
			s.Oldest = segment.oldest
		}
	}
	for _, r := range l.out {
		out.add(r.points)
	}
	s.Waiting, s.WaitingRecords = uint64(waiting.points), uint64(waiting.records)
	s.Out, s.OutRecords = uint64(out.points), uint64(out.records)
	s.Segments, s.Bytes = len(l.segments), l.bytes
	for _, b := range l.bad {
		s.BadBytes += b.size
	}
	return s
}

// Append writes a record. dropped is how many points gave way for it, also when it fails. With hold it counts
// as given out from the beginning: the caller delivers it and owes an Ack or a Return. It sets r.Sequence. It
// is durable after the next Sync that succeeds. After an error other than ErrFull the disk cannot be trusted
// just now; whether the record is there is then unknown, and calling again is safe.
func (l *Log) Append(r *Record, hold bool) (dropped int, err error) {
	var h header
	l.packed, h, err = l.press.pack(l.packed, r, l.config.Codec)
	if err != nil {
		return 0, err
	}
	if l.active != nil && l.active.size+h.size() > l.config.SegmentBytes && l.active.end > l.active.first {
		l.roll()
	}
	dropped, err = l.makeRoom(h.size())
	if err == nil && l.active == nil {
		err = l.begin()
	}
	if err != nil {
		return dropped, fmt.Errorf("append to spool: %w", err)
	}
	s := l.active
	h.sequence = l.next
	h.put(l.packed, s.salt)
	// A number is never used twice, also not after a failure: the record may be there after all.
	l.next++
	if _, err := s.tail.file.WriteAt(l.packed, s.size); err != nil {
		// What was written in part is cut off if possible; else it lies behind the segment's end for us, and
		// after a restart it is torn, or whole after all.
		if s.tail.file.Truncate(s.size) != nil {
			s.slack = h.size()
			l.bytes += s.slack
		}
		l.roll()
		return dropped, fmt.Errorf("append to spool: %w", err)
	}
	r.Sequence, r.Epoch = h.sequence, s.Epoch
	if s.waiting.records+s.out.records == 0 {
		s.oldest = r.Oldest
	}
	tenant := l.tenantOf(r.Tenant)
	if hold {
		l.out[h.sequence] = outRecord{segment: s, offset: s.size, points: r.Points, tenant: tenant}
		s.out.add(r.Points)
	} else {
		l.wait(s, tenant, r.Points)
	}
	s.size += h.size()
	s.end = h.sequence + 1
	l.bytes += h.size()
	s.tail.unsynced.add(r.Points)
	l.stats.Appended += uint64(r.Points)
	return dropped, nil
}

// begin makes a new active segment.
func (l *Log) begin() error {
	head := segmentHead{Label: l.config.Label, salt: rand.Uint64(), first: l.next}
	text, err := head.put()
	if err != nil {
		return err
	}
	name := segmentName(l.next)
	file, err := l.config.Files.Create(name)
	if err != nil {
		l.next++ // the name may be taken
		return err
	}
	if _, err := file.WriteAt(text, 0); err != nil {
		l.next++
		removeErr := l.config.Files.Remove(name)
		if removeErr != nil {
			l.bytes += int64(len(text)) // until the next Open
		}
		return errors.Join(err, file.Close(), removeErr)
	}
	s := &segment{segmentHead: head, name: name, size: int64(head.length), end: head.first}
	s.tail = &tail{segment: s, file: file, fresh: true}
	l.segments, l.active = append(l.segments, s), s
	l.bytes += s.size
	return nil
}

// roll ends the active segment; the next flush brings what is left of it to disk.
func (l *Log) roll() {
	t := l.active.tail
	l.active.closed, l.active = true, nil
	if t.unsynced.records > 0 || t.flushing {
		l.rolled = append(l.rolled, t)
	} else {
		t.letGo()
	}
}

// makeRoom sees to it that so many bytes fit, and the header of a segment if one must be made for them.
func (l *Log) makeRoom(need int64) (dropped int, err error) {
	for {
		total := l.bytes + need
		if l.active == nil {
			total += headMax
		}
		switch {
		case total <= l.config.MaxBytes:
			return dropped, nil
		case len(l.bad) > 0:
			if err := l.removeBad(); err != nil {
				return dropped, err
			}
			continue
		}
		if swept, err := l.sweep(true); swept || err != nil {
			if err != nil {
				return dropped, err
			}
			continue
		}
		if l.config.WhenFull == DropNewest || len(l.segments) == 0 {
			return dropped, ErrFull
		}
		points, err := l.dropOldest()
		dropped += points
		if err != nil {
			return dropped, err
		}
	}
}

// dropOldest removes the oldest segment and returns how many points waited in it. What of it is out stays
// with who has it.
func (l *Log) dropOldest() (int, error) {
	s := l.segments[0]
	if s == l.active {
		s.closed, l.active = true, nil
		l.rolled = append(l.rolled, s.tail)
	}
	if err := l.unlink(s); err != nil {
		return 0, fmt.Errorf("drop oldest segment: %w", err)
	}
	points := s.waiting.points
	for tenant, n := range l.giveUp(s) {
		l.shares[tenant].Dropped += uint64(n)
	}
	l.stats.Dropped += uint64(points)
	return points, nil
}

// unlink removes a segment's file and takes it off the list.
func (l *Log) unlink(s *segment) error {
	if err := l.config.Files.Remove(s.name); err != nil {
		return err
	}
	l.forget(s)
	l.bytes -= s.size + s.slack
	return nil
}

// forget takes a segment off the list.
func (l *Log) forget(s *segment) {
	l.stopReading(s)
	for i, other := range l.segments {
		if other != s {
			continue
		}
		if l.cursor == s {
			// The next one, if there is one, takes its place; else the one that comes.
			l.cursor, l.offset = nil, 0
			if i+1 < len(l.segments) {
				l.seek(l.segments[i+1])
			}
		}
		l.segments = append(l.segments[:i], l.segments[i+1:]...)
		break
	}
	s.gone, l.moved = true, true
	l.settleTails()
}
