package rules

import (
	"testing"
	"unsafe"
)

// TestSizes holds what docs/rules.md says about memory, and what the rings between workers are laid out for.
func TestSizes(t *testing.T) {
	f := func(what string, got, want uintptr) {
		t.Helper()
		if got != want {
			t.Errorf("%s takes %d bytes, want %d", what, got, want)
		}
	}
	f("an instruction", unsafe.Sizeof(instruction{}), 16)
	f("a record", unsafe.Sizeof(record{}), 136)
	f("a key with a past", unsafe.Sizeof(pastKey{})+2*8, keyBytes)
	f("a shelf of a directory, a cache line,", unsafe.Sizeof(shelf{}), 64)
	f("a Handover", unsafe.Sizeof(Handover{}), 568)
	f("a Transition", unsafe.Sizeof(Transition{}), 576)
	f("recents", unsafe.Sizeof(*newRecents().sets), 1<<20)
}

// Goal: what Memory shows is the memory of the states, all of it, as it grows.
func TestMemoryShowsStates(t *testing.T) {
	e := NewEvaluator(compileOf(t, ruleOf("Hot", "motor", "rpm > 10", "site")), Config{Workers: 2, Owners: 2})
	size := func() (bytes int) {
		e.Memory(func(memory []byte) { bytes += len(memory) })
		return bytes
	}
	before := size()
	fixed := 1<<20 + outboxSize*568 + transitionsMax*576
	if before != fixed {
		t.Errorf("%d bytes before the first state, want %d", before, fixed)
	}
	e.records.add(0, 1, 2, true)
	e.texts.take(100)
	if grown := size() - before; grown != recordChunk*136+shelfChunk*64+chunkSize {
		t.Errorf("a record and a text take %d bytes more", grown)
	}
}
