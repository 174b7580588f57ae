package spool

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// story is what was done with a spool, and what must be true of it afterwards.
type story struct {
	t       *testing.T
	disk    *memory
	log     *Log
	random  *rand.Rand
	tried   map[string]bool // every body that Append was called with
	recent  map[string]bool // appended since the last Sync that succeeded
	secured map[string]bool // appended and synced
	acked   map[string]bool // acknowledged since the last Sync that succeeded
	over    map[string]bool // acknowledged and synced
	perhaps map[string]bool // acknowledged in an earlier life, synced or not
	out     map[uint64]string
	begun   map[uint64]string // what of a record was delivered in this life, by its number
	cut     map[string]string // what was delivered before this rest of a record
	dropped int
	count   int
	beside  int // flushes that ended, beside which other things went on

	flush   *Flush          // that is under way
	flushed map[string]bool // appended before it began and not yet synced
	told    map[string]bool // acknowledged before it began
}

func newStory(t *testing.T, disk *memory) *story {
	return &story{
		t: t, disk: disk, random: disk.random, tried: map[string]bool{}, recent: map[string]bool{},
		secured: map[string]bool{}, acked: map[string]bool{}, over: map[string]bool{},
		perhaps: map[string]bool{}, out: map[uint64]string{}, cut: map[string]string{},
	}
}

func (s *story) config() Config {
	return Config{
		Files: s.disk, Label: Label{Gateway: "g", Sink: "main", URL: "http://127.0.0.1:8086", Epoch: 7},
		SegmentBytes: 2 * headMax, MaxBytes: 64 * headMax, Codec: CodecSnappy,
		Tenants: []string{"line-a", "line-b"},
	}
}

func (s *story) open() {
	log, _, err := Open(s.config())
	if err != nil {
		s.t.Fatalf("open refuses: %v", err)
	}
	s.log, s.out, s.begun = log, map[uint64]string{}, map[uint64]string{}
}

// body is one to three lines that nobody else has, sometimes long ones.
func (s *story) body() (string, int) {
	var b strings.Builder
	n := 1 + s.random.IntN(3)
	for range n {
		s.count++
		fmt.Fprintf(&b, "m,host=h%d v=%d,text=\"%s\" %d\n", s.random.IntN(9), s.random.Uint64(),
			strings.Repeat(string(rune('a'+s.random.IntN(26))), s.random.IntN(900)), s.count)
	}
	return b.String(), n
}

// tenant is one of two that the log knows, or one that it does not.
func (s *story) tenant() string { return []string{"line-a", "line-b", "gone"}[s.count%3] }

func (s *story) append() {
	text, points := s.body()
	s.tried[text] = true
	hold := s.random.IntN(4) == 0
	r := Record{Points: points, Oldest: int64(s.count), Body: []byte(text), Tenant: s.tenant()}
	dropped, err := s.log.Append(&r, hold)
	s.dropped += dropped
	if err != nil {
		return
	}
	s.recent[text] = true
	if hold {
		s.out[r.Sequence] = text
	}
}

func (s *story) next() {
	r, more, err := s.log.Next(nil)
	if err != nil || !more {
		return
	}
	text := s.whole(string(r.Body))
	switch {
	case !s.tried[text]:
		s.t.Fatalf("record %d was never appended: %q", r.Sequence, text)
	case s.out[r.Sequence] != "":
		s.t.Fatalf("record %d is given out twice", r.Sequence)
	case s.acked[text] || s.over[text]:
		s.t.Fatalf("record %d is given out after it was acknowledged", r.Sequence)
	}
	s.out[r.Sequence] = text
}

// whole is the record that ends with what was given out: a part of it may have been delivered before.
func (s *story) whole(text string) string {
	if begin, cut := s.cut[text]; cut {
		return begin + text
	}
	return text
}

// advance delivers the first line of a record that is out.
func (s *story) advance() {
	for _, sequence := range slices.Sorted(maps.Keys(s.out)) {
		text := s.out[sequence]
		first, rest, _ := strings.Cut(text[len(s.begun[sequence]):], "\n")
		if rest == "" {
			continue
		}
		s.log.Advance(sequence, len(first)+1, 1)
		s.begun[sequence] += first + "\n"
		s.cut[rest] = s.begun[sequence]
		return
	}
}

func (s *story) settle(ack bool) {
	if len(s.out) == 0 {
		return
	}
	sequence := slices.Sorted(maps.Keys(s.out))[s.random.IntN(len(s.out))]
	text := s.out[sequence]
	delete(s.out, sequence)
	if ack {
		s.log.Ack(sequence)
		s.acked[text] = true
	} else {
		s.dropped += s.log.Return(sequence)
	}
}

func (s *story) sync() {
	for s.flush != nil {
		s.goOn()
	}
	s.flushed, s.told = s.recent, maps.Clone(s.acked)
	s.recent = map[string]bool{}
	s.synced(s.log.Sync())
}

