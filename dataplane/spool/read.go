package spool

import (
	"errors"
	"fmt"
	"io/fs"
)

// missesMax is how often a segment may refuse to be opened for reading before it is kept aside: whatever is
// wrong with it, what lies behind it goes on.
const missesMax = 10

// seek lets Next read on at a segment's first record.
func (l *Log) seek(s *segment) { l.cursor, l.offset = s, int64(s.length) }

// stopReading closes the segment's file if it is open for reading.
func (l *Log) stopReading(s *segment) {
	if l.reading == s && l.readFile != nil {
		_ = l.readFile.Close()
		l.reading, l.readFile = nil, nil
	}
}

// fileOf is the segment's file, open for reading.
func (l *Log) fileOf(s *segment) (File, error) {
	switch s {
	case l.active:
		return s.tail.file, nil
	case l.reading:
		return l.readFile, nil
	}
	if l.reading != nil {
		l.stopReading(l.reading)
	}
	file, err := l.config.Files.Open(s.name)
	if err != nil {
		return nil, err
	}
	l.reading, l.readFile = s, file
	return file, nil
}

// Next gives out the oldest record that waits; more is false if none does. Its body lies in into's memory
// where it has room. The caller owes an Ack or a Return. After an error calling again is safe.
func (l *Log) Next(into []byte) (r Record, more bool, err error) {
	for {
		s := l.cursor
		if s == nil {
			if len(l.segments) == 0 {
				return Record{}, false, nil
			}
			l.seek(l.segments[0])
			continue
		}
		if s.waiting.records == 0 || l.offset >= s.size {
			if !l.pass(s) {
				return Record{}, false, nil
			}
			continue
		}
		file, err := l.fileOf(s)
		if err != nil {
			if s.misses++; errors.Is(err, fs.ErrNotExist) || s.misses >= missesMax {
				l.lose(s)
				continue
			}
			return Record{}, false, fmt.Errorf("open segment: %w", err)
		}
		if r, ok := l.take(s, file, into); ok {
			return r, true, nil
		}
	}
}

// pass goes on behind the end of a segment and reports whether there is more. What still waits in it was not
// found in the file: its headers do not hold any more.
func (l *Log) pass(s *segment) bool {
	if s.waiting.records > 0 {
		l.lose(s)
	}
	l.offset = s.size
	if !s.closed {
		return false
	}
	for i, other := range l.segments {
		if other == s && i+1 < len(l.segments) {
			l.seek(l.segments[i+1])
			return true
		}
	}
	return false
}

// lose counts what waits in a segment as corrupt.
func (l *Log) lose(s *segment) {
	l.stats.Corrupt += uint64(s.waiting.points)
	for tenant, n := range l.giveUp(s) {
		l.shares[tenant].Corrupt += uint64(n)
	}
	s.damaged = true
}

// take looks at what the cursor points to and reports whether it is a record to give out.
func (l *Log) take(s *segment, file File, into []byte) (Record, bool) {
	l.walker.file, l.walker.salt = file, s.salt
	found := l.walker.at(l.offset, s.size)
	l.offset = found.to
	h := &found.header
	if found.state != spanWhole || h.sequence < s.first || h.sequence >= s.end {
		s.damaged = true
		l.stats.Skipped++
		return Record{}, false
	}
	if _, out := l.out[h.sequence]; out || s.done.has(h.sequence) {
		return Record{}, false
	}
	n := int(h.size() - recordHead)
	if cap(l.stored) < n {
		l.stored = make([]byte, n)
	}
	l.stored = l.stored[:n]
	_, err := file.ReadAt(l.stored, found.from+recordHead)
	var r Record
	if err == nil {
		r, err = l.press.open(h, l.stored, into)
	}
	part := l.parts[h.sequence]
	delete(l.parts, h.sequence)
	points := int(h.points) - part.points
	// What does not hold may not name its tenant any more.
	tenant := waitNoMore(s, l.tenantOf(string(l.stored[:h.tenant])), points)
	if err != nil {
		s.damaged = true
		l.stats.Skipped++
		l.stats.Corrupt += uint64(points)
		l.shares[tenant].Corrupt += uint64(points)
		s.done = s.done.add(sequences{h.sequence, h.sequence + 1})
		l.moved = true
		return Record{}, false
	}
	r.Epoch, s.oldest = s.Epoch, h.oldest
	r.Body, r.Points = r.Body[part.bytes:], points
	s.out.add(points)
	l.out[h.sequence] = outRecord{s, found.from, points, tenant, part}
	return r, true
}

// Ack reports a record as delivered and returns how many points it has; 0 if it is not out.
func (l *Log) Ack(sequence uint64) int {
	r, ok := l.out[sequence]
	if !ok {
		return 0
	}
	delete(l.out, sequence)
	r.segment.out.take(r.points)
	r.segment.done = r.segment.done.add(sequences{sequence, sequence + 1})
	l.stats.Acknowledged += uint64(r.points)
	l.moved = true
	return r.points
}

// Advance reports the beginning of what Next gave out of a record as delivered: so many bytes with so many
// points, fewer than all. The rest stays out, and is what Next gives out after a Return; after a restart all
// of the record waits again.
func (l *Log) Advance(sequence uint64, bytes, points int) {
	r, ok := l.out[sequence]
	if !ok || points >= r.points {
		panic(fmt.Sprintf("BUG: %d points of record %d are delivered, of %d that are out", points, sequence,
			r.points))
	}
	r.points -= points
	r.part.bytes += bytes
	r.part.points += points
	l.out[sequence] = r
	r.segment.out.points -= points
	l.stats.Acknowledged += uint64(points)
}

// Return reports a record as not delivered: it waits again, and Next gives it out in its old place. dropped
// is how many points it had if its segment has given way meanwhile: then it is lost.
func (l *Log) Return(sequence uint64) (dropped int) {
	r, ok := l.out[sequence]
	if !ok {
		return 0
	}
	delete(l.out, sequence)
	s := r.segment
	s.out.take(r.points)
	if s.gone {
		l.stats.Dropped += uint64(r.points)
		l.shares[r.tenant].Dropped += uint64(r.points)
		return r.points
	}
	if r.part.points > 0 {
		l.parts[sequence] = r.part
	}
	l.wait(s, r.tenant, r.points)
	if l.cursor != nil && (s.first < l.cursor.first || s == l.cursor && r.offset < l.offset) {
		l.cursor, l.offset = s, r.offset
	}
	return 0
}
