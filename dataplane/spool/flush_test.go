package spool

import (
	"errors"
	"fmt"
	"testing"
)

// What is appended beside an fsync that fails is as much in doubt, whatever file comes next: it stands behind
// the same failure.
func TestFailedSyncBesideAppends(t *testing.T) {
	disk := newMemory(newRandom(t, 1))
	s := newStory(t, disk)
	s.open()
	append1 := func(body string) {
		t.Helper()
		if _, err := s.log.Append(&Record{Points: 1, Body: []byte(body)}, false); err != nil {
			t.Fatal(err)
		}
	}
	append1("a v=1 1\n")
	f := s.log.BeginFlush()
	disk.kind, disk.fails = faultOnce, disk.step+1
	f.Run()
	for i := range 3 { // as little as lies in one segment, for certain
		append1(fmt.Sprintf("b v=1 %d\n", i))
	}
	var failed *SyncError
	if err := s.log.EndFlush(f); !errors.As(err, &failed) || failed.Records != 4 || failed.Points != 4 {
		t.Fatalf("a failed fsync gives %v", err)
	}
	append1("c v=1 1\n")
	if err := s.log.Sync(); err != nil || len(disk.again) > 0 {
		t.Fatalf("%v, synced again: %q", err, disk.again)
	}
	if c := s.log.Stats(); c.Waiting != 5 || c.Segments != 2 || c.SyncFailures != 1 {
		t.Fatalf("%+v", c)
	}
}

// A segment whose last record is acknowledged while a flush is under way stays until the next one: the
// position that is being written does not say it.
func TestFlushSparesWhatItDoesNotTell(t *testing.T) {
	disk := newMemory(newRandom(t, 1))
	s := newStory(t, disk)
	s.open()
	for len(s.log.segments) < 2 {
		if _, err := s.log.Append(&Record{Points: 1, Body: []byte("a v=1 1\n")}, false); err != nil {
			t.Fatal(err)
		}
	}
	first := s.log.segments[0]
	f := s.log.BeginFlush()
	for first.waiting.records > 0 {
		r, _, err := s.log.Next(nil)
		if err != nil {
			t.Fatal(err)
		}
		s.log.Ack(r.Sequence)
	}
	f.Run()
	if err := s.log.EndFlush(f); err != nil || disk.names[first.name] == nil {
		t.Fatalf("it is gone, or %v", err)
	}
	if err := s.log.Sync(); err != nil || disk.names[first.name] != nil {
		t.Fatalf("it is still there, or %v", err)
	}
}

// A segment whose fsync failed goes too once all of it is delivered, although nothing comes any more.
func TestFailedSyncLeavesNothing(t *testing.T) {
	disk := newMemory(newRandom(t, 1))
	s := newStory(t, disk)
	s.open()
	r := Record{Points: 1, Body: []byte("a v=1 1\n")}
	if _, err := s.log.Append(&r, true); err != nil {
		t.Fatal(err)
	}
	s.log.Ack(r.Sequence)
	disk.kind, disk.fails = faultOnce, disk.step+1
	if err := s.log.Sync(); err == nil || !s.log.Dirty() {
		t.Fatalf("%v, dirty %t", err, s.log.Dirty())
	}
	if err := s.log.Sync(); err != nil || s.log.Stats().Segments != 0 {
		t.Fatalf("%v, %+v", err, s.log.Stats())
	}
}

// Goal: a flush on a thread of its own shares nothing with the Log that goes on meanwhile. Method: the race
// detector, on real files, beside appends, deliveries, and segments that end and give way.
func TestFlushBesideEverything(t *testing.T) {
	directory, err := OpenDirectory(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	l, _, err := Open(Config{Files: directory, SegmentBytes: 2 * headMax, MaxBytes: 32 * headMax})
	if err != nil {
		t.Fatal(err)
	}
	random := newRandom(t, 3)
	flushes := make(chan *Flush, 1)
	flushing, ended := false, 0
	for i := 0; ended < 20; i++ {
		if !flushing {
			f := l.BeginFlush()
			flushing = true
			go func() { f.Run(); flushes <- f }()
		}
		select {
		case f := <-flushes:
			flushing = false
			ended++
			if err := l.EndFlush(f); err != nil {
				t.Fatal(err)
			}
		default:
		}
		body := fmt.Appendf(nil, "m,host=h%d v=%d %d\n", i%9, random.Uint64(), i)
		if _, err := l.Append(&Record{Points: 1, Body: body}, false); err != nil {
			t.Fatal(err)
		}
		if random.IntN(3) == 0 {
			continue
		}
		r, more, err := l.Next(nil)
		if err != nil || !more {
			t.Fatalf("nothing waits: %v", err)
		}
		l.Ack(r.Sequence)
	}
	if flushing {
		if err := l.EndFlush(<-flushes); err != nil {
			t.Fatal(err)
		}
	}
	if c := l.Stats(); c.Appended != c.Acknowledged+c.Dropped+c.Waiting || c.Corrupt+c.Skipped != 0 {
		t.Fatalf("%+v", c)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
