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
	f("a cell of a record", unsafe.Sizeof(recordCell{}), 16)
	f("a Handover", unsafe.Sizeof(Handover{}), 568)
	f("a Transition", unsafe.Sizeof(Transition{}), 576)
	f("recents", unsafe.Sizeof(*newRecents().sets), 1<<20)
}
