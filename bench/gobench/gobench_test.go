package gobench

import (
	"slices"
	"testing"
)

const output = `goos: linux
pkg: culvert/dataplane/lineproto
cpu: AMD EPYC
BenchmarkDecode/mixed-2  34347	 10393 ns/op	 774.20 MB/s	 98.05 ns/point	 0 allocs/op
BenchmarkDecode/mixed-2  34347	 10395 ns/op	 774.10 MB/s	 98.06 ns/point	 0 allocs/op
PASS
pkg: culvert/bpf
BenchmarkSteer/steered/v4 	       1	        52.00 ns/packet
`

func TestParse(t *testing.T) {
	results := Parse(output)
	if len(results) != 3 || results[0].Package != "culvert/dataplane/lineproto" ||
		results[2].Package != "culvert/bpf" || results[2].Name != "Steer/steered/v4" {
		t.Fatalf("read %+v", results)
	}
	if got := Values(results, "Decode/mixed", "MB/s"); !slices.Equal(got, []float64{774.2, 774.1}) {
		t.Errorf("MB/s: %v", got)
	}
	if got := Values(results, "Steer/steered/v4", "ns/packet"); !slices.Equal(got, []float64{52}) {
		t.Errorf("ns/packet: %v", got)
	}
	if got := Values(results, "Decode/mixed", "allocs/op"); !slices.Equal(got, []float64{0, 0}) {
		t.Errorf("allocs/op: %v", got)
	}
}
