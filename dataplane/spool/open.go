package spool

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Recovery is what Open found.
type Recovery struct {
	// Segments, Records and Points wait to be delivered.
	Segments, Records, Points int
	// Cut counts torn ends that were cut off, CutBytes their length: what was being written when it ended.
	Cut      int
	CutBytes int64
	// Corrupt counts stretches that are no record any more, and segments whose header is not.
	Corrupt int
	// Foreign counts segments of a later version of the format, and such as cannot be opened. They stay.
	Foreign int
}

func (c *Config) validate() error {
	switch {
	case c.Files == nil:
		return errors.New("configure spool: no files")
	case c.SegmentBytes < 2*headMax || c.MaxBytes < 2*c.SegmentBytes:
		return fmt.Errorf("configure spool: segment=%d and max=%d bytes, want at least %d, and two segments",
			c.SegmentBytes, c.MaxBytes, 2*headMax)
	case c.Codec > CodecZstd:
		return fmt.Errorf("configure spool: %s", c.Codec)
	}
	return nil
}

// Open reads what is there and makes the Log. It fails only on a configuration that makes no sense and when
// the files cannot be listed.
func Open(config Config) (*Log, Recovery, error) {
	var found Recovery
	if err := config.validate(); err != nil {
		if config.Files != nil {
			err = errors.Join(err, config.Files.Close())
		}
		return nil, found, err
	}
	entries, err := config.Files.List()
	if err != nil {
		return nil, found, errors.Join(fmt.Errorf("open spool: %w", err), config.Files.Close())
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	// The position's room is counted from the beginning, and that of one that takes its place.
	l := &Log{
		config: config, out: map[uint64]outRecord{}, parts: map[uint64]progress{}, bytes: 2 * positionSize,
	}
	l.openShares()
	l.position.load(config.Files)
	l.next = max(l.position.next, 1)
	for _, e := range entries {
		first, bad, ok := parseName(e.Name)
		if !ok {
			continue
		}
		l.next = max(l.next, first+1)
		l.bytes += e.Size
		if bad {
			l.bad = append(l.bad, kept{e.Name, e.Size})
			continue
		}
		l.restore(e, &found)
	}
	l.stats.Restored = uint64(found.Points)
	// The position's room is taken now, so that a disk that is full later can be drained. What fails here is
	// tried again at each Sync.
	l.moved = l.position.file == nil && l.position.store(config.Files, l.next, l.doneRanges()) != nil
	_, _ = l.sweep(true)
	return l, found, nil
}

// restore takes a segment in.
func (l *Log) restore(e Entry, found *Recovery) {
	s, err := l.survey(e, found)
	if err != nil {
		return
	}
	l.next = max(l.next, s.end)
	l.bytes += s.size + s.slack - e.Size
	l.segments = append(l.segments, s)
	if s.waiting.records > 0 {
		found.Segments++
	}
	for tenant, n := range s.shares {
		l.shares[tenant].Restored += uint64(n)
	}
	found.Records += s.waiting.records
	found.Points += s.waiting.points
}

// survey reads a segment's headers. The error says that it is none of ours: it was dealt with.
func (l *Log) survey(e Entry, found *Recovery) (*segment, error) {
	file, err := l.config.Files.Open(e.Name)
	if err != nil {
		found.Foreign++
		return nil, err
	}
	defer file.Close()
	text := make([]byte, min(e.Size, headMax))
	if n, err := file.ReadAt(text, 0); err != nil && !errors.Is(err, io.EOF) {
		text = text[:n]
	}
	head, foreign, err := parseSegmentHead(text)
	if err != nil {
		l.setAside(e, text, foreign, found)
		return nil, err
	}
	s := &segment{segmentHead: head, name: e.Name, size: e.Size, end: head.first, closed: true}
	w := walker{file: file, salt: head.salt}
	for at := int64(head.length); at < s.size; {
		stretch := w.at(at, s.size)
		h := &stretch.header
		switch {
		case stretch.state == spanTorn:
			found.Cut++
			found.CutBytes += s.size - at
			if file.Truncate(at) != nil {
				s.slack = s.size - at // cut the next time, and never read
			}
			s.size = at
		case stretch.state == spanCorrupt || h.sequence < s.end:
			found.Corrupt++
			s.damaged = true
		default:
			s.end = h.sequence + 1
			if l.position.done.has(h.sequence) {
				s.done = s.done.add(sequences{h.sequence, h.sequence + 1})
			} else {
				if s.waiting.records == 0 {
					s.oldest = h.oldest
				}
				l.wait(s, l.tenantIn(file, &stretch), int(h.points))
			}
		}
		at = stretch.to
	}
	return s, nil
}

// tenantIn reads whose a record is. Whether the name holds is not known before the body is read.
func (l *Log) tenantIn(file File, record *span) int {
	name := make([]byte, record.header.tenant)
	if _, err := file.ReadAt(name, record.from+recordHead); err != nil {
		return len(l.shares) - 1
	}
	return l.tenantOf(string(name))
}

// setAside deals with a file whose header is none. One that was only begun is removed, others are kept.
func (l *Log) setAside(e Entry, text []byte, foreign bool, found *Recovery) {
	switch {
	case foreign:
		found.Foreign++
	case e.Size <= headMax && len(text) == int(e.Size) && len(bytes.Trim(text, "\x00")) < segmentFixed:
		found.Cut++
		found.CutBytes += e.Size
		if l.config.Files.Remove(e.Name) == nil {
			l.bytes -= e.Size
		}
	default:
		found.Corrupt++
		first, _, _ := parseName(e.Name)
		if name := badName(first); l.config.Files.Rename(e.Name, name) == nil {
			l.bad = append(l.bad, kept{name, e.Size})
		}
	}
}
