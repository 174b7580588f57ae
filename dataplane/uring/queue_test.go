package uring

import (
	"encoding/binary"
	"math"
	"testing"
	"unsafe"
)

// fakeKernel is the other side of both rings over plain memory.
type fakeKernel struct {
	rings, sqes []byte
	submission  *submission
	completion  *completion
}

// Offsets of the fake rings: six indices, then the array, then the completions.
const (
	fakeEntries = 4
	fakeArray   = 32
	fakeCQEs    = fakeArray + 4*fakeEntries
)

// newFakeKernel lays both rings out with all indices at start.
func newFakeKernel(t *testing.T, start uint32) *fakeKernel {
	t.Helper()
	k := &fakeKernel{
		// Memory of words, so that indices and entries are aligned.
		rings: bytesOf(make([]uint64, 64)), sqes: bytesOf(make([]uint64, 8*fakeEntries)),
	}
	for _, at := range []int{0, 4, 12, 16} {
		binary.NativeEndian.PutUint32(k.rings[at:], start)
	}
	var err error
	k.submission, err = newSubmission(k.rings, k.sqes, fakeEntries,
		&submissionOffsets{head: 0, tail: 4, flags: 8, array: fakeArray}, true)
	if err != nil {
		t.Fatal(err)
	}
	k.completion, err = newCompletion(k.rings, fakeEntries,
		&completionOffsets{head: 12, tail: 16, cqes: fakeCQEs})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func bytesOf(words []uint64) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(words))), 8*len(words))
}

// consume takes n operations as the kernel does and returns their user data.
func (k *fakeKernel) consume(t *testing.T, n int) []uint64 {
	t.Helper()
	var seen []uint64
	for range n {
		head := k.submission.head.Load()
		if head == k.submission.tail.Load() {
			t.Fatal("the submission ring is empty for the kernel")
		}
		slot := binary.NativeEndian.Uint32(k.rings[fakeArray+4*(head%fakeEntries):])
		seen = append(seen, k.submission.entries[slot].token)
		k.submission.head.Store(head + 1)
	}
	return seen
}

// complete posts one completion, unless the ring is full.
func (k *fakeKernel) complete(token uint64) bool {
	tail := k.completion.tail.Load()
	if tail-k.completion.head.Load() == fakeEntries {
		return false
	}
	k.completion.entries[tail%fakeEntries] = CQE{Token: token, Result: int32(token)}
	k.completion.tail.Store(tail + 1)
	return true
}

// Goal: both rings keep order and bounds wherever their indices are, also where they wrap at 2³².
func TestRingsWrap(t *testing.T) {
	for _, start := range []uint32{0, 3, math.MaxUint32 - 5, math.MaxUint32} {
		k := newFakeKernel(t, start)
		var user uint64
		for range 5 {
			for i := range fakeEntries {
				e := k.submission.reserve()
				if e == nil {
					t.Fatalf("start %d: no room for operation %d of %d", start, i, fakeEntries)
				}
				user++
				e.Nop(user)
			}
			if k.submission.reserve() != nil {
				t.Fatalf("start %d: a full ring hands out an entry", start)
			}
			if n := k.submission.publish(); n != fakeEntries {
				t.Fatalf("start %d: publish says %d", start, n)
			}
			for i, got := range k.consume(t, fakeEntries) {
				if want := user - fakeEntries + 1 + uint64(i); got != want {
					t.Fatalf("start %d: the kernel sees %d, want %d", start, got, want)
				}
			}
			if n := k.submission.publish(); n != 0 {
				t.Fatalf("start %d: %d operations left", start, n)
			}
		}
	}
}

func TestReservedEntryIsClean(t *testing.T) {
	k := newFakeKernel(t, 0)
	for range 2 * fakeEntries {
		e := k.submission.reserve()
		if *e != (SQE{}) {
			t.Fatalf("a reserved entry keeps %+v of its last use", *e)
		}
		e.Send(7, make([]byte, 9), 3, 11)
		e.Link()
		k.submission.publish()
		k.consume(t, 1)
	}
}

