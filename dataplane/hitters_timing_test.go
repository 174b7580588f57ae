package dataplane

import (
	"testing"

	"culvert/dataplane/point"
)

// BenchmarkHittersSample is the dearest sample: a series that is new and takes another's place.
func BenchmarkHittersSample(b *testing.B) {
	h := newHitters(7)
	text := []byte("plant,line=l01,sensor=s001")
	p := point.Point{PayloadBytes: text, Key: point.MakeSpan(point.Payload, 0, len(text))}
	var payload Payload
	b.ReportAllocs()
	n := uint64(0)
	for b.Loop() {
		n++
		h.sample(n*0x9e3779b97f4a7c15|1, &p, &payload, 0)
	}
	if h.total != n {
		b.Fatal("not every sample counts")
	}
}
