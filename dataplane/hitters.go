package dataplane

import (
	"hash/maphash"
	"math/bits"
	"time"

	"culvert/dataplane/point"
)

const (
	// hittersInterval is how many points lie between two samples, in the mean. The distances are random, so
	// that senders who take turns are seen alike. A sample costs 100 ns at most, so a point pays 1.5.
	hittersInterval = 64
	// hittersSlots is how many series are followed. A series of more than one in so many of all points is
	// never missed, but for what sampling leaves to chance.
	hittersSlots = 64
	// hittersHalf is the time after which a sample counts half, in nanoseconds.
	hittersHalf = int64(30 * time.Second)
	// hittersText bounds the text that is kept of a series' key.
	hittersText = 256
)

// hitters finds the series that most of a worker's points belong to, by the algorithm "space saving" of
// Metwally, Agrawal and El Abbadi (2005): a new series takes the place of the one with the least count, and
// that count, which it may owe its predecessors, as its error.
type hitters struct {
	next     uint64 // points until the next sample
	random   uint64
	total    uint64 // samples, as they count now
	halvedAt int64  // CLOCK_MONOTONIC, nanoseconds
	hashes   [hittersSlots]uint64
	counts   [hittersSlots]uint64
	slots    [hittersSlots]hitter
}

// hitter is a series that is followed.
type hitter struct {
	errors   uint64 // what of its count may be others'
	tenant   uint16
	listener uint16
	length   uint16
	text     [hittersText]byte
}

func newHitters(seed uint64) hitters { return hitters{next: hittersInterval, random: seed | 1} }

// sample counts a point's series and returns how many points from this one on the next sample is.
func (h *hitters) sample(hash uint64, p *point.Point, payload *Payload, now int64) uint64 {
	h.age(now)
	h.total++
	at := h.find(hash)
	h.counts[at]++
	if h.hashes[at] != hash {
		one := &h.slots[at]
		h.hashes[at], one.errors = hash, h.counts[at]-1
		one.tenant, one.listener = payload.Tenant, payload.Listener
		one.length = uint16(copy(one.text[:], p.Bytes(p.Key)))
	}
	// Marsaglia's xorshift (2003): as good as it must be, and three operations.
	h.random ^= h.random << 13
	h.random ^= h.random >> 7
	h.random ^= h.random << 17
	// Even over 1 to 2·hittersInterval−1.
	high, _ := bits.Mul64(h.random, 2*hittersInterval-1)
	return 1 + high
}

// find is the slot of a series, or the one that it takes.
func (h *hitters) find(hash uint64) int {
	least := 0
	for i := range h.hashes {
		if h.hashes[i] == hash {
			return i
		}
		if h.counts[i] < h.counts[least] {
			least = i
		}
	}
	return least
}

// age halves all counts once they are old enough, so that what was heavy an hour ago is not now.
func (h *hitters) age(now int64) {
	halves := uint(min((now-h.halvedAt)/hittersHalf, 63))
	if halves == 0 {
		return
	}
	h.halvedAt = now
	h.total >>= halves
	for i := range h.counts {
		h.counts[i] >>= halves
		h.slots[i].errors >>= halves
	}
}

// HeavySeries is a series that many of a worker's points belong to.
type HeavySeries struct {
	Tenant, Listener uint16
	Key              string // measurement and tags as they came, cut after 256 bytes
	Samples          uint64 // that are its own for sure; recent ones count more
}

// sampleSeries counts the series of a point and returns when the next sample is.
func (w *Worker) sampleSeries(p *point.Point, payload *Payload) uint64 {
	hash := maphash.Bytes(w.seed, p.Bytes(p.Key)) ^ uint64(payload.Tenant)<<32 ^ uint64(payload.Listener)
	return w.hitters.sample(hash|1, p, payload, w.now)
}
