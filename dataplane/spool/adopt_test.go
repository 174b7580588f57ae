package spool

import (
	"errors"
	"testing"
)

// Goal: a record that is adopted takes nobody's room although the policy is drop_oldest, and what the policy
// is for goes on; another limit is in force with the next record.
func TestAdoptTakesNobodysRoom(t *testing.T) {
	const segment = 2 * headMax
	files, err := OpenDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l, _, err := Open(Config{Files: files, SegmentBytes: segment, MaxBytes: 2 * segment})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	record := func() *Record { return &Record{Points: 1, Oldest: 1, Body: make([]byte, headMax/2)} }
	taken := uint64(0)
	for err = l.Adopt(record()); err == nil; err = l.Adopt(record()) {
		taken++
	}
	if !errors.Is(err, ErrFull) || taken == 0 || l.Stats().Dropped != 0 || l.Stats().Waiting != taken {
		t.Fatalf("%d records are taken, then %v: %+v", taken, err, l.Stats())
	}
	l.Limit(4 * segment)
	for l.Stats().Bytes <= 2*segment {
		if err := l.Adopt(record()); err != nil {
			t.Fatal(err)
		}
	}
	l.Limit(2 * segment)
	if dropped, err := l.Append(record(), false); err != nil || dropped == 0 {
		t.Fatalf("%d points gave way, %v", dropped, err)
	}
	if bytes := l.Stats().Bytes; bytes > 2*segment {
		t.Fatalf("the files have %d bytes, may have %d", bytes, 2*segment)
	}
}
