package dataplane

import "testing"

// BenchmarkPublish shows a turn's counters to others: a few words changed, as by a turn with one packet.
func BenchmarkPublish(b *testing.B) {
	b.ReportAllocs()
	block, c := new(Block), new(Counters)
	for b.Loop() {
		c.FramesReceived++
		c.FramesDecoded++
		c.PointsReceived[0] += 10
		c.Turns++
		block.publish(c)
	}
	if got := block.Read(); got != *c {
		b.Fatalf("published %+v, read %+v", *c, got)
	}
}
