package rules

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// find is all numbers that a directory has for a tag, in order.
func (d *directory) find(tag uint32) (numbers []int32) {
	for b := d.first(tag); b != nil; b = d.next(b) {
		for found := b.match(tag); found != 0; found &= found - 1 {
			numbers = append(numbers, b.number(found))
		}
	}
	slices.Sort(numbers)
	return numbers
}

// check holds a directory against what it should hold, and its shelves against what they promise.
func (d *directory) check(t *testing.T, want map[uint32][]int32) {
	t.Helper()
	length := 0
	for tag, numbers := range want {
		length += len(numbers)
		if got := d.find(tag); !slices.Equal(got, numbers) {
			t.Fatalf("tag %#x has %v, want %v", tag, got, numbers)
		}
	}
	if d.length != length {
		t.Fatalf("%d keys, want %d", d.length, length)
	}
	behind := 0
	for i := range d.count {
		for b := shelfAt(d.chunks, i); b != nil; b = d.next(b) {
			full := b[shelfCells-1] != 0
			for c := range shelfCells {
				switch {
				case b[c] == 0 && b[shelfLink] != 0:
					t.Fatalf("shelf %d has a free cell and another shelf behind it", i)
				case c > 0 && b[c] != 0 && b[c-1] == 0:
					t.Fatalf("shelf %d has a free cell before a used one", i)
				case b[c] != 0 && d.home(uint32(b[c]>>32)) != i:
					t.Fatalf("tag %#x lies in shelf %d of %d", b[c]>>32, i, d.count)
				}
			}
			if next := d.next(b); next != nil {
				if behind++; !full || next[0] == 0 {
					t.Fatalf("the shelf behind %d is empty", i)
				}
			}
		}
	}
	free := 0
	for number := d.behindFree; number != 0; number = uint32(shelfAt(d.behind, number-1)[shelfLink]) {
		free++
	}
	if behind+free != int(d.behindCut) {
		t.Fatalf("%d shelves behind others and %d free ones of %d", behind, free, d.behindCut)
	}
}

// TestDirectoryFindsItsKeys holds a directory against a map, while random keys come and go: with tags that
// hardly ever meet, and with so few that shelves have long rows behind them.
func TestDirectoryFindsItsKeys(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 18))
	for round := range 60 {
		var d directory
		want := map[uint32][]int32{}
		type entry struct {
			tag uint32
			i   int32
		}
		var entries []entry
		tags := 1 + random.Uint64N(1<<(1+round%32))
		most := 1 + random.IntN(3000)
		for number := range int32(2 * most) {
			// Up to the half of the way more come than go, then fewer.
			if comes := random.IntN(10) < 7; comes == (int(number) < most) || len(entries) == 0 {
				tag := tagOf(random.Uint64N(tags) * 0x9e3779b97f4a7c15)
				before := d.count
				d.add(tag, number)
				if d.count > before+1 {
					t.Fatalf("one key splits %d shelves", d.count-before)
				}
				entries = append(entries, entry{tag, number})
				want[tag] = append(want[tag], number)
			} else {
				at := random.IntN(len(entries))
				gone := entries[at]
				entries[at] = entries[len(entries)-1]
				entries = entries[:len(entries)-1]
				d.remove(gone.tag, gone.i)
				want[gone.tag] = slices.DeleteFunc(want[gone.tag], func(i int32) bool { return i == gone.i })
			}
			if number%101 == 0 {
				d.check(t, want)
			}
		}
		d.check(t, want)
		for _, tag := range []uint32{1, 1<<31 | 12345} {
			if _, known := want[tag]; !known && d.find(tag) != nil {
				t.Fatalf("tag %#x is found", tag)
			}
		}
		d.clear()
		d.check(t, nil)
		for _, e := range entries {
			d.add(e.tag, e.i)
		}
		d.check(t, want)
	}
}

// Goal: what a key costs is bounded however many there are: in memory, and in shelves to be looked through.
// Method: random keys up to some hundred thousands, looked at whenever their number has doubled and half way
// to there, where shelves are as unlike as they get; then as many come and go as there are.
func TestDirectoryStaysEven(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 19))
	const keys = 300_000
	tags := make([]uint32, keys)
	var d directory
	look := func() {
		t.Helper()
		longest := 0
		for i := range d.count {
			row := 0
			for b := shelfAt(d.chunks, i); b != nil; b = d.next(b) {
				row++
			}
			longest = max(longest, row)
		}
		bytes := 64 * (float64(d.count) + float64(d.behindCut)) / float64(d.length)
		if longest > 6 || bytes > 18 {
			t.Errorf("%d keys: rows of up to %d, %.1f bytes a key", d.length, longest, bytes)
		}
		t.Logf("%d keys: rows of up to %d, %.1f bytes a key", d.length, longest, bytes)
	}
	for next, i := 1000, 0; i < keys; i++ {
		tags[i] = tagOf(random.Uint64())
		if d.add(tags[i], int32(i)); i == next {
			look()
			next += next / 2
		}
	}
	for range keys {
		i := random.IntN(keys)
		d.remove(tags[i], int32(i))
		tags[i] = tagOf(random.Uint64())
		d.add(tags[i], int32(i))
	}
	look()
}
