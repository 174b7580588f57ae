package spool

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// telemetry is a batch of about so many bytes as plants send it: few names, many numbers.
func telemetry(size int) ([]byte, int) {
	random := rand.New(rand.NewPCG(1, 1))
	var b bytes.Buffer
	points := 0
	for at := int64(1_700_000_000_000_000_000); b.Len() < size; at += 1_000_000 {
		points++
		fmt.Fprintf(&b, "press,line=l%d,cell=c%02d,sensor=s%04d force=%.3f,stroke=%di,temperature=%.2f %d\n",
			random.IntN(4), random.IntN(40), random.IntN(2000), 900+random.Float64()*100, random.IntN(5000),
			40+random.NormFloat64(), at+random.Int64N(1000))
	}
	return b.Bytes(), points
}

// places are where a spool may lie: memory, and the disk of the temporary directory, or of CULVERT_DISK.
func places(b *testing.B) map[string]string {
	p := map[string]string{"disk": b.TempDir()}
	if directory := os.Getenv("CULVERT_DISK"); directory != "" {
		p["disk"] = directory
	}
	if directory, err := os.MkdirTemp("/dev/shm", "culvert-spool-"); err == nil {
		b.Cleanup(func() { os.RemoveAll(directory) })
		p["tmpfs"] = directory
	}
	return p
}

func benchLog(b *testing.B, directory string, codec Codec) *Log {
	b.Helper()
	disk, err := OpenDirectory(directory)
	if err != nil {
		b.Fatal(err)
	}
	l, _, err := Open(Config{Files: disk, SegmentBytes: 128 << 20, MaxBytes: 512 << 20, Codec: codec})
	if err != nil {
		b.Fatal(err)
	}
	return l
}

// cpuTime is what this thread has used of a CPU.
func cpuTime(b *testing.B) time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_THREAD, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// reportCPU says how many MB of so many bytes each a CPU gets through: on a machine that others use too that
// is what one core would do.
func reportCPU(b *testing.B, size int, used time.Duration) {
	b.ReportMetric(float64(size)*float64(b.N)/1e6/used.Seconds(), "MB/CPU-s")
}

// BenchmarkAppend appends batches of 256 KiB; MB/s is Line Protocol before compressing. The spool is full
// most of the time: removing the oldest segment is part of it. It never syncs, as the disk's own speed is not
// what is asked.
func BenchmarkAppend(b *testing.B) {
	body, points := telemetry(256 << 10)
	for place, directory := range places(b) {
		for codec := CodecNone; codec <= CodecZstd; codec++ {
			b.Run(place+"/"+codec.String(), func(b *testing.B) {
				l := benchLog(b, directory, codec)
				defer l.Close()
				r := Record{Points: points, Body: body}
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				runtime.LockOSThread()
				defer runtime.UnlockOSThread()
				begun := cpuTime(b)
				for b.Loop() {
					if _, err := l.Append(&r, false); err != nil {
						b.Fatal(err)
					}
				}
				b.StopTimer()
				reportCPU(b, len(body), cpuTime(b)-begun)
				s := l.Stats()
				if s.Appended != uint64(points*b.N) {
					b.Fatalf("%d points appended, want %d", s.Appended, points*b.N)
				}
			})
		}
	}
}

// BenchmarkRead reads a spool of snappy records from the page cache and acknowledges each.
func BenchmarkRead(b *testing.B) {
	body, points := telemetry(256 << 10)
	for place, directory := range places(b) {
		b.Run(place, func(b *testing.B) {
			l := benchLog(b, directory, CodecSnappy)
			defer l.Close()
			into := make([]byte, 0, 512<<10)
			r := Record{Points: points, Body: body}
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				got, more, err := l.Next(into)
				if err != nil {
					b.Fatal(err)
				}
				if more {
					if len(got.Body) != len(body) {
						b.Fatalf("a body of %d bytes, want %d", len(got.Body), len(body))
					}
					l.Ack(got.Sequence)
					continue
				}
				b.StopTimer()
				for range 200 {
					if _, err := l.Append(&r, false); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
			}
		})
	}
}
