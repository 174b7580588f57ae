package bpf

import (
	"testing"

	"github.com/cilium/ebpf/btf"
)

// Goal: the buckets lie side by side from 0 to the end, four to a power of two, and none is wider than a
// quarter of its lower bound.
func TestHistogramBounds(t *testing.T) {
	var h Histogram
	before := uint64(0)
	for i := range HistogramBuckets {
		low, high := h.Bounds(i)
		if low != before {
			t.Errorf("bucket %d begins at %d, the one before ends at %d", i, low, before)
		}
		if i > 0 && high != 0 && (high <= low || (high-low)*4 > low) {
			t.Errorf("bucket %d is (%d, %d]", i, low, high)
		}
		before = high
	}
	if low, high := h.Bounds(HistogramBuckets - 1); low != 1<<36 || high != 0 {
		t.Errorf("the last bucket is (%d, %d]", low, high)
	}
}

// Goal: both sides agree on the size of a histogram and on where its sum lies.
func TestHistogramLayout(t *testing.T) {
	spec, err := loadProbe()
	if err != nil {
		t.Fatal(err)
	}
	var inC *btf.Struct
	if err := spec.Types.TypeByName("histogram", &inC); err != nil {
		t.Fatal(err)
	}
	slots := inC.Members[0].Type.(*btf.Array)
	if slots.Nelems != HistogramBuckets || inC.Members[1].Offset.Bytes() != HistogramBuckets*8 {
		t.Errorf("%d slots and the sum at %d, Go has %d buckets",
			slots.Nelems, inC.Members[1].Offset.Bytes(), HistogramBuckets)
	}
}

func TestHistogramAdds(t *testing.T) {
	var h Histogram
	one := probeHistogram{Sum: 7}
	one.Slot[0], one.Slot[HistogramBuckets-1] = 3, 1
	h.add(&one)
	h.add(&one)
	if h.Count() != 8 || h.Sum != 14 || h.Counts[0] != 6 || h.Counts[HistogramBuckets-1] != 2 {
		t.Errorf("%+v", h)
	}
}
