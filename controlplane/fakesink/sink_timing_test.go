package fakesink

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// BenchmarkWrite is a write of 10 000 points over loopback, client included; points/s is the figure.
func BenchmarkWrite(b *testing.B) {
	const points = 10_000
	for name, line := range map[string]string{
		"plain":  "plant,line=l07,sensor=s0001 temperature=72.41,rpm=1480i,ok=t 1700000000000000000\n",
		"quoted": "plant,line=l07,sensor=s0001 temperature=72.41,state=\"idle\" 1700000000000000000\n",
	} {
		for _, countOnly := range []bool{false, true} {
			b.Run(fmt.Sprintf("lines=%s/count=%v", name, countOnly), func(b *testing.B) {
				s := newSink(b, Config{CountOnly: countOnly})
				server := httptest.NewServer(s)
				defer server.Close()
				body := []byte(strings.Repeat(line, points))
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					r, err := http.Post(server.URL+pathV1, "", bytes.NewReader(body))
					if err != nil || r.StatusCode != http.StatusNoContent {
						b.Fatalf("%v, %v", r, err)
					}
					io.Copy(io.Discard, r.Body)
					r.Body.Close()
				}
				if got := s.Stats().Points; got != uint64(b.N)*points {
					b.Fatalf("%d points counted, want %d", got, b.N*points)
				}
				b.ReportMetric(float64(b.N)*points/b.Elapsed().Seconds(), "points/s")
			})
		}
	}
}

// BenchmarkCount is the count of a body's lines alone, and with their sequence numbers.
func BenchmarkCount(b *testing.B) {
	var lines strings.Builder
	const points = 10_000
	for i := range uint64(points) {
		lines.WriteString(numbered(i%8, i/8))
	}
	body := []byte(lines.String())
	for _, sequence := range []bool{false, true} {
		b.Run(fmt.Sprintf("sequence=%v", sequence), func(b *testing.B) {
			s := newSink(b, Config{CountOnly: true, Sequence: sequence})
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if n := s.count(body); n != points {
					b.Fatalf("%d points", n)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*points), "ns/line")
		})
	}
}
