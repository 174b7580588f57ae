package rules

import (
	"fmt"
	"testing"
)

// BenchmarkSucceed is the pause of a reload beyond the workers' waiting for each other: rules that stay as
// they are take over from ones that remember a window for each of many keys, or an alert.
func BenchmarkSucceed(b *testing.B) {
	for _, keys := range []int{1000, 100_000} {
		for _, expr := range []string{"avg(x[10s]) > 1000", "x > 0"} {
			b.Run(fmt.Sprintf("%s/keys_%d", expr, keys), func(b *testing.B) {
				set := compileOf(b, ruleOf("A", "m", expr, "machine"))
				old := NewEvaluator(set, Config{Workers: 1})
				for i := range keys {
					at := int64(i + 1)
					old.Eval(pointOf(b, fmt.Sprintf("m,machine=m%d x=5 %d", i, at)), at)
					old.Taken(len(old.Transitions()))
				}
				for b.Loop() {
					next := NewEvaluator(set, Config{Workers: 1})
					if r, err := next.Succeed(old, 1e6); err != nil || r.Keys+r.Alerts != keys {
						b.Fatalf("kept %+v, %v", r, err)
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(keys), "ns/key")
			})
		}
	}
}
