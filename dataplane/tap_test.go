package dataplane

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
)

// Goal: a tap gets a turn's first payloads while there is room, whole or cut, and no more.
func TestTapIsBounded(t *testing.T) {
	tap := NewTap()
	long := strings.Repeat("x", tapText+1)
	for i := range 2 * tapTurn {
		tap.offer(&Payload{Bytes: []byte(long[i:]), SourcePort: uint16(i)}, 7, 70)
	}
	for i := range tapTurn {
		s := tap.Ring.Peek()
		if s == nil {
			t.Fatalf("%d payloads of a turn, want %d", i, tapTurn)
		}
		if s.SourcePort != uint16(i) || s.Wall != 70 || s.Cut != (i == 0) ||
			s.Length != min(len(long)-i, tapText) ||
			s.Bytes != nil {
			t.Errorf("payload %d: port %d, %d bytes, cut %t", i, s.SourcePort, s.Length, s.Cut)
		}
		tap.Ring.Release()
	}
	if tap.Ring.Peek() != nil {
		t.Error("more payloads of one turn than there may be")
	}
	for turn := range int64(2 * TapSlots) {
		tap.offer(&Payload{Bytes: []byte("m v=1")}, 8+turn, 0)
	}
	n := 0
	for ; tap.Ring.Peek() != nil; n++ {
		tap.Ring.Release()
	}
	if n != TapSlots {
		t.Errorf("%d payloads wait in %d slots", n, TapSlots)
	}
}

// Goal: a tapped payload gives the points that rules see, what is no point with its reason, and nothing of a
// line that was cut off.
func TestTapReader(t *testing.T) {
	reader := NewTapReader([]Listener{{Precision: lineproto.Nanosecond}, {Precision: lineproto.Second,
		Tags: []Tag{{"site", "berlin"}, {"line", "z"}}, SourceTag: "sender"}})
	var tapped Tapped
	tapped.Listener, tapped.Wall = 1, 42
	tapped.Source = [16]byte{10: 0xff, 11: 0xff, 12: 10, 13: 1, 14: 2, 15: 3}
	var got []string
	read := func(text string, cut bool) []string {
		tapped.Length, tapped.Cut = copy(tapped.Text[:], text), cut
		got = nil
		reader.Points(&tapped, func(p *point.Point, line []byte, reason lineproto.Reason) {
			if p == nil {
				got = append(got, fmt.Sprintf("%s: %s", line, reason))
				return
			}
			var encoder lineproto.Encoder
			line, _ = encoder.Append(make([]byte, 0, encoder.Bound(p)), p)
			got = append(got, strings.TrimSpace(string(line)))
		})
		return got
	}
	want := []string{"m,line=a,site=berlin,sender=10.1.2.3 v=1 7000000000", "m v=1x: bad_number",
		"m,site=berlin,line=z,sender=10.1.2.3 v=2 42"}
	for range 2 {
		if got := read("m,line=a v=1 7\nm v=1x\nm v=2", false); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if got := read("m,line=a v=1 7\nm v=1x\nm v=2", true); !slices.Equal(got, want[:2]) {
		t.Errorf("cut: %q", got)
	}
	if got := read("m v=2", true); got != nil {
		t.Errorf("all of it cut: %q", got)
	}
}
