package numa

import (
	"os"
	"strings"
	"testing"
)

func TestParseHugePages(t *testing.T) {
	for _, want := range []HugePages{HugeAuto, HugeOn, HugeOff} {
		if got, err := ParseHugePages(want.String()); got != want || err != nil {
			t.Fatalf("%q is read as %v, %v", want, got, err)
		}
	}
	if _, err := ParseHugePages("yes"); err == nil {
		t.Fatal(`"yes" is accepted`)
	}
}

func TestRoomOn(t *testing.T) {
	f := func(node int, size uint64, want bool) {
		t.Helper()
		if err := roomOn("testdata/two", node, size); (err == nil) != want {
			t.Fatalf("%d bytes on node %d: %v", size, node, err)
		}
	}
	f(0, 704<<20, true)
	f(0, 704<<20+1, false)
	f(1, 4<<20, true)
	f(1, 96<<20, true) // in its huge pages
	f(1, 96<<20+1, false)
	f(-1, 1<<40, true) // anywhere: the kernel answers
	f(9, 1<<40, true)  // no such node: mbind answers
}

func TestTransparency(t *testing.T) {
	f := func(base uintptr, length int, want string) {
		t.Helper()
		if got := transparency("testdata/smaps", base, length); got != want {
			t.Fatalf("%#x+%#x: %q, want %q", base, length, got, want)
		}
	}
	f(0x7f0000000000, 2<<20, hugeTransparent)
	f(0x7f0000200000, 4<<20, hugePartly)
	f(0x7f0000600000, 2<<20, hugeNone)
	f(0x7f0000800000, 2<<20, hugeNone)
	if got := transparency("testdata/absent", 0, 1); got != hugeNone {
		t.Fatalf("without smaps: %q", got)
	}
}

// Goal: memory of any node, in each kind of pages: whole, zeroed, present, aligned, given back.
func TestAlloc(t *testing.T) {
	for _, size := range []int{1, 4096, 2<<20 - 1, 2 << 20, 5<<20 + 4096} {
		for _, huge := range []HugePages{HugeAuto, HugeOff, HugeImplicit} {
			m, err := Alloc(size, -1, huge)
			if err != nil {
				t.Fatal(err)
			}
			if len(m.Bytes()) != size || address(m.Bytes())%uintptr(os.Getpagesize()) != 0 {
				t.Fatalf("size %d, %v: %d bytes at %#x", size, huge, len(m.Bytes()), address(m.Bytes()))
			}
			for i, b := range m.Bytes() {
				if b != 0 {
					t.Fatalf("size %d, %v: byte %d is %d", size, huge, i, b)
				}
			}
			if huge == HugeOff && m.Huge() != hugeNone {
				t.Fatalf("huge pages are off and the memory is on %s ones", m.Huge())
			}
			t.Logf("size %d, %v: %s", size, huge, m.Huge())
			for range 2 {
				if err := m.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if m.Bytes() != nil {
				t.Fatal("closed memory can still be reached")
			}
		}
	}
}

func TestAllocFailure(t *testing.T) {
	f := func(size, node int, huge HugePages, want string) {
		t.Helper()
		for range 2 {
			m, err := Alloc(size, node, huge)
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("%d bytes on node %d, %v: %v, %v; want %q", size, node, huge, m, err, want)
			}
		}
	}
	f(0, -1, HugeAuto, "must be positive")
	f(4096, 1000, HugeOff, "bind to node 1000")
	f(4096, 5000, HugeOff, "not in 0-1023")
	// No machine has a million free huge pages.
	f(1<<41, -1, HugeOn, "set 1048576 more pages aside in /sys/kernel/mm/hugepages")
	f(1<<41, -1, HugeAuto, "allocate")
}
