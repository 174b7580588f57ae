package spool

import (
	"bytes"
	"testing"
)

// FuzzSegment opens what a fuzzer makes of a segment and of a position: no panic, the ledger balances, and
// all that comes out was put in, as long as the fuzzer does not forge checksums.
func FuzzSegment(f *testing.F) {
	disk := newMemory(newRandom(f, 1))
	l := openOn(f, disk, func(c *Config) { c.Codec = CodecSnappy })
	known := map[string]bool{}
	for i := range 6 {
		put(f, l, i, 30*i)
		known[string(line(i, 30*i))] = true
	}
	r, _, _ := l.Next(nil)
	l.Ack(r.Sequence)
	if err := l.Sync(); err != nil {
		f.Fatal(err)
	}
	segment, slots := disk.names[segmentName(1)].seen, disk.names[positionName].seen
	f.Add(segment, slots)
	f.Add(segment[:len(segment)-5], slots[:slotSize])
	f.Add(append(bytes.Clone(segment), segment...), []byte{})
	f.Add(append(bytes.Clone(segment), make([]byte, 300)...), slots)
	f.Add([]byte(segmentMagic), []byte("x"))
	f.Fuzz(func(t *testing.T, segment, slots []byte) {
		disk := newMemory(newRandom(t, 2))
		disk.names[segmentName(1)] = &node{seen: bytes.Clone(segment)}
		disk.names[positionName] = &node{seen: bytes.Clone(slots)}
		l, found, err := Open(Config{Files: disk, SegmentBytes: 2 * headMax, MaxBytes: 64 * headMax})
		if err != nil {
			t.Fatal(err)
		}
		for _, body := range drain(t, l) {
			if !known[body] {
				t.Fatalf("%q was never appended", body)
			}
		}
		put(t, l, 77, 10)
		if got := drain(t, l); len(got) != 1 || got[0] != string(line(77, 10)) {
			t.Fatalf("%q comes after what was found", got)
		}
		s := l.Stats()
		if s.Restored != uint64(found.Points) || s.Waiting != 0 ||
			s.Restored+s.Appended != s.Acknowledged+s.Corrupt {
			t.Fatalf("the ledger does not balance: %+v, found %+v", s, found)
		}
		for range 2 {
			if err := l.Sync(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
