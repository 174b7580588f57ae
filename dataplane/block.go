package dataplane

import (
	"runtime"
	"sync/atomic"
)

// Block is one worker's counters as others see them. The worker alone writes it, once a turn; a reader gets
// one turn's state whole, never a mixture of two.
type Block struct {
	_         [128]byte
	published Counters      // what words hold, read by the worker alone
	sequence  atomic.Uint64 // odd while the worker writes
	words     [counterWords]atomic.Uint64
	_         [128]byte
}

// publish shows counters to others.
func (b *Block) publish(c *Counters) {
	publishWords(&b.sequence, b.words[:], c.words()[:], b.published.words()[:])
}

// Read returns the counters as of the end of one turn. Any goroutine may call it; it repeats while the worker
// writes, which takes less than a microsecond.
func (b *Block) Read() Counters {
	var c Counters
	readWords(&b.sequence, b.words[:], c.words()[:])
	return c
}

// laneBlock is a Block for the counters of one lane.
type laneBlock struct {
	_         [128]byte
	published LaneCounters
	sequence  atomic.Uint64
	words     [laneWords]atomic.Uint64
	_         [128]byte
}

func (b *laneBlock) publish(c *LaneCounters) {
	publishWords(&b.sequence, b.words[:], c.words()[:], b.published.words()[:])
}

// Read is as Block's.
func (b *laneBlock) Read() LaneCounters {
	var c LaneCounters
	readWords(&b.sequence, b.words[:], c.words()[:])
	return c
}

// publishWords stores the words that changed: each store is a full barrier.
func publishWords(sequence *atomic.Uint64, words []atomic.Uint64, now, before []uint64) {
	sequence.Add(1)
	for i := range now {
		if now[i] != before[i] {
			words[i].Store(now[i])
			before[i] = now[i]
		}
	}
	sequence.Add(1)
}

// readWords reads all words as they were at one time.
func readWords(sequence *atomic.Uint64, words []atomic.Uint64, into []uint64) {
	for {
		before := sequence.Load()
		if before&1 == 1 {
			runtime.Gosched()
			continue
		}
		for i := range into {
			into[i] = words[i].Load()
		}
		if sequence.Load() == before {
			return
		}
	}
}
