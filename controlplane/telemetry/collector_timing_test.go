package telemetry

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func BenchmarkCollect(b *testing.B) {
	s := full()
	collector := NewCollector(func() *Snapshot { return s })
	b.ReportAllocs()
	for b.Loop() {
		metrics := make(chan prometheus.Metric, 1024)
		collector.Collect(metrics)
		if len(metrics) < 50 {
			b.Fatalf("%d metrics", len(metrics))
		}
	}
}
