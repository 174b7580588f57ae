package telemetry

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"culvert/dataplane/hist"
)

const (
	// nativeSchema splits each power of two into 2³ native buckets: a bound is 9 % above the one before.
	nativeSchema = 3
	// zeroThreshold is below one nanosecond, the least that is told from 0; in seconds.
	zeroThreshold = 0.5e-9
	// second is a second in nanoseconds.
	second = 1e9
)

// classicBounds are the classic buckets' upper bounds in nanoseconds: 1, 2 and 5 of each power of ten from
// 1 µs to 10 s.
func classicBounds() []uint64 {
	var bounds []uint64
	for power := uint64(1_000); power < 10*second; power *= 10 {
		bounds = append(bounds, power, 2*power, 5*power)
	}
	return append(bounds, 10*second)
}

// classicBuckets are the cumulated counts by upper bound in seconds: what CountBelow says of each, but in
// one pass over the two thousand counts for all of them.
func classicBuckets(h *hist.Snapshot) map[float64]uint64 {
	bounds := classicBounds()
	classic := make(map[float64]uint64, len(bounds))
	below, next := uint64(0), 0
	for i, n := range h.Counts {
		_, high := hist.Bounds(i)
		for ; next < len(bounds) && high > bounds[next]+1; next++ {
			classic[float64(bounds[next])/second] = below
		}
		below += n
	}
	for _, bound := range bounds[next:] {
		classic[float64(bound)/second] = below
	}
	return classic
}

// histogram writes a histogram, classic and native at once.
func (w *writer) histogram(desc *prometheus.Desc, h *hist.Snapshot, labels ...string) {
	native, zeros := nativeBuckets(h)
	sum := float64(h.Sum) / second
	w.metrics <- &bothHistograms{
		Metric: prometheus.MustNewConstHistogram(desc, h.Count, sum, classicBuckets(h), labels...),
		native: prometheus.MustNewConstNativeHistogram(desc, h.Count, sum, native, nil, zeros, nativeSchema,
			zeroThreshold, w.snapshot.Started, labels...),
	}
}

// nativeIndex is the native bucket of a schema that a value falls into.
func nativeIndex(nanoseconds float64, schema int) int {
	return int(math.Ceil(math.Log2(nanoseconds/second) * float64(int(1)<<schema)))
}

// nativeBuckets sorts the counts into native buckets by the middle of their own, which is never more than
// 0.8 % from the value.
func nativeBuckets(h *hist.Snapshot) (buckets map[int]int64, zeros uint64) {
	buckets = map[int]int64{}
	for i, n := range h.Counts {
		if n == 0 {
			continue
		}
		low, high := hist.Bounds(i)
		if low == 0 {
			zeros += n
			continue
		}
		middle := float64(low+high-1) / 2
		buckets[nativeIndex(middle, nativeSchema)] += int64(n)
	}
	return buckets, zeros
}

// bothHistograms is a classic histogram with its native form beside it. The library's constant metrics are
// one or the other; a scraper takes what it knows.
type bothHistograms struct {
	prometheus.Metric // the classic one
	native            prometheus.Metric
}

// Write is prometheus.Metric's.
func (b *bothHistograms) Write(out *dto.Metric) error {
	if err := b.Metric.Write(out); err != nil {
		return err
	}
	buckets := out.Histogram.Bucket
	if err := b.native.Write(out); err != nil {
		return err
	}
	// The native one keeps its histogram between scrapes of the same metric, but each metric is written once.
	out.Histogram.Bucket = buckets
	return nil
}
