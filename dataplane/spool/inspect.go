package spool

import (
	"cmp"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// DirectoryName is the folder below the spool's for one URL of a sink: readable, and different for each.
func DirectoryName(sink, url string) string {
	hash := fnv.New64a()
	hash.Write([]byte(sink + "\x00" + url))
	plain := func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '_'
	}
	_, host, _ := strings.Cut(url, "://")
	name := strings.Map(plain, sink+"-"+host)
	return fmt.Sprintf("%s-%08x", strings.TrimLeft(name[:min(len(name), 80)], "."), uint32(hash.Sum64()))
}

// Directories lists the spools below a folder by their paths, in order. A folder that is not there has none.
func Directories(folder string) ([]string, error) {
	names, err := os.ReadDir(folder)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list spools: %w", err)
	}
	var found []string
	for _, name := range names {
		path := filepath.Join(folder, name.Name())
		if _, err := os.Stat(filepath.Join(path, lockName)); err == nil {
			found = append(found, path)
		}
	}
	return found, nil
}

// Flaw is a stretch of a segment that is not, or not any more, a record.
type Flaw struct {
	// From and To bound it: bytes of the file.
	From, To int64
	// Torn says that it is the end of a file that was being written; else something changed it.
	Torn bool
	// Points is how many it had, if its header still says so.
	Points int
}

// Survey is what is known of one file of a spool.
type Survey struct {
	// Name is the file's, Bytes its length.
	Name  string
	Bytes int64
	// Kept says that it was kept aside: nothing else is known then.
	Kept bool
	// Unread is why nothing else is known: no header, or a later version of the format.
	Unread error
	// Label is whose it is.
	Label Label
	// Records and Points are all that are whole, Waiting those of them that are not delivered yet.
	Records, Points               int
	WaitingRecords, WaitingPoints int
	// Oldest is when the oldest of the waiting points arrived, nanoseconds since 1970; 0 if none waits.
	Oldest int64
	// Flaws are what is not whole, in order.
	Flaws []Flaw
}

// Visit is called for each record that waits, oldest first. Its body is valid until it returns. An error ends
// the walk.
type Visit func(*Record) error

// Inspect walks through a spool without changing it and checks every byte. visit (optional) sees what waits.
func Inspect(files Files, visit Visit) ([]Survey, error) {
	entries, err := files.List()
	if err != nil {
		return nil, fmt.Errorf("inspect spool: %w", err)
	}
	slices.SortFunc(entries, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	var done position
	done.load(files)
	if done.file != nil {
		_ = done.file.Close()
	}
	var surveys []Survey
	i := inspector{files: files, done: done.done, visit: visit}
	defer i.press.close()
	for _, e := range entries {
		_, bad, ok := parseName(e.Name)
		if !ok {
			continue
		}
		s := Survey{Name: e.Name, Bytes: e.Size, Kept: bad}
		if !bad {
			if err := i.walk(&s); err != nil {
				return surveys, err
			}
		}
		surveys = append(surveys, s)
	}
	return surveys, nil
}

// inspector goes through segments from end to end.
type inspector struct {
	files        Files
	done         ranges
	visit        Visit
	press        press
	stored, body []byte
}

// walk fills the survey of one segment. The error is visit's.
func (i *inspector) walk(s *Survey) error {
	file, err := i.files.Open(s.Name)
	if err != nil {
		s.Unread = err
		return nil
	}
	defer file.Close()
	head, err := readHead(file, s.Bytes)
	if err != nil {
		s.Unread = err
		return nil
	}
	s.Label = head.Label
	w := walker{file: file, salt: head.salt}
	end := head.first
	for at := int64(head.length); at < s.Bytes; {
		stretch := w.at(at, s.Bytes)
		h := &stretch.header
		at = stretch.to
		if stretch.state != spanWhole {
			s.flaw(Flaw{From: stretch.from, To: stretch.to, Torn: stretch.state == spanTorn})
			continue
		}
		r, err := i.read(file, &stretch)
		if err != nil || h.sequence < end {
			s.flaw(Flaw{From: stretch.from, To: stretch.to, Points: int(h.points)})
			continue
		}
		end = h.sequence + 1
		s.Records++
		s.Points += r.Points
		if i.done.has(r.Sequence) {
			continue
		}
		if s.WaitingRecords == 0 {
			s.Oldest = r.Oldest
		}
		s.WaitingRecords++
		s.WaitingPoints += r.Points
		r.Epoch = head.Epoch
		if i.visit != nil {
			if err := i.visit(&r); err != nil {
				return err
			}
		}
	}
	return nil
}

// flaw notes a flaw, as one with the last where they touch.
func (s *Survey) flaw(f Flaw) {
	if n := len(s.Flaws); n > 0 && s.Flaws[n-1].To == f.From && s.Flaws[n-1].Torn == f.Torn {
		s.Flaws[n-1].To = f.To
		s.Flaws[n-1].Points += f.Points
		return
	}
	s.Flaws = append(s.Flaws, f)
}

// read checks a record from its first byte to its last.
func (i *inspector) read(file File, stretch *span) (Record, error) {
	n := int(stretch.header.size() - recordHead)
	if cap(i.stored) < n {
		i.stored = make([]byte, n)
	}
	i.stored = i.stored[:n]
	if _, err := file.ReadAt(i.stored, stretch.from+recordHead); err != nil {
		return Record{}, err
	}
	r, err := i.press.open(&stretch.header, i.stored, i.body)
	i.body = r.Body
	return r, err
}

// readHead reads the header of a segment of so many bytes.
func readHead(file File, size int64) (segmentHead, error) {
	text := make([]byte, min(size, headMax))
	if n, err := file.ReadAt(text, 0); err != nil && !errors.Is(err, io.EOF) {
		return segmentHead{}, fmt.Errorf("read segment header: %d bytes: %w", n, err)
	}
	head, _, err := parseSegmentHead(text)
	return head, err
}
