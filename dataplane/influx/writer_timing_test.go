package influx

import (
	"fmt"
	"net"
	"strings"
	"testing"
)

// BenchmarkBatch sends batches to a server on loopback that discards them, two under way at a time: ns/op is
// per batch. Loopback always copies, so that the figures of zero copy are its cost without its gain.
func BenchmarkBatch(b *testing.B) {
	for _, size := range []int{1 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20} {
		for _, way := range []struct {
			name string
			ring bool
			min  int
		}{{"send", true, -1}, {"zerocopy", true, 1}, {"sockets", false, -1}} {
			b.Run(fmt.Sprintf("%s/%dKiB", way.name, size>>10), func(b *testing.B) {
				body := []byte("m v=\"" + strings.Repeat("x", size-9) + "\" 1\n")[:size]
				config := testConfig(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
				config = testConfig(discard(b, requestSize(config, size)))
				config.ZeroCopyMin = way.min
				r := newRig(b, way.ring, size, config)
				r.until("connection", func() bool { return r.writer.Stats().Connections == 2 })
				b.SetBytes(int64(size))
				b.ReportAllocs()
				held, done := 0, 0
				for b.Loop() {
					for held < 2 {
						r.put(body)
						held++
					}
					for len(r.outcomes) == 0 {
						r.turn()
						if way.min > 0 {
							for i := range r.writer.connections {
								r.writer.connections[i].skip = 0
							}
						}
					}
					for _, o := range r.outcomes {
						r.pool.Release(o.Batch)
						held--
						done++
					}
					r.outcomes = r.outcomes[:0]
				}
				if stats := r.writer.Stats(); int(stats.Requests["204"]) != done {
					b.Fatalf("%d batches, stats %+v", done, stats)
				}
			})
		}
	}
}

// BenchmarkPoll is what an idle writer costs each turn.
func BenchmarkPoll(b *testing.B) {
	for _, ring := range []bool{true, false} {
		b.Run(map[bool]string{true: "ring", false: "sockets"}[ring], func(b *testing.B) {
			r := newRig(b, ring, 1<<16, testConfig(discard(b, 1)))
			r.until("connection", r.writer.Idle)
			now := r.now()
			b.ReportAllocs()
			for b.Loop() {
				r.writer.Poll(now)
			}
		})
	}
}

// BenchmarkAnswer reads the answer to a successful write.
func BenchmarkAnswer(b *testing.B) {
	text := []byte(answers[0].text)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	var r response
	for b.Loop() {
		r = response{}
		if _, done, _ := r.feed(text); !done || r.status != 204 {
			b.Fatal("not understood")
		}
	}
}

// BenchmarkExtend is what taking a point's line over costs beside copying it.
func BenchmarkExtend(b *testing.B) {
	p, _ := NewPool(make([]byte, 1<<20), 1<<20)
	batch := p.Take()
	line := []byte("m,host=a v=1 1700000000000000000\n")
	var arrival int64
	b.ReportAllocs()
	for b.Loop() {
		if batch.Room() < len(line) {
			p.Release(batch)
			batch = p.Take()
		}
		arrival += 100
		batch.Extend(append(batch.Body(), line...), 1, arrival)
	}
}
