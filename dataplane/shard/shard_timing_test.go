package shard

import (
	"fmt"
	"strings"
	"testing"

	"culvert/dataplane/point"
)

// BenchmarkRoute is what finding the server of a decoded point costs: its hash and one look into the table.
// Each pass takes points of different series, few enough for the first cache, where a decoded point is.
func BenchmarkRoute(b *testing.B) {
	route := table(b, members(4))
	for _, tags := range []int{2, 4, 8} {
		b.Run(fmt.Sprintf("tags=%d", tags), func(b *testing.B) {
			points := make([]*point.Point, 32)
			for i := range points {
				var line strings.Builder
				fmt.Fprintf(&line, "plant,line=l%02d,sensor=s%03d", i%16, i)
				for tag := 2; tag < tags; tag++ {
					fmt.Fprintf(&line, ",tag%d=value%d", tag, i%(7+tag))
				}
				line.WriteString(" temperature=21.5 1700000000000000000")
				points[i] = decode(b, line.String())
			}
			var counts [4]int
			b.ReportAllocs()
			for b.Loop() {
				for _, p := range points {
					counts[route.Find(Hash(p))]++
				}
			}
			passes := counts[0] + counts[1] + counts[2] + counts[3]
			for i, n := range counts {
				if n == 0 {
					b.Fatalf("server %d has %d of %d points", i, n, passes)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(passes), "ns/point")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkMillionSeries finds the servers of a million series whose hashes are known: ns/series is one look
// into the table, at a place that the last look says nothing of. Beside it stand how far four servers' shares
// deviate from a quarter, in percent of it, and the percentage of the series that a fifth server takes over.
func BenchmarkMillionSeries(b *testing.B) {
	four, five := table(b, members(4)), table(b, members(5))
	hashes := million(b)
	deviation, moved := spread(b, four, five, hashes)
	var counts [4]int
	b.ReportAllocs()
	for b.Loop() {
		for _, h := range hashes {
			counts[four.Find(h)]++
		}
	}
	found := counts[0] + counts[1] + counts[2] + counts[3]
	if found != b.N*len(hashes) {
		b.Fatalf("%d series found their server, want %d", found, b.N*len(hashes))
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(found), "ns/series")
	b.ReportMetric(100*deviation, "deviation-%")
	b.ReportMetric(100*moved, "moved-%")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkTable is what a change of servers or weights costs, off the workers.
func BenchmarkTable(b *testing.B) {
	m := members(4)
	b.ReportAllocs()
	for b.Loop() {
		if route := table(b, m); route.Shares(4)[0] == 0 {
			b.Fatal("a server has no slot")
		}
	}
}
