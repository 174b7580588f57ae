// Package metrics reads expositions in Prometheus' text format, as far as the benchmark needs them: single
// values, and classic histograms as distributions.
package metrics

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Samples are the samples of one exposition in their order.
type Samples []Sample

// Sample is one line: Labels is the text between the braces.
type Sample struct {
	Name, Labels string
	Value        float64
}

// Parse reads an exposition. Comments are left out; timestamps are not known.
func Parse(text []byte) (Samples, error) {
	var samples Samples
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		// The value stands behind the last space; label values may hold spaces, too.
		space := strings.LastIndexByte(line, ' ')
		if space < 0 {
			return nil, fmt.Errorf("read metrics: %q has no value", line)
		}
		value, err := strconv.ParseFloat(line[space+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("read metrics: %q: %w", line, err)
		}
		name, labels, _ := strings.Cut(strings.TrimSpace(line[:space]), "{")
		samples = append(samples, Sample{name, strings.TrimSuffix(labels, "}"), value})
	}
	return samples, nil
}

// Sum adds up the samples of a name whose labels contain all of these texts.
func (s Samples) Sum(name string, labels ...string) float64 {
	sum := 0.0
	for _, sample := range s {
		if sample.Name == name && sample.has(labels) {
			sum += sample.Value
		}
	}
	return sum
}

func (s *Sample) has(labels []string) bool {
	for _, label := range labels {
		if !strings.Contains(s.Labels, label) {
			return false
		}
	}
	return true
}

// Distribution is a cumulative histogram: Counts[i] values are at most Bounds[i], in seconds. The last bound
// is infinite.
type Distribution struct {
	Bounds, Counts []float64
}

// Histogram is the classic histogram of a name, its series with these labels added up.
func (s Samples) Histogram(name string, labels ...string) Distribution {
	sums := map[float64]float64{}
	for _, sample := range s {
		if sample.Name != name+"_bucket" || !sample.has(labels) {
			continue
		}
		if bound, ok := sample.bound(); ok {
			sums[bound] += sample.Value
		}
	}
	var d Distribution
	for bound := range sums {
		d.Bounds = append(d.Bounds, bound)
	}
	slices.Sort(d.Bounds)
	for _, bound := range d.Bounds {
		d.Counts = append(d.Counts, sums[bound])
	}
	return d
}

func (s *Sample) bound() (float64, bool) {
	_, rest, found := strings.Cut(s.Labels, `le="`)
	if !found {
		return 0, false
	}
	text, _, _ := strings.Cut(rest, `"`)
	bound, err := strconv.ParseFloat(text, 64)
	return bound, err == nil
}

// Sub is what was added since an earlier reading of the same histogram.
func (d Distribution) Sub(before Distribution) Distribution {
	earlier := map[float64]float64{}
	for i, bound := range before.Bounds {
		earlier[bound] = before.Counts[i]
	}
	after := Distribution{Bounds: d.Bounds}
	for i, bound := range d.Bounds {
		after.Counts = append(after.Counts, d.Counts[i]-earlier[bound])
	}
	return after
}

// Count is how many values there are.
func (d Distribution) Count() float64 {
	if len(d.Counts) == 0 {
		return 0
	}
	return d.Counts[len(d.Counts)-1]
}

// Quantile is the value below which this share of the values is, interpolated within its bucket, in seconds;
// NaN without any. In the last, open bucket it is the greatest finite bound: the truth is more.
func (d Distribution) Quantile(q float64) float64 {
	total := d.Count()
	if total == 0 {
		return math.NaN()
	}
	rank := q * total
	below, lower := 0.0, 0.0
	for i, count := range d.Counts {
		if count >= rank && count > below {
			if math.IsInf(d.Bounds[i], 1) {
				return lower
			}
			return lower + (d.Bounds[i]-lower)*(rank-below)/(count-below)
		}
		below, lower = count, d.Bounds[i]
	}
	return lower
}

// Sub is how the samples changed since an earlier exposition; one that was not there counts as 0.
func (s Samples) Sub(before Samples) Samples {
	type key struct{ name, labels string }
	earlier := map[key]float64{}
	for _, sample := range before {
		earlier[key{sample.Name, sample.Labels}] = sample.Value
	}
	var after Samples
	for _, sample := range s {
		sample.Value -= earlier[key{sample.Name, sample.Labels}]
		after = append(after, sample)
	}
	return after
}
