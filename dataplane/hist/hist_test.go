package hist

import (
	"math/rand/v2"
	"testing"
)

func TestBucketsFollowEachOther(t *testing.T) {
	var next uint64
	for i := range Buckets {
		low, high := Bounds(i)
		if low != next || high <= low {
			t.Fatalf("bucket %d is [%d, %d), want it to start at %d", i, low, high, next)
		}
		if index(low) != i || index(high-1) != i {
			t.Fatalf("bucket %d holds [%d, %d), index says %d and %d", i, low, high, index(low),
				index(high-1))
		}
		next = high
	}
	if next != 1<<maxBits {
		t.Fatalf("the buckets end at %d, want %d", next, uint64(1)<<maxBits)
	}
}

func TestRelativeErrorIsBounded(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 100_000 {
		v := random.Uint64N(1 << (1 + random.UintN(maxBits-1)))
		low, high := Bounds(index(v))
		middle := float64(low) + float64(high-low)/2
		if diff := middle - float64(v); v >= subSize && (diff > float64(v)/64 || diff < -float64(v)/64) {
			t.Fatalf("%d is read back as %g", v, middle)
		}
	}
}

func TestQuantileMeanAndLargeValues(t *testing.T) {
	var h Histogram
	for v := int64(1); v <= 1000; v++ {
		h.Record(v * 1000)
	}
	h.Record(-5)
	var s Snapshot
	h.AddTo(&s)
	if s.Count != 1001 || s.Sum != 500_500_000 {
		t.Fatalf("count %d, sum %d", s.Count, s.Sum)
	}
	if p50 := s.Quantile(0.5); p50 < 490_000 || p50 > 510_000 {
		t.Fatalf("P50 = %d", p50)
	}
	if p99 := s.Quantile(0.99); p99 < 980_000 || p99 > 1_000_000 {
		t.Fatalf("P99 = %d", p99)
	}
	h.RecordN(1<<62, 3)
	var all Snapshot
	h.AddTo(&all)
	if all.Counts[Buckets-1] != 3 {
		t.Fatalf("values beyond the range are not in the last bucket: %d", all.Counts[Buckets-1])
	}
	if n := all.CountBelow(1_000_000); n < 990 || n > 1001 {
		t.Fatalf("CountBelow(1 ms) = %d", n)
	}
}

func TestRecordAllocatesNothing(t *testing.T) {
	h := new(Histogram)
	if n := testing.AllocsPerRun(100, func() { h.Record(12345) }); n != 0 {
		t.Fatalf("%g allocations a record", n)
	}
}

func BenchmarkRecord(b *testing.B) {
	h := new(Histogram)
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		h.Record(i & 0xfffff)
	}
	var s Snapshot
	h.AddTo(&s)
	if s.Count == 0 {
		b.Fatal("nothing was recorded")
	}
}
