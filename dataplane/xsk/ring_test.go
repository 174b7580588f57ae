package xsk

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// mustPanic fails unless f ends with a panic whose text has want in it.
func mustPanic(t *testing.T, want string, f func()) {
	t.Helper()
	defer func() {
		t.Helper()
		if got := fmt.Sprint(recover()); !strings.Contains(got, want) {
			t.Fatalf("panic %q, want %q", got, want)
		}
	}()
	f()
}

// starts are where indices begin: the usual place, and so close to 2³² that they wrap within the test.
var starts = []uint32{0, math.MaxUint32 - 2, math.MaxUint32, 1 << 31}

func TestFillRing(t *testing.T) {
	for _, start := range starts {
		memory := newPlainRing[uint64](4, start)
		r, err := newFillRing(memory.memory, plainOffset, 4)
		if err != nil {
			t.Fatal(err)
		}
		next, want := uint64(0), uint64(0)
		for range 10 {
			n := r.Reserve(3)
			if n != 3 {
				t.Fatalf("start %d: %d of 3 slots of an empty ring", start, n)
			}
			for range n {
				r.Put(next)
				next++
			}
			if _, ok := memory.pop(); ok {
				t.Fatalf("start %d: the kernel sees a slot before Submit", start)
			}
			r.Submit()
			if n := r.Reserve(3); n != 1 || r.Held() != 3 {
				t.Fatalf("start %d: %d slots left of a ring of 4 that holds %d", start, n, r.Held())
			}
			r.Put(next)
			next++
			r.Submit()
			if n := r.Reserve(1); n != 0 {
				t.Fatalf("start %d: %d slots of a full ring", start, n)
			}
			for range 4 {
				if addr, ok := memory.pop(); !ok || addr != want {
					t.Fatalf("start %d: the kernel takes %d, %v; want %d", start, addr, ok, want)
				}
				want++
			}
		}
	}
}

func TestTXRing(t *testing.T) {
	for _, start := range starts {
		memory := newPlainRing[Desc](4, start)
		r, err := newTXRing(memory.memory, plainOffset, 4)
		if err != nil {
			t.Fatal(err)
		}
		next, want := uint64(0), uint64(0)
		for range 10 {
			if n := r.Reserve(9); n != 4 {
				t.Fatalf("start %d: %d slots of an empty ring of 4", start, n)
			}
			for range 4 {
				r.Put(Desc{Addr: next, Len: 1})
				next++
			}
			r.Submit()
			if n := r.Reserve(1); n != 0 || r.Held() != 4 {
				t.Fatalf("start %d: %d slots of a full ring that holds %d", start, n, r.Held())
			}
			for range 4 {
				if d, ok := memory.pop(); !ok || d.Addr != want {
					t.Fatalf("start %d: the kernel takes %d, %v; want %d", start, d.Addr, ok, want)
				}
				want++
			}
		}
	}
}

func TestRXRing(t *testing.T) {
	for _, start := range starts {
		memory := newPlainRing[Desc](4, start)
		r, err := newRXRing(memory.memory, plainOffset, 4)
		if err != nil {
			t.Fatal(err)
		}
		into := make([]Desc, 3)
		next, want := uint64(0), uint64(0)
		for round := range 10 {
			if n := r.Peek(into); n != 0 {
				t.Fatalf("start %d: %d packets in an empty ring", start, n)
			}
			for memory.push(Desc{Addr: next, Len: uint32(round)}) {
				next++
			}
			if r.Held() != 4 {
				t.Fatalf("start %d: a full ring of 4 holds %d", start, r.Held())
			}
			for _, size := range []int{3, 1} {
				n := r.Peek(into)
				if n != size {
					t.Fatalf("start %d: %d packets, want %d", start, n, size)
				}
				for _, d := range into[:n] {
					if d.Addr != want || d.Len != uint32(round) {
						t.Fatalf("start %d: %+v, want address %d", start, d, want)
					}
					want++
				}
				if memory.producer.Load()-memory.consumer.Load() != uint32(4-3+size) && size == 3 {
					t.Fatalf("start %d: slots are given back before Release", start)
				}
				r.Release(n)
			}
		}
		if n := r.Peek(nil); n != 0 {
			t.Fatalf("%d packets into nothing", n)
		}
	}
}

