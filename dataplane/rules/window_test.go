package rules

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// sample is a point as the brute-force reference keeps it: all of them, for ever.
type sample struct {
	t     int64
	v     float64
	known bool // the point had the field
}

// windowSlowly is a window's function worked out from all points of a key, in the order of their arrival.
func windowSlowly(f pastFunction, q float64, length, slide, from int64, all []sample) (v float64, ok bool) {
	newest, newestValue := int64(math.MinInt64), int64(math.MinInt64)
	for _, s := range all {
		newest = max(newest, s.t)
	}
	end := newest - ((newest%slide)+slide)%slide + slide
	if end-length < from {
		return 0, false
	}
	var in, ordered []sample
	for _, s := range all {
		if !s.known {
			continue
		}
		inOrder := s.t > newestValue
		newestValue = max(newestValue, s.t)
		if s.t < end-length || s.t >= end {
			continue
		}
		in = append(in, s)
		if inOrder {
			ordered = append(ordered, s)
		}
	}
	slices.SortStableFunc(in, func(a, b sample) int { return cmp.Compare(a.t, b.t) })
	sum, squares, low, high := 0.0, 0.0, math.Inf(1), math.Inf(-1)
	for _, s := range in {
		sum, low, high = sum+s.v, min(low, s.v), max(high, s.v)
	}
	n := float64(len(in))
	for _, s := range in {
		squares += (s.v - sum/n) * (s.v - sum/n)
	}
	switch {
	case f == pastCount:
		return n, true
	case len(in) == 0:
		return 0, false
	case f == pastRate:
		if len(ordered) < 2 {
			return 0, false
		}
		increase := 0.0
		for i := range ordered[1:] {
			if by := ordered[i+1].v - ordered[i].v; by >= 0 {
				increase += by
			} else {
				increase += ordered[i+1].v
			}
		}
		return increase / (float64(ordered[len(ordered)-1].t-ordered[0].t) / 1e9), true
	case f == pastQuantile:
		values := make([]float64, len(in))
		for i, s := range in {
			values[i] = s.v
		}
		slices.Sort(values)
		return values[max(int(math.Ceil(q*n)), 1)-1], true
	}
	return map[pastFunction]float64{
		pastSum: sum, pastAvg: sum / n, pastMin: low, pastMax: high, pastRange: high - low,
		pastStddev: math.Sqrt(squares / n), pastFirst: in[0].v, pastLast: in[len(in)-1].v,
	}[f], true
}

// pastCall is one function of the past as it stands in a program.
type pastCall struct {
	text string
	i    *instruction
	memo *memo
}

// pastCalls are the functions of the past that the rules of a Set call.
func pastCalls(set *Set) (calls []pastCall) {
	for r := range set.rules {
		for i := range set.rules[r].code {
			in := &set.rules[r].code[i]
			if in.code == codePast {
				calls = append(calls, pastCall{set.rules[r].expr, in,
					&set.cohorts[set.rules[r].cohort].memos[in.a]})
			}
		}
	}
	return calls
}

var windowFunctions = []string{
	"count(%s)", "sum(%s)", "avg(%s)", "min(%s)", "max(%s)", "range(%s)", "stddev(%s)", "first(%s)",
	"last(%s)",
	"rate(%s)", "quantile(0, %s)", "quantile(0.5, %s)", "quantile(0.99, %s)", "quantile(1, %s)",
}

// TestWindowsEqualBruteForce: over random, late, repeated and lacking points of several keys every
// function of every window is what is worked out from all points anew.
func TestWindowsEqualBruteForce(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 8))
	known := 0
	windows := []string{"x[10s]", "x[10s:5s]", "x[3s:3s]", "(x + 1)[1m:1s]", "x[100ns]"}
	for round := range 25 {
		var rules []Rule
		for _, w := range windows {
			for i, f := range windowFunctions {
				rules = append(rules, ruleOf(fmt.Sprintf("%s%d", w, i), "m", fmt.Sprintf(f, w)+" > 1e300",
					"machine"))
			}
		}
		set := compileOf(t, rules...)
		e, calls := alone(set), pastCalls(set)
		all := map[int][]sample{}
		from := map[int]int64{}
		now, start := int64(1e18)+random.Int64N(1e12), int64(-1)
		for range 300 {
			machine := random.IntN(3)
			now += random.Int64N(1 << (1 + random.IntN(34)))
			if start < 0 {
				start = now
			}
			s := sample{t: now, known: random.IntN(8) > 0, v: float64(random.IntN(2000))/8 - 20}
			switch random.IntN(6) {
			case 0: // late
				s.t -= random.Int64N(1 << (1 + random.IntN(36)))
			case 1: // once more
				if n := len(all[machine]); n > 0 {
					s = all[machine][random.IntN(n)]
				}
			case 2:
				s.v *= math.Pow(10, float64(random.IntN(9)-4))
			}
			field := "y=1"
			if s.known {
				field = fmt.Sprintf("x=%g", s.v)
			}
			e.Eval(pointOf(t, fmt.Sprintf("m,machine=m%d %s %d", machine, field, s.t)), now)
			if len(all[machine]) == 0 {
				from[machine] = s.t - (now - start)
			}
			all[machine] = append(all[machine], s)
			for _, c := range calls {
				if checkWindow(t, e, c, from[machine], all[machine]) {
					known++
				}
			}
		}
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
	}
	if known < 100_000 {
		t.Errorf("%d values were compared, want at least 100 000", known)
	}
}

