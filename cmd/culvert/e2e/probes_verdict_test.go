package e2e

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

const (
	// costGoal is what all probes together may cost, in parts of a hundred.
	costGoal = 2
	// certainty is how sure the bounds of a cost are to have the median of all such pairs between them.
	certainty = 0.95
	// more and less say which difference is a cost.
	more, less = 1.0, -1.0
)

// pair is one figure without probes and with them, measured one after the other.
type pair struct{ off, on float64 }

func (p *pair) put(on bool, value float64) {
	if on {
		p.on = value
	} else {
		p.off = value
	}
}

// median takes the middle of sorted values.
func median(sorted []float64) float64 {
	n := len(sorted)
	if n%2 == 1 {
		return sorted[n/2]
	}
	return (sorted[n/2-1] + sorted[n/2]) / 2
}

// sides are the medians of both sides of pairs.
func sides(pairs []pair) (off, on float64) {
	var all [2][]float64
	for _, p := range pairs {
		all[0], all[1] = append(all[0], p.off), append(all[1], p.on)
	}
	slices.Sort(all[0])
	slices.Sort(all[1])
	return median(all[0]), median(all[1])
}

// bounds are the places of two of n sorted values that have the median of what they are drawn from between
// them, with at least this certainty, whatever it is distributed like: as many of n values lie below a median
// as coins show heads. ok is false where there are too few values.
func bounds(n int) (low, high int, ok bool) {
	below, chance := 0.0, math.Pow(0.5, float64(n)) // of less than k heads, and of k
	k := 0
	for ; 2*(below+chance) <= 1-certainty; k++ {
		below += chance
		chance *= float64(n-k) / float64(k+1)
	}
	return k - 1, n - k, k > 0
}

// judge says what the probes cost by pairs, as the median of their differences with its bounds, and whether
// that is within the goal. Pairs that lack a figure are left out.
func judge(pairs []pair, worse float64) string {
	var all []float64
	for _, p := range pairs {
		if p.off > 0 && p.on > 0 {
			all = append(all, worse*100*(p.on/p.off-1))
		}
	}
	if len(all) == 0 {
		return "no pair has both figures"
	}
	return within(all, 1, "%", costGoal)
}

// within says what the median of costs is, with its bounds, and whether that is within a goal, in so many
// decimals.
func within(costs []float64, decimals int, unit string, goal float64) string {
	slices.Sort(costs)
	text := fmt.Sprintf("%+.*f %s in the median of %d pairs", decimals, median(costs), unit, len(costs))
	low, high, ok := bounds(len(costs))
	if !ok {
		return text + ", too few to judge: more ROUNDS"
	}
	text += fmt.Sprintf(", between %+.*f and %+.*f %s for sure (%.0f %%)", decimals, costs[low], decimals,
		costs[high], unit, 100*certainty)
	switch {
	case costs[high] <= goal:
		return text + ": within the goal"
	case costs[low] > goal:
		return text + ": more than the goal"
	}
	return text + ": the noise hides it, more ROUNDS"
}

// Goal: the bounds of a median are those of the tables of order statistics.
func TestBoundsOfAMedian(t *testing.T) {
	// The ranks for 95 %, counted from 1.
	for n, want := range map[int][2]int{
		6: {1, 6}, 8: {1, 8}, 9: {2, 8}, 12: {3, 10}, 20: {6, 15}, 40: {14, 27},
	} {
		low, high, ok := bounds(n)
		if got := [2]int{low + 1, high + 1}; !ok || got != want {
			t.Errorf("of %d values those of ranks %v, want %v", n, got, want)
		}
	}
	for n := range 6 {
		if _, _, ok := bounds(n); ok {
			t.Errorf("%d values are enough", n)
		}
	}
}

// Goal: a cost is judged by both its bounds, and by nothing where there are none.
func TestJudgeCosts(t *testing.T) {
	f := func(worse float64, want string, ratios ...float64) {
		t.Helper()
		var pairs []pair
		for _, r := range ratios {
			pairs = append(pairs, pair{off: 1000, on: 1000 * r})
		}
		if got := judge(pairs, worse); !strings.HasSuffix(got, want) {
			t.Errorf("%v: %s, want %s", ratios, got, want)
		}
	}
	six := func(first, last float64) []float64 {
		return []float64{first, last, last, first, (first + last) / 2, (first + last) / 2}
	}
	f(more, "within the goal", six(0.99, 1.019)...)
	f(less, "within the goal", six(0.981, 1.2)...)
	f(more, "more than the goal", six(1.021, 1.5)...)
	f(less, "more than the goal", six(0.5, 0.979)...)
	f(more, "the noise hides it, more ROUNDS", six(1.01, 1.03)...)
	f(more, "too few to judge: more ROUNDS", 1, 1, 1, 1, 1)
	f(more, "no pair has both figures", 0, 0)
	f(more, "+1.4 % in the median of 6 pairs, between +1.0 and +1.8 % for sure (95 %): within the goal",
		six(1.01, 1.018)...)
}
