package metrics

import (
	"math"
	"testing"
)

const exposition = `# HELP a_total things
# TYPE a_total counter
a_total{type="x",net="udp"} 3
a_total{type="x y",net="tcp"} 4
plain 1.5e3
h_bucket{stage="a",le="0.001"} 10
h_bucket{stage="a",le="0.002"} 30
h_bucket{stage="a",le="+Inf"} 40
h_bucket{stage="b",le="0.001"} 7
`

func parse(t *testing.T) Samples {
	t.Helper()
	samples, err := Parse([]byte(exposition))
	if err != nil {
		t.Fatal(err)
	}
	return samples
}

func TestSum(t *testing.T) {
	samples := parse(t)
	f := func(want float64, name string, labels ...string) {
		t.Helper()
		if got := samples.Sum(name, labels...); got != want {
			t.Errorf("%s %v: got %v, want %v", name, labels, got, want)
		}
	}
	f(7, "a_total")
	f(3, "a_total", `net="udp"`)
	f(4, "a_total", `type="x y"`)
	f(1500, "plain")
	f(0, "none")
	if _, err := Parse([]byte("a b\n")); err == nil {
		t.Error("a value that is none was taken")
	}
}

func TestQuantile(t *testing.T) {
	d := parse(t).Histogram("h", `stage="a"`)
	f := func(q, want float64) {
		t.Helper()
		if got := d.Quantile(q); math.Abs(got-want) > 1e-9 {
			t.Errorf("quantile %v: got %v, want %v", q, got, want)
		}
	}
	f(0.125, 0.0005)
	f(0.25, 0.001)
	f(0.5, 0.0015)
	f(0.75, 0.002)
	f(0.99, 0.002)
	if d.Count() != 40 || !math.IsNaN((Distribution{}).Quantile(0.5)) {
		t.Errorf("counts %v", d.Counts)
	}
}

func TestSub(t *testing.T) {
	d := parse(t).Histogram("h", `stage="a"`)
	if got := d.Sub(d); got.Count() != 0 {
		t.Errorf("the same less itself has %v values", got.Count())
	}
	if got := d.Sub(Distribution{Bounds: []float64{0.001}, Counts: []float64{4}}); got.Counts[0] != 6 {
		t.Errorf("got %v", got.Counts)
	}
}
