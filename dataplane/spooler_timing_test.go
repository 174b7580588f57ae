package dataplane

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"culvert/dataplane/spool"
)

// timedFiles are a directory that knows how long the longest sync of a file took, in nanoseconds.
type timedFiles struct {
	spool.Files
	longest *atomic.Int64
}

func (f timedFiles) Create(name string) (spool.File, error) {
	file, err := f.Files.Create(name)
	if err != nil {
		return nil, err
	}
	return timedFile{file, f.longest}, nil
}

type timedFile struct {
	spool.File
	longest *atomic.Int64
}

func (f timedFile) Sync() error {
	begun := time.Now()
	err := f.File.Sync()
	f.longest.Store(max(f.longest.Load(), int64(time.Since(begun))))
	return err
}

// BenchmarkSpoolerTakesIn hands batches of 8 KiB over, 2000 a second, while the server is away and the disk
// of the temporary directory, or of CULVERT_DISK, is synced ten times a second. The longest time that one
// waited to come back is what a worker has to have batches for; beside it stands the longest sync. ns/op is
// the pace, and says nothing.
func BenchmarkSpoolerTakesIn(b *testing.B) {
	directory := b.TempDir()
	if place := os.Getenv("CULVERT_DISK"); place != "" {
		var err error
		if directory, err = os.MkdirTemp(place, "culvert-spool-"); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { os.RemoveAll(directory) })
	}
	var longest atomic.Int64
	r := newSpoolRig(b, func(r *spoolRig) {
		r.folder = directory
		r.config.Sync = 100 * time.Millisecond
		r.config.Open = func() (*spool.Log, spool.Recovery, error) {
			files, err := spool.OpenDirectory(r.folder)
			if err != nil {
				return nil, spool.Recovery{}, err
			}
			return spool.Open(spool.Config{
				Files: timedFiles{files, &longest}, SegmentBytes: 32 << 20, MaxBytes: 1 << 30,
			})
		}
	})
	r.d.answer(func(string) int { return http.StatusServiceUnavailable })
	var lines bytes.Buffer
	for random := rand.New(rand.NewPCG(1, 1)); lines.Len() < rigBatch-100; {
		fmt.Fprintf(&lines, "m,host=h%d v=%d 1\n", random.IntN(9), random.Uint64())
	}
	points := bytes.Count(lines.Bytes(), []byte("\n"))
	const every = time.Second / 2000
	var waits []time.Duration
	next := time.Now()
	for b.Loop() {
		next = next.Add(every)
		time.Sleep(time.Until(next))
		batch := r.pool.Take()
		batch.Extend(append(batch.Body(), lines.Bytes()...), points, 1)
		batch.Seal(1)
		r.writer.Submit(batch, 1)
		outcome, _ := r.writer.Outcome()
		begun := time.Now()
		r.port.push(spoolItem{batch: outcome.Batch, points: points})
		for {
			if back, ok := r.port.pop(); ok {
				r.pool.Release(back.batch)
				break
			}
			time.Sleep(20 * time.Microsecond)
		}
		waits = append(waits, time.Since(begun))
	}
	slices.Sort(waits)
	b.ReportMetric(float64(waits[len(waits)-1])/1e6, "longest-wait-ms")
	b.ReportMetric(float64(waits[len(waits)*99/100])/1e6, "p99-wait-ms")
	b.ReportMetric(float64(longest.Load())/1e6, "longest-sync-ms")
	r.until("all is taken", func() bool { return r.spooler.State().Taken == uint64(points*len(waits)) })
}
