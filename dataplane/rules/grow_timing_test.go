package rules

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"culvert/dataplane/point"
)

// BenchmarkNewKeys is points that each have a key of their own, up to many: what one costs in the middle, and
// the longest that a worker stands still at one of them. Other work on the machine is in the longest, so it
// says more as the least of several runs.
func BenchmarkNewKeys(b *testing.B) {
	for _, keys := range []int{100_000, 3_000_000} {
		for _, expr := range []string{"x > 0", "avg(x[10s]) > 1000"} {
			b.Run(expr+"/keys_"+strconv.Itoa(keys), func(b *testing.B) {
				set := compileOf(b, ruleOf("A", "m", expr, "machine"))
				took := make([]time.Duration, keys)
				for b.Loop() {
					timeNewKeys(b, NewEvaluator(set, Config{Workers: 1, KeysMax: keys}), took)
				}
				slices.Sort(took)
				b.ReportMetric(float64(took[keys/2]), "median-ns")
				b.ReportMetric(float64(took[keys-keys/1000]), "p99.9-ns")
				b.ReportMetric(float64(took[keys-1])/1e3, "longest-us")
			})
		}
	}
}

func timeNewKeys(b *testing.B, e *Evaluator, took []time.Duration) {
	p := pointOf(b, "m,machine=m x=1 1")
	var name []byte
	for i := range took {
		name = strconv.AppendInt(append(name[:0], 'm'), int64(i), 10)
		p.ScratchBytes, p.Time = name, int64(i+1)
		p.Tags[0].Value = point.MakeSpan(point.Scratch, 0, len(name))
		began := time.Now()
		e.Eval(p, p.Time)
		took[i] = time.Since(began)
		e.Taken(len(e.Transitions()))
	}
	if n := e.records.used + pastsOf(e); n != len(took) {
		b.Fatalf("%d keys are remembered, want %d", n, len(took))
	}
}

// pastsOf is how many keys with a past an evaluator remembers.
func pastsOf(e *Evaluator) (n int) {
	for i := range e.pasts {
		n += e.pasts[i].list.length
	}
	return n
}
