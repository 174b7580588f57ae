package gateway

import (
	"context"
	"runtime/debug"
	"testing"
)

func TestGCPercent(t *testing.T) {
	f := func(live, grows uint64) {
		t.Helper()
		if got := live * uint64(gcPercent(live)) / 100; got < grows-grows/50 || got > grows+grows/50 {
			t.Errorf("a heap of %d bytes grows by %d, want %d", live, got, grows)
		}
	}
	f(4<<20, 68<<20)
	f(64<<20, 128<<20)
	f(1<<30, 1<<30+64<<20)
	if got := gcPercent(0); got != 6500 {
		t.Errorf("an empty heap has GOGC %d", got)
	}
}

// A GOGC that the user set is not touched, Go's own is while the gateway runs.
func TestSpaceCollectionsLeavesTheUsersGOGC(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	before := debug.SetGCPercent(250)
	defer debug.SetGCPercent(before)
	spaceCollections(ended)
	if got := debug.SetGCPercent(gcPercentGo); got != 250 {
		t.Errorf("the user's GOGC of 250 became %d", got)
	}
	spaceCollections(ended)
	if got := debug.SetGCPercent(gcPercentGo); got != gcPercentGo {
		t.Errorf("GOGC is %d after the gateway's end", got)
	}
}
