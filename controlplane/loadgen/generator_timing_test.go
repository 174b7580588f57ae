package loadgen

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
)

// BenchmarkWrite is the cost of writing one point into a packet.
func BenchmarkWrite(b *testing.B) {
	for _, t := range templates {
		b.Run(t.name, func(b *testing.B) {
			c := Config{To: []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:9")}, Template: t.name}
			r, err := c.resolve()
			if err != nil {
				b.Fatal(err)
			}
			v := newValues(1, 0.01)
			line := append([]byte(nil), r.layout.line...)
			b.SetBytes(int64(len(line)))
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				v.write(line, r.layout.slots, i%1000, int64(i)+1_700_000_000_000_000_000, uint64(i))
				i++
			}
		})
	}
}

// BenchmarkRun is the cost of a point sent over loopback to a socket that is not read.
func BenchmarkRun(b *testing.B) {
	for _, c := range []struct {
		points     int
		noSegments bool
	}{{1, false}, {1, true}, {10, false}, {10, true}} {
		points := c.points
		b.Run(fmt.Sprintf("points=%d/segments=%v", points, !c.noSegments), func(b *testing.B) {
			r := newReceiver(b, "127.0.0.1")
			b.ReportAllocs()
			b.ResetTimer()
			report, err := Run(context.Background(), Config{
				To: []netip.AddrPort{r.address()}, Count: uint64(b.N), PointsPerPacket: points,
				NoSegments: c.noSegments,
			})
			if err != nil || report.Points != uint64(b.N) {
				b.Fatalf("%+v, %v", report, err)
			}
			b.SetBytes(int64(report.PacketSize / points))
		})
	}
}

// BenchmarkFrame is the cost of a whole frame around a payload, sums and copy included.
func BenchmarkFrame(b *testing.B) {
	for _, size := range []int{96, 1344} {
		b.Run(fmt.Sprintf("payload=%d", size), func(b *testing.B) {
			h := newHeaders(testEnds(testFrom4, testTo4), true)
			payload, frame := make([]byte, size), make([]byte, 2048)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if n := h.put(frame, payload); n != size+42 {
					b.Fatalf("%d bytes", n)
				}
			}
		})
	}
}
