package bpf

const (
	// The figures of hist.h: four buckets for each power of two from 2⁸ to 2³⁶ ns, one below and one above.
	histSubBits   = 2
	histFirstBits = 8
	histLastBits  = 36

	// HistogramBuckets is the number of buckets of a Histogram.
	HistogramBuckets = (histLastBits-histFirstBits)<<histSubBits + 2
)

// Histogram is what one of the probes measured so far, over all CPUs. It is its reader's own.
type Histogram struct {
	Counts [HistogramBuckets]uint64
	Sum    uint64 // nanoseconds
}

// Count is the number of values. It is made from the buckets, so that it agrees with them at any moment.
func (h *Histogram) Count() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Bounds are what a bucket's values are greater than and what they do not exceed, in nanoseconds. The last
// bucket has no upper bound: there high is 0.
func (h *Histogram) Bounds(bucket int) (low, high uint64) {
	switch bucket {
	case 0:
		return 0, 1 << histFirstBits
	case HistogramBuckets - 1:
		return 1 << histLastBits, 0
	}
	octave, sub := uint64(bucket-1)>>histSubBits, uint64(bucket-1)%(1<<histSubBits)
	shift := octave + histFirstBits - histSubBits
	return (1<<histSubBits + sub) << shift, (1<<histSubBits + sub + 1) << shift
}

// add adds one CPU's copy.
func (h *Histogram) add(copied *probeHistogram) {
	for i, n := range copied.Slot {
		h.Counts[i] += n
	}
	h.Sum += copied.Sum
}