// checkWindow compares one function with the reference and tells whether it has a value.
func checkWindow(t *testing.T, e *Evaluator, c pastCall, from int64, all []sample) bool {
	t.Helper()
	w, f, q := &c.memo.window, pastFunction(c.i.b), math.Float64frombits(c.i.imm)
	if strings.Contains(c.memo.text, "+(") { // (x + 1)
		all = slices.Clone(all)
		for i := range all {
			all[i].v++
		}
	}
	want, ok := windowSlowly(f, q, w.length, w.slide, from, all)
	v := e.machine.recall(c.i)
	got, known := v.float()
	tolerance := 1e-9 * math.Abs(want)
	switch f {
	case pastSum, pastAvg, pastStddev, pastRate:
		tolerance = 1e-6 * (1 + math.Abs(want))
	case pastQuantile:
		s := sketch(e.machine.past.scratch[1:w.width])
		tolerance = (sketchError(s.level()) + 1e-9) * math.Abs(want)
	}
	if known != ok || ok && math.Abs(got-want) > tolerance {
		t.Errorf("%s is %v (%t), by brute force %v (%t)", c.text, got, known, want, ok)
	}
	return ok
}

// TestSketchKeepsItsBound: quantiles of values of all kinds stay within the error of the sketch's level, and
// the level is what sketch.go says for the spread of the values.
func TestSketchKeepsItsBound(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 9))
	f := func(name string, level uint, draw func() float64) {
		t.Helper()
		for range 20 {
			a, b := make(sketch, sketchWords), make(sketch, sketchWords)
			var values []float64
			for range 3000 {
				v := draw()
				values = append(values, v)
				if random.IntN(3) == 0 {
					b.add(v)
				} else {
					a.add(v)
				}
			}
			a.merge(b)
			slices.Sort(values)
			for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
				got, _ := a.quantile(q)
				want := values[max(int(math.Ceil(q*float64(len(values)))), 1)-1]
				if math.Abs(got-want) > sketchError(a.level())*math.Abs(want)*1.0001+1e-142 {
					t.Errorf("%s: quantile %g is %g, want %g within %g", name, q, got, want,
						sketchError(a.level()))
				}
			}
			if a.level() > level {
				t.Errorf("%s: level %d with %d buckets, want at most %d", name, a.level(), a.length(), level)
			}
		}
	}
	spread := func(factor float64) func() float64 {
		return func() float64 { return 7 * math.Exp(random.Float64()*math.Log(factor)) }
	}
	f("within 3.4", 0, spread(3.4))
	f("within 12", 1, spread(12))
	f("within 160", 2, spread(160))
	f("within 25 000", 3, spread(25_000))
	f("few different ones", 0, func() float64 { return math.Pow(1000, float64(random.IntN(40)-20)) })
	f("both signs and zero", 2, func() float64 { return float64(random.IntN(21) - 10) })
	f("anything", sketchLevelLast,
		func() float64 { return math.Float64frombits(random.Uint64N(0x7ff << 52)) })
	if e := sketchError(0); e > 0.01 {
		t.Errorf("the error of level 0 is %g", e)
	}
}

// TestQuantileOfFew: the rank is a whole number, although 0.55·100 as a float is a little more; and one value
// is every quantile.
func TestQuantileOfFew(t *testing.T) {
	s := make(sketch, sketchWords)
	s.add(42)
	for _, q := range []float64{0, 0.5, 0.99, 1} {
		if v, ok := s.quantile(q); !ok || math.Abs(v-42) > 0.42 {
			t.Errorf("quantile %g of 42 is %g (%t)", q, v, ok)
		}
	}
	halves := make(sketch, sketchWords)
	for i := range 100 {
		v := 1.0
		if i >= 55 {
			v = 2
		}
		halves.add(v)
	}
	for q, want := range map[float64]float64{0.54: 1, 0.55: 1, 0.56: 2, 1: 2} {
		if v, _ := halves.quantile(q); math.Abs(v-want) > 0.02 {
			t.Errorf("quantile %g of 55 ones and 45 twos is %g, want %g", q, v, want)
		}
	}
}

// sketchLevelLast is a level at which all values there are fit.
const sketchLevelLast = 10

// TestWindowSize holds what docs/rules.md says about memory.
func TestWindowSize(t *testing.T) {
	f := func(expr string, want int) {
		t.Helper()
		set := compileOf(t, ruleOf("A", "m", expr, "machine"))
		if got := set.Rules()[0].KeyBytes; got != want {
			t.Errorf("%s takes %d bytes for each key, want %d", expr, got, want)
		}
	}
	const key = keyBytes
	f("avg(x[10s]) > 1", key+8*(4+11*2))
	f("avg(x[10s]) > 1 && sum(x[10s]) > 1 && count(x[10s]) > 1", key+8*(4+11*2))
	f("max(x[10s:5s]) > 1", key+8*(4+3*3))
	f("stddev(x[1m:1s]) > 1", key+8*(4+61*3))
	f("rate(x[10s]) > 1", key+8*(4+11*6))
	f("quantile(0.99, x[10s:5s]) > 1", key+8*(4+3*66))
	f("prev(x) > 1 && delta(x) > 1 && changed(x)", key+8*4)
	f("ewma(x, 1s) > 1 && followed_by(x > 1, y > 1, 5s)", key+8*(3+2))
}
