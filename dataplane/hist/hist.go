// Package hist is a log-linear histogram with one writer, read by others while it is written.
//
// Each power of two is split into 64 equal buckets, so that a value read back differs from the recorded one
// by at most 1/128 (0.8 %). Values are nanoseconds from 0 to 2⁴⁰ (18 minutes); larger ones count in the last
// bucket.
package hist

import (
	"math/bits"
	"sync/atomic"
)

const (
	// subBits splits each power of two into 2^subBits buckets.
	subBits = 6
	subSize = 1 << subBits
	// maxBits bounds the values: 2⁴⁰ ns are 18 minutes, longer than any timeout of the gateway.
	maxBits = 40

	// Buckets is the number of buckets.
	Buckets = (maxBits-subBits)*subSize + subSize
)

// Histogram counts values. The zero Histogram is empty and ready. Record belongs to one goroutine; Read may
// be called from any.
type Histogram struct {
	counts [Buckets]atomic.Uint64 // written by the owner alone
	sum    atomic.Uint64          // of the values as recorded, written by the owner alone
}

// index is the bucket of a value: exact below 64, then 64 buckets for each power of two.
func index(v uint64) int {
	if v < subSize {
		return int(v)
	}
	if v >= 1<<maxBits {
		return Buckets - 1
	}
	shift := bits.Len64(v) - subBits - 1
	return shift<<subBits + int(v>>shift)
}

// Bounds are the smallest value of a bucket and the smallest of the next one.
func Bounds(bucket int) (low, high uint64) {
	if bucket < subSize {
		return uint64(bucket), uint64(bucket) + 1
	}
	shift := bucket>>subBits - 1
	mantissa := uint64(bucket - shift<<subBits)
	return mantissa << shift, (mantissa + 1) << shift
}

// Record counts one value in nanoseconds; negative ones count as 0.
func (h *Histogram) Record(v int64) { h.RecordN(v, 1) }

// RecordN counts a value n times. The counters are stored, not added to atomically: there is one writer.
func (h *Histogram) RecordN(v int64, n uint64) {
	u := uint64(max(v, 0))
	c := &h.counts[index(u)]
	c.Store(c.Load() + n)
	h.sum.Store(h.sum.Load() + u*n)
}

// Snapshot is a histogram at one moment. Its Count is the sum of its buckets, never a counter of its own.
type Snapshot struct {
	Counts [Buckets]uint64
	Count  uint64
	Sum    uint64 // nanoseconds
}

// AddTo adds what was counted so far to a snapshot, so that several workers' histograms become one. A record
// made meanwhile is in it or not, whole buckets never torn.
func (h *Histogram) AddTo(s *Snapshot) {
	for i := range h.counts {
		n := h.counts[i].Load()
		s.Counts[i] += n
		s.Count += n
	}
	s.Sum += h.sum.Load()
}

// Quantile is the value that a share q (0 to 1) of the recorded values does not exceed, taken at the middle
// of its bucket, or 0 when nothing was recorded.
func (s *Snapshot) Quantile(q float64) uint64 {
	if s.Count == 0 {
		return 0
	}
	rank := uint64(q * float64(s.Count))
	rank = min(rank, s.Count-1)
	var seen uint64
	for i, n := range s.Counts {
		seen += n
		if seen > rank {
			low, high := Bounds(i)
			return low + (high-low)/2
		}
	}
	return 0
}

// Mean is the average of the values as recorded, or 0 when there are none.
func (s *Snapshot) Mean() float64 {
	if s.Count == 0 {
		return 0
	}
	return float64(s.Sum) / float64(s.Count)
}

// CountBelow is how many values lie in buckets that end at or below v, for cumulative buckets.
func (s *Snapshot) CountBelow(v uint64) uint64 {
	var n uint64
	for i, c := range s.Counts {
		if _, high := Bounds(i); high > v+1 {
			break
		}
		n += c
	}
	return n
}
