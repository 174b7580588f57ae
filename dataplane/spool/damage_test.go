package spool

import (
	"bytes"
	"strings"
	"testing"
)

// Every single bit of a segment's records may flip: what is not hit is delivered, what is hit is never
// delivered otherwise than it was, its points are counted and its file is kept aside.
func TestFlippedBits(t *testing.T) {
	disk := newMemory(newRandom(t, 1))
	l := openOn(t, disk, func(c *Config) { c.Codec = CodecSnappy })
	for i := range 5 {
		put(t, l, i, 40)
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	name := segmentName(1)
	whole := disk.names[name].seen
	begin := int(l.segments[0].length)
	for bit := begin * 8; bit < len(whole)*8; bit++ {
		hurt := newMemory(disk.random)
		flipped := bytes.Clone(whole)
		flipped[bit/8] ^= 1 << (bit % 8)
		hurt.names[name] = &node{seen: flipped}
		l, found, err := Open(Config{Files: hurt, SegmentBytes: 2 * headMax, MaxBytes: 64 * headMax})
		if err != nil {
			t.Fatalf("bit %d: open refuses: %v", bit, err)
		}
		got := drain(t, l)
		s := l.Stats()
		if len(got) != 4 || s.Acknowledged != 4 || int(s.Corrupt) != found.Points-4 {
			t.Fatalf("bit %d: %d records come out, %+v, found %+v", bit, len(got), s, found)
		}
		for _, body := range got {
			if !bytes.Contains(whole, []byte(body[len(body)-4:])) || strings.Count(body, "x") != 40 {
				t.Fatalf("bit %d: a record came out as %q", bit, body)
			}
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		if hurt.names[badName(1)] == nil && found.Cut == 0 {
			t.Fatalf("bit %d: nothing was kept aside: %+v", bit, found)
		}
	}
}

// A file may end anywhere: what is whole is delivered, the rest is cut off, and nothing counts as corrupt.
func TestTornAnywhere(t *testing.T) {
	disk := newMemory(newRandom(t, 1))
	l := openOn(t, disk, nil)
	var ends []int64
	for i := range 4 {
		put(t, l, i, 30)
		ends = append(ends, l.active.size)
	}
	whole := disk.names[segmentName(1)].seen
	for length := range whole {
		torn := newMemory(disk.random)
		torn.names[segmentName(1)] = &node{seen: bytes.Clone(whole[:length])}
		l, found, err := Open(Config{Files: torn, SegmentBytes: 2 * headMax, MaxBytes: 64 * headMax})
		if err != nil {
			t.Fatalf("%d bytes: open refuses: %v", length, err)
		}
		want := 0
		for _, end := range ends {
			if end <= int64(length) {
				want++
			}
		}
		if got := len(drain(t, l)); got != want || found.Points != want || l.Stats().Corrupt != 0 {
			t.Fatalf("%d bytes: %d records, want %d: %+v", length, got, want, found)
		}
	}
}

// Files that are none of ours, or of a later version, stay as they are.
func TestForeignFilesStay(t *testing.T) {
	disk := newMemory(newRandom(t, 1))
	l := openOn(t, disk, nil)
	put(t, l, 1, 10)
	later := bytes.Clone(disk.names[segmentName(1)].seen)
	later[8] = segmentVersion + 1
	other := newMemory(disk.random)
	other.names[segmentName(1)] = &node{seen: later}
	other.names["README"] = &node{seen: []byte("x")}
	other.names[segmentName(2)] = &node{seen: bytes.Repeat([]byte("junk"), 100)}
	l, found, err := Open(Config{Files: other, SegmentBytes: 2 * headMax, MaxBytes: 64 * headMax})
	if err != nil {
		t.Fatal(err)
	}
	put(t, l, 3, 10)
	if got := drain(t, l); len(got) != 1 || found.Foreign != 1 || found.Corrupt != 1 {
		t.Fatalf("%d records, found %+v", len(got), found)
	}
	for _, name := range []string{"README", segmentName(1), badName(2)} {
		if other.names[name] == nil {
			t.Errorf("%s is gone", name)
		}
	}
}

// A body that holds records, as an attacker may send them in a string, is never read as records, also where
// the header before it is broken.
func TestRecordsInsideBodies(t *testing.T) {
	disk := newMemory(newRandom(t, 1))
	l := openOn(t, disk, nil)
	put(t, l, 1, 50)
	inner := bytes.Clone(disk.names[segmentName(1)].seen[l.segments[0].length:])
	binaryLine := append(bytes.Clone(inner), '\n')
	r := Record{Points: 1, Body: binaryLine}
	other := newMemory(disk.random)
	l = openOn(t, other, nil)
	if _, err := l.Append(&r, false); err != nil {
		t.Fatal(err)
	}
	put(t, l, 2, 50)
	other.names[segmentName(1)].seen[l.segments[0].length+5] ^= 1
	got := drain(t, l)
	if s := l.Stats(); len(got) != 1 || s.Corrupt != 1 {
		t.Fatalf("%q comes out, %+v", got, s)
	}
}