func TestCompletionsInOrderAndGivenBack(t *testing.T) {
	for _, start := range []uint32{0, math.MaxUint32 - 1} {
		k := newFakeKernel(t, start)
		var cqe CQE
		if k.completion.take(&cqe) || k.completion.waiting() {
			t.Fatal("an empty ring gives a completion")
		}
		for round := range uint64(6) {
			for i := range uint64(fakeEntries) {
				if !k.complete(10*round + i) {
					t.Fatalf("start %d: the ring is full after %d", start, i)
				}
			}
			if k.complete(99) {
				t.Fatal("a full ring takes another completion")
			}
			if !k.completion.waiting() {
				t.Fatal("completions do not show")
			}
			for i := range uint64(fakeEntries) {
				if !k.completion.take(&cqe) || cqe.Token != 10*round+i {
					t.Fatalf("start %d: took %d, want %d", start, cqe.Token, 10*round+i)
				}
			}
			if k.completion.take(&cqe) {
				t.Fatal("an emptied ring gives a completion")
			}
		}
	}
}

func TestIndexAheadOfUsPanics(t *testing.T) {
	f := func(name string, spoil func(*fakeKernel), use func(*fakeKernel)) {
		t.Helper()
		k := newFakeKernel(t, 0)
		spoil(k)
		defer func() {
			if recover() == nil {
				t.Errorf("%s does not panic", name)
			}
		}()
		use(k)
	}
	f("a submission head beyond the tail", func(k *fakeKernel) { k.submission.head.Store(1) },
		func(k *fakeKernel) { k.submission.reserve() })
	f("a completion tail too far", func(k *fakeKernel) { k.completion.tail.Store(fakeEntries + 1) },
		func(k *fakeKernel) { k.completion.take(new(CQE)) })
}

func TestRingOutsideItsMemory(t *testing.T) {
	rings, sqes := make([]byte, 256), make([]byte, 4*64)
	f := func(entries uint32, o submissionOffsets) {
		t.Helper()
		if _, err := newSubmission(rings, sqes, entries, &o, true); err == nil {
			t.Errorf("%d entries at %+v are accepted", entries, o)
		}
	}
	f(3, submissionOffsets{})
	f(0, submissionOffsets{})
	f(8, submissionOffsets{})
	f(4, submissionOffsets{head: 254})
	f(4, submissionOffsets{tail: math.MaxUint32 - 1})
	f(4, submissionOffsets{flags: 2})
	f(4, submissionOffsets{array: 250})
	g := func(entries uint32, o completionOffsets) {
		t.Helper()
		if _, err := newCompletion(rings, entries, &o); err == nil {
			t.Errorf("%d completions at %+v are accepted", entries, o)
		}
	}
	g(5, completionOffsets{})
	g(0, completionOffsets{})
	g(4, completionOffsets{head: 256})
	g(4, completionOffsets{tail: 1})
	g(16, completionOffsets{cqes: 8})
}

// The sizes and offsets are those of include/uapi/linux/io_uring.h.
func TestLayouts(t *testing.T) {
	f := func(name string, got, want uintptr) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	f("size of SQE", unsafe.Sizeof(SQE{}), 64)
	f("offset of SQE.offset", unsafe.Offsetof(SQE{}.offset), 8)
	f("offset of SQE.address", unsafe.Offsetof(SQE{}.address), 16)
	f("offset of SQE.opFlags", unsafe.Offsetof(SQE{}.opFlags), 28)
	f("offset of SQE.token", unsafe.Offsetof(SQE{}.token), 32)
	f("offset of SQE.buffer", unsafe.Offsetof(SQE{}.buffer), 40)
	f("size of CQE", unsafe.Sizeof(CQE{}), 16)
	f("size of params", unsafe.Sizeof(params{}), 120)
	f("offset of params.submission", unsafe.Offsetof(params{}.submission), 40)
	f("offset of params.completion", unsafe.Offsetof(params{}.completion), 80)
	f("size of eventsArgument", unsafe.Sizeof(eventsArgument{}), 24)
	f("size of bufferTable", unsafe.Sizeof(bufferTable{}), 32)
	f("offset of bufferTable.from", unsafe.Offsetof(bufferTable{}.from), 16)
	f("size of bufferUpdate", unsafe.Sizeof(bufferUpdate{}), 32)
	f("offset of bufferUpdate.from", unsafe.Offsetof(bufferUpdate{}.from), 8)
	f("offset of bufferUpdate.count", unsafe.Offsetof(bufferUpdate{}.count), 24)
	f("size of probe", unsafe.Sizeof(probe{}), 16+256*8)
}
