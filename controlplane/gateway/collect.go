package gateway

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// gcHeadroom is how much is allocated between two garbage collections, in bytes, at least. Workers
	// allocate nothing; polling status and metrics once a second takes some 0.3 MB/s, which is a collection
	// each three minutes, and Go collects every two minutes anyhow. It bounds what the gateway takes beyond
	// what it uses.
	gcHeadroom = 64 << 20
	// gcInterval is how often the live heap is looked at: it grows with the keys of rules that fire.
	gcInterval = 10 * time.Second
	// gcPercentGo is Go's own GOGC.
	gcPercentGo = 100
)

// gcPercent is the GOGC with which a heap of so many live bytes grows by them and the headroom: a fixed one
// would collect a small heap all the time, or let a large one grow many times over.
func gcPercent(live uint64) int {
	return gcPercentGo + int(gcPercentGo*gcHeadroom/max(live, 1<<20))
}

// spaceCollections keeps garbage collections rare until the context ends: each stops all workers twice, for
// some ten microseconds, and has write barriers on meanwhile. A GOGC that the user set stays, and GOMEMLIMIT
// is in force as ever.
func spaceCollections(ctx context.Context) {
	sample := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Uint64() != gcPercentGo {
		return
	}
	// The settings outlive the gateway in a process that goes on, as a test's does.
	defer debug.SetGCPercent(gcPercentGo)
	ticker := time.NewTicker(gcInterval)
	defer ticker.Stop()
	now := gcPercentGo
	for {
		// Setting it stops the world, too: only a change that matters is worth it.
		if want := gcPercent(sample[1].Value.Uint64()); want > now+now/4 || want < now-now/4 {
			debug.SetGCPercent(want)
			now = want
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		metrics.Read(sample)
	}
}