// synced is what a sync that ended says of what was there when it began.
func (s *story) synced(err error) {
	if err != nil {
		// It says nothing about them for good, nor about what came into the same file meanwhile.
		clear(s.recent)
		return
	}
	maps.Copy(s.secured, s.flushed)
	for text := range s.told {
		s.over[text] = true
		delete(s.acked, text)
	}
}

// beginFlush begins a flush that other things go on beside.
func (s *story) beginFlush() {
	if s.flush != nil {
		return
	}
	s.flush, s.flushed, s.told = s.log.BeginFlush(), s.recent, maps.Clone(s.acked)
	s.recent = map[string]bool{}
	s.disk.newAside(s.flush.Run)
}

// goOn lets the flush that is under way, if there is one, do one thing more.
func (s *story) goOn() {
	if s.flush == nil || s.disk.aside.turn() {
		return
	}
	f := s.flush
	s.flush, s.disk.aside = nil, nil
	s.beside++
	s.synced(s.log.EndFlush(f))
}

// kill ends the process, and the flush with it.
func (s *story) kill() {
	s.disk.kill()
	s.flush = nil
}

// balance is the ledger of the log itself.
func (s *story) balance() {
	c := s.log.Stats()
	if c.Restored+c.Appended != c.Acknowledged+c.Dropped+c.Corrupt+c.Waiting+c.Out {
		s.t.Fatalf("the ledger does not balance: %+v", c)
	}
	var shares Share
	for _, one := range s.log.Shares() {
		shares.Restored += one.Restored
		shares.Dropped += one.Dropped
		shares.Corrupt += one.Corrupt
	}
	if want := (Share{c.Restored, c.Dropped, c.Corrupt}); shares != want {
		s.t.Fatalf("the tenants' shares are %+v together, all is %+v", shares, want)
	}
	if int(c.Dropped) != s.dropped {
		s.t.Fatalf("%d points dropped, the caller was told of %d", c.Dropped, s.dropped)
	}
}

// run does steps things in random order.
func (s *story) run(steps int) {
	for range steps {
		if s.random.IntN(3) == 0 {
			s.goOn()
		}
		switch n := s.random.IntN(21); {
		case n < 8:
			s.append()
		case n < 12:
			s.next()
		case n < 15:
			s.settle(true)
		case n < 16:
			s.settle(false)
		case n < 17:
			s.advance()
		case n < 19:
			s.beginFlush()
		default:
			s.sync()
		}
		s.balance()
	}
}

// empty delivers all that waits, so that segments are removed.
func (s *story) empty() {
	for range 200 {
		before := len(s.out)
		s.next()
		s.settle(true)
		if len(s.out) == 0 && before == 0 {
			break
		}
	}
	s.sync()
	s.sync()
	s.balance()
}

// relive kills the process and starts it again on the same disk, where meanwhile the newest segment got an
// end that was never written, and the oldest one that is no record.
func (s *story) relive() {
	if s.disk.crashed {
		return
	}
	s.kill()
	for _, file := range s.disk.names {
		// Who is killed behind a sync that failed cannot tell the next one. It is about the position: a slot
		// is written whole before it is synced again.
		file.failed = false
	}
	var segments []string
	for name := range s.disk.names {
		if strings.HasSuffix(name, segmentEnd) {
			segments = append(segments, name)
		}
	}
	slices.Sort(segments)
	for i, name := range segments {
		file := s.disk.names[name]
		tail := make([]byte, 2*recordHead)
		if i == 0 && len(segments) > 1 {
			tail = bytes.Repeat([]byte{0xaa}, len(tail))
		}
		if i == 0 || i == len(segments)-1 {
			(&handle{disk: s.disk, file: file}).put(write{at: len(file.seen), b: tail})
		}
	}
	maps.Copy(s.perhaps, s.acked)
	clear(s.acked)
	clear(s.recent)
	s.dropped = 0
	s.open()
}

// after opens what a crash left and takes everything out.
func (s *story) after() {
	s.kill()
	s.disk = s.disk.reboot()
	s.open()
	found := map[string]bool{}
	for {
		r, more, err := s.log.Next(nil)
		if err != nil {
			s.t.Fatalf("read after the crash: %v", err)
		}
		if !more {
			break
		}
		text := string(r.Body)
		switch {
		case !s.tried[text]:
			s.t.Fatalf("record %d was never appended: %q", r.Sequence, text)
		case s.over[text]:
			s.t.Fatalf("record %d was acknowledged for good", r.Sequence)
		case found[text]:
			s.t.Fatalf("record %d comes twice", r.Sequence)
		case strings.Count(text, "\n") != r.Points || r.Tenant == "" || r.Epoch != 7:
			s.t.Fatalf("record %d came back as %+v", r.Sequence, r)
		}
		found[text] = true
		s.log.Ack(r.Sequence)
	}
	for text := range s.secured {
		if !found[text] && !s.acked[text] && !s.over[text] && !s.perhaps[text] {
			s.t.Fatalf("lost although it was appended and synced: %q", text)
		}
	}
	s.dropped = 0
	s.balance()
	if err := s.log.Sync(); err != nil {
		s.t.Fatal(err)
	}
	if c := s.log.Stats(); c.Waiting != 0 || c.Out != 0 || c.Segments != 0 {
		s.t.Fatalf("drained, but something is left: %+v", c)
	}
	// Goes on as if nothing had been.
	s.append()
	if err := s.log.Close(); err != nil {
		s.t.Fatal(err)
	}
}

