package spool

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// damaged is a spool with a flipped bit in the body of its second record, one in the header of its fourth, a
// torn end, and its first record delivered: five records of three points.
func damaged(t *testing.T) *memory {
	disk := newMemory(newRandom(t, 1))
	l := openOn(t, disk, func(c *Config) { c.Label = Label{Gateway: "g", Sink: "main", URL: "http://a:1"} })
	var offsets []int64
	for i := range 5 {
		if l.active != nil {
			offsets = append(offsets, l.active.size)
		}
		r := Record{Points: 3, Oldest: int64(100 + i), Body: line(i, 50)}
		if _, err := l.Append(&r, false); err != nil {
			t.Fatal(err)
		}
	}
	r, _, _ := l.Next(nil)
	l.Ack(r.Sequence)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	file := disk.names[segmentName(1)]
	file.seen[offsets[0]+recordHead+9] ^= 4
	file.seen[offsets[2]+20] ^= 1
	file.seen = append(file.seen, file.seen[l.segments[0].length:][:recordHead+5]...)
	return disk
}

// Inspect finds each flaw and shows what waits; Repair cuts the flaws out, byte for byte, and nothing else.
func TestInspectAndRepair(t *testing.T) {
	disk := damaged(t)
	before := bytes.Clone(disk.names[segmentName(1)].seen)
	var waiting []string
	keep := func(r *Record) error {
		waiting = append(waiting, string(r.Body))
		return nil
	}
	surveys, err := Inspect(disk, keep)
	if err != nil || len(surveys) != 1 {
		t.Fatalf("%d surveys, %v", len(surveys), err)
	}
	s := surveys[0]
	if s.Records != 3 || s.Points != 9 || s.WaitingPoints != 6 || s.Oldest != 102 ||
		s.Label.URL != "http://a:1" || len(s.Flaws) != 3 || s.Flaws[0].Points != 3 ||
		s.Flaws[1].Points != 0 || !s.Flaws[2].Torn {
		t.Fatalf("survey %+v", s)
	}
	if want := string(line(2, 50)) + string(line(4, 50)); strings.Join(waiting, "") != want {
		t.Fatalf("%q waits, want %q", waiting, want)
	}
	mended, err := Repair(disk)
	if err != nil || len(mended) != 1 {
		t.Fatalf("%d mended, %v", len(mended), err)
	}
	waiting = nil
	surveys, err = Inspect(disk, keep)
	if err != nil || len(surveys) != 4 || len(waiting) != 2 {
		t.Fatalf("after repair: %+v, %q, %v", surveys, waiting, err)
	}
	var cut int64
	for _, s := range surveys {
		switch {
		case s.Kept:
			cut += s.Bytes
		case len(s.Flaws) != 0 || s.WaitingPoints != 6:
			t.Fatalf("after repair: %+v", s)
		}
	}
	for _, f := range s.Flaws {
		name := fmt.Sprintf("%020d-%d%s", 1, f.From, badEnd)
		if kept := disk.names[name]; kept == nil || !bytes.Equal(kept.seen, before[f.From:f.To]) {
			t.Fatalf("%s is not what was cut out", name)
		}
	}
	if now := int64(len(disk.names[segmentName(1)].seen)); now+cut != int64(len(before)) {
		t.Fatalf("%d bytes stayed and %d were kept aside of %d", now, cut, len(before))
	}
	// A gateway goes on with it, and knows the room that the cut parts take.
	l := openOn(t, disk, nil)
	if got := drain(t, l); len(got) != 2 || l.Stats().BadBytes != cut {
		t.Fatalf("%d records, %+v", len(got), l.Stats())
	}
	if mended, err := Repair(disk); err != nil || len(mended) != 0 {
		t.Fatalf("a sound spool is mended: %+v, %v", mended, err)
	}
}

// A repair that fails at any operation, or is the last thing, loses no record that was sound.
func TestRepairFailsAnywhere(t *testing.T) {
	for _, kind := range []fault{faultOnce, faultStays, faultCrash} {
		for at := 1; ; at++ {
			disk := damaged(t)
			for _, file := range disk.names {
				file.durable, file.pending = bytes.Clone(file.seen), nil
			}
			disk.stable, disk.history = disk.names, nil
			disk.kind, disk.fails = kind, disk.step+at
			_, err := Repair(disk)
			if disk.step < disk.fails {
				break
			}
			if err == nil {
				t.Fatalf("operation %d failed and Repair says nothing", at)
			}
			disk = disk.reboot()
			found := 0
			_, err = Inspect(disk, func(*Record) error { found++; return nil })
			if err != nil || found != 2 {
				t.Fatalf("fault %d at operation %d: %d records wait, %v", kind, at, found, err)
			}
		}
	}
}

func TestClear(t *testing.T) {
	disk := damaged(t)
	gone, err := Clear(disk)
	if err != nil || len(gone) != 1 || gone[0].WaitingPoints != 6 {
		t.Fatalf("%+v, %v", gone, err)
	}
	if surveys, err := Inspect(disk, nil); err != nil || len(surveys) != 0 {
		t.Fatalf("%+v is left, %v", surveys, err)
	}
}

// What visit says ends the walk.
func TestVisitEndsTheWalk(t *testing.T) {
	_, err := Inspect(damaged(t), func(*Record) error { return errInjected })
	if !errors.Is(err, errInjected) {
		t.Fatalf("got %v", err)
	}
}

// Names of directories are plain, and differ where sink or URL do.
func TestDirectoryName(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range [][2]string{
		{"main", "http://a:8086"}, {"main", "http://a:8087"}, {"other", "http://a:8086"},
		{"../..", "http://../x"}, {"main", "http://a:8086/x?y=/z"},
		{"ä", strings.Repeat("u", 5000)}, {"", ""},
	} {
		name := DirectoryName(c[0], c[1])
		if seen[name] || strings.ContainsAny(name, "/\x00 :") || name[0] == '.' || len(name) > 100 {
			t.Errorf("%q gives %q", c, name)
		}
		seen[name] = true
	}
}
