package influx

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// BenchmarkSendCPU is what a batch costs the worker's own core, in nanoseconds of its thread's time for each
// line of 92 bytes, by size, number of connections and way: the kernel's copy and, over loopback, the other
// side's protocol work are in it. The thread sleeps while nothing is to be done.
func BenchmarkSendCPU(b *testing.B) {
	for _, size := range []int{
		4 << 10, 16 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 4 << 20,
	} {
		for _, connections := range []int{1, 2, 4} {
			for _, way := range []struct {
				name string
				min  int
			}{{"send", -1}, {"zerocopy", 1}} {
				if way.min > 0 && connections != 2 {
					continue
				}
				name := fmt.Sprintf("%s/connections=%d/%dKiB", way.name, connections, size>>10)
				b.Run(name, func(b *testing.B) {
					benchmarkSendCPU(b, size, connections, way.min)
				})
			}
		}
	}
}

func benchmarkSendCPU(b *testing.B, size, connections, zeroCopyMin int) {
	body := []byte("m v=\"" + strings.Repeat("x", size-9) + "\" 1\n")[:size]
	config := testConfig(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
	config = testConfig(discard(b, requestSize(config, size)))
	config.ZeroCopyMin, config.Connections = zeroCopyMin, connections
	r := newRig(b, true, size, config)
	r.until("connection", func() bool { return r.writer.Stats().Connections == connections })
	b.SetBytes(int64(size))
	held := 0
	before := threadTime(b)
	for b.Loop() {
		for held < connections {
			r.put(body)
			held++
		}
		for len(r.outcomes) == 0 {
			if err := r.ring.EnterWait(int64(time.Second)); err != nil {
				b.Fatal(err)
			}
			r.turn()
		}
		for _, o := range r.outcomes {
			r.pool.Release(o.Batch)
			held--
		}
		r.outcomes = r.outcomes[:0]
	}
	used := threadTime(b) - before
	b.ReportMetric(float64(used)/float64(b.N)/float64(size)*92, "cpu-ns/line")
}

// threadTime is what the calling thread has used of its core, in nanoseconds.
func threadTime(b *testing.B) int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		b.Fatal(err)
	}
	return t.Nano()
}