// What was appended and synced is never lost and nothing is given out that was not appended, whatever
// operation fails, fails from then on, or is the last one. Every operation of each story takes its turn.
func TestEveryOperationFails(t *testing.T) {
	seeds := uint64(12)
	if testing.Short() {
		seeds = 3
	}
	struck, beside := map[string]int{}, 0
	for seed := range seeds {
		for _, kind := range []fault{faultOnce, faultStays, faultCrash} {
			points := 0
			for at := 1; ; at++ {
				disk := newMemory(rand.New(rand.NewPCG(seed, uint64(at))))
				disk.kind, disk.fails = kind, at
				disk.random = rand.New(rand.NewPCG(seed, 99)) // the same story up to the fault
				s := newStory(t, disk)
				s.open()
				s.run(60)
				s.relive()
				s.run(20)
				s.empty()
				points++
				beside += s.beside
				if disk.step < at {
					break // the story ended before: all operations have had their turn
				}
				struck[fmt.Sprint(kind, disk.struck)]++
				if len(disk.late) > 0 {
					t.Errorf("asked of files that were closed: %q", disk.late)
				}
				if len(disk.again) > 0 {
					t.Errorf("synced again after a sync had failed: %q", disk.again)
				}
				disk.random = rand.New(rand.NewPCG(seed, uint64(at)))
				s.random = disk.random
				s.after()
				if t.Failed() {
					t.Fatalf("seed %d, fault %d at operation %d", seed, kind, at)
				}
			}
			if points < 30 {
				t.Fatalf("seed %d: only %d operations", seed, points)
			}
		}
	}
	for _, kind := range []fault{faultOnce, faultStays, faultCrash} {
		for _, operation := range operations {
			if struck[fmt.Sprint(kind, operation)] == 0 {
				t.Errorf("no fault %d struck at %q: %v", kind, operation, struck)
			}
		}
	}
	t.Logf("faults by kind and operation: %v; %d flushes ended beside other things", struck, beside)
}

// Several lives, each ended by a crash: numbers are never given twice, and all of the above holds over all.
func TestManyLives(t *testing.T) {
	random := newRandom(t, 5)
	for range 30 {
		s := newStory(t, newMemory(random))
		s.open()
		for range 8 {
			s.disk.kind, s.disk.fails = faultCrash, s.disk.step+1+random.IntN(80)
			s.run(50)
			s.kill()
			s.disk = s.disk.reboot()
			// What was only acknowledged in passing may come once more, what was not synced may be gone.
			maps.Copy(s.perhaps, s.acked)
			clear(s.acked)
			clear(s.recent)
			s.dropped = 0
			s.open()
		}
		s.after()
	}
}

// A record is told to be in doubt once, and the file whose fsync failed is not synced again.
func TestFailedSync(t *testing.T) {
	disk := newMemory(newRandom(t, 1))
	s := newStory(t, disk)
	s.open()
	first := Record{Points: 2, Body: []byte("a v=1 1\na v=2 2\n")}
	if _, err := s.log.Append(&first, false); err != nil {
		t.Fatal(err)
	}
	disk.kind, disk.fails = faultOnce, disk.step+1
	var failed *SyncError
	if err := s.log.Sync(); !errors.As(err, &failed) || failed.Records != 1 || failed.Points != 2 {
		t.Fatalf("a failed fsync gives %v", err)
	}
	before := len(disk.names)
	second := Record{Points: 1, Body: []byte("b v=1 1\n")}
	if _, err := s.log.Append(&second, false); err != nil {
		t.Fatal(err)
	}
	if len(disk.names) != before+1 {
		t.Fatal("after a failed fsync the same file was written to")
	}
	if err := s.log.Sync(); err != nil {
		t.Fatal(err)
	}
	// The record in doubt is still given out while it can be read.
	for _, want := range []string{string(first.Body), string(second.Body)} {
		if r, more, err := s.log.Next(nil); err != nil || !more || string(r.Body) != want {
			t.Fatalf("got %q, %t, %v; want %q", r.Body, more, err, want)
		}
	}
}
