package gateway

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// Goal: spools have equal parts of spool.max, but none less than it holds, and together never more. Method:
// by hand, and random spools whose holdings fit.
func TestSpoolParts(t *testing.T) {
	for _, c := range []struct {
		most       int64
		held, want []int64
	}{
		{100, []int64{0}, []int64{100}},
		{100, []int64{10, 0}, []int64{50, 50}},
		{100, []int64{80, 0}, []int64{80, 20}},
		{100, []int64{100, 0}, []int64{100, 0}},
		{90, []int64{50, 0, 0}, []int64{50, 20, 20}},
		{90, []int64{50, 25, 0}, []int64{50, 25, 15}}, // 25 is more than the half of what 50 leaves
	} {
		if got := spoolParts(c.most, c.held); !slices.Equal(got, c.want) {
			t.Errorf("%d for %v: %v, want %v", c.most, c.held, got, c.want)
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		held := make([]int64, 1+random.IntN(8))
		left := int64(1000)
		for i := range held {
			held[i] = random.Int64N(left + 1)
			left -= held[i]
		}
		var sum int64
		parts := spoolParts(1000, held)
		for i, part := range parts {
			sum += part
			if part < held[i] {
				t.Fatalf("%v: %v takes from one", held, parts)
			}
		}
		if sum > 1000 || sum < 1000-int64(len(held)) {
			t.Fatalf("%v: %v are %d", held, parts, sum)
		}
	}
}