func TestCompletionRing(t *testing.T) {
	for _, start := range starts {
		memory := newPlainRing[uint64](4, start)
		r, err := newCompletionRing(memory.memory, plainOffset, 4)
		if err != nil {
			t.Fatal(err)
		}
		next, want := uint64(0), uint64(0)
		for range 10 {
			if n := r.Peek(); n != 0 {
				t.Fatalf("start %d: %d frames in an empty ring", start, n)
			}
			for memory.push(next) {
				next++
			}
			n := r.Peek()
			if n != 4 {
				t.Fatalf("start %d: %d frames in a full ring of 4", start, n)
			}
			for i := range n {
				if addr := r.Addr(i); addr != want {
					t.Fatalf("start %d: address %d, want %d", start, addr, want)
				}
				want++
			}
			r.Release(n)
		}
	}
}

// Goal: an index of the kernel's that cannot be right ends the program instead of giving frames away twice.
func TestIndexAhead(t *testing.T) {
	for _, start := range starts {
		s, k := newPlain(t, plainConfig{
			frames: 8, fill: 4, rx: 4, tx: 4, completion: 4, txFrames: 2, start: start,
		})
		k.rx.producer.Store(start + 5)
		mustPanic(t, "BUG: RX ring: producer=", func() { s.Receive(make([]Desc, 4)) })
		k.rx.producer.Store(start - 1)
		mustPanic(t, "BUG: RX ring: producer=", func() { s.Receive(make([]Desc, 4)) })
		k.completion.producer.Store(start + 5)
		mustPanic(t, "BUG: completion ring: producer=", func() { s.ReapCompletions() })
		k.fill.consumer.Store(start + 5)
		mustPanic(t, "BUG: fill ring: producer=", func() { s.fill.Reserve(4) })
		k.fill.consumer.Store(start - 1)
		mustPanic(t, "BUG: fill ring: producer=", func() { s.fill.Reserve(4) })
		s.tx.limit = s.tx.producer
		k.tx.consumer.Store(start + 1)
		mustPanic(t, "BUG: TX ring: producer=", func() { s.tx.Reserve(4) })
	}
}

func TestRingLayoutFailure(t *testing.T) {
	f := func(offset unix.XDPRingOffset, size int, want string) {
		t.Helper()
		memory := newPlainRing[Desc](4, 0).memory
		for range 2 {
			for name, open := range map[string]func() error{
				"RX": func() error { _, err := newRXRing(memory, offset, size); return err },
				"TX": func() error { _, err := newTXRing(memory, offset, size); return err },
				"fill": func() error {
					_, err := newFillRing(memory[:192+4*addrSize], offset, size)
					return err
				},
				"completion": func() error {
					_, err := newCompletionRing(memory[:192+4*addrSize], offset, size)
					return err
				},
			} {
				err := open()
				if err == nil || !strings.Contains(err.Error(), want) ||
					!strings.Contains(err.Error(), name) {
					t.Fatalf("%s ring, %+v, %d slots: %v, want %q", name, offset, size, err, want)
				}
			}
		}
	}
	with := func(change func(*unix.XDPRingOffset)) unix.XDPRingOffset {
		offset := plainOffset
		change(&offset)
		return offset
	}
	f(plainOffset, 8, "8 slots of")
	f(plainOffset, 3, "3 is not a power of two")
	f(plainOffset, 0, "0 is not a power of two")
	f(plainOffset, -4, "-4 is not a power of two")
	f(with(func(o *unix.XDPRingOffset) { o.Producer = 2 }), 4, "index at offset 2")
	f(with(func(o *unix.XDPRingOffset) { o.Consumer = 1 << 40 }), 4, "index at offset")
	f(with(func(o *unix.XDPRingOffset) { o.Flags = math.MaxUint64 - 3 }), 4, "index at offset")
	f(with(func(o *unix.XDPRingOffset) { o.Desc = 196 }), 4, "at offset 196")
	f(with(func(o *unix.XDPRingOffset) { o.Desc = 200 }), 4, "at offset 200")
	f(with(func(o *unix.XDPRingOffset) { o.Desc = math.MaxUint64 - 7 }), 4, "slots of")
}
