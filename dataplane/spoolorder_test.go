package dataplane

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"culvert/dataplane/influx"
	"culvert/dataplane/spool"
)

// sickFiles are a directory that takes nothing while it is sick.
type sickFiles struct {
	spool.Files
	sick *atomic.Bool
}

// errSick is its answer.
var errSick = errors.New("the disk is sick")

func (f sickFiles) Create(name string) (spool.File, error) {
	if f.sick.Load() {
		return nil, errSick
	}
	file, err := f.Files.Create(name)
	return sickFile{file, f.sick}, err
}

type sickFile struct {
	spool.File
	sick *atomic.Bool
}

func (f sickFile) WriteAt(b []byte, at int64) (int, error) {
	if f.sick.Load() {
		return 0, errSick
	}
	return f.File.WriteAt(b, at)
}

// ascending checks that lines came to the server in the order in which they were sent.
func (r *spoolRig) ascending(lines int) {
	r.t.Helper()
	r.d.mutex.Lock()
	defer r.d.mutex.Unlock()
	if len(r.d.order) != lines {
		r.t.Fatalf("%d lines of %d came", len(r.d.order), lines)
	}
	for i, line := range r.d.order {
		if want := fmt.Sprintf(" %d\n", i+1); !strings.HasSuffix(line, want) {
			r.t.Fatalf("line %d is %q", i+1, line)
		}
	}
}

// Goal: with an order kept, what comes when the disk is well again does not pass what is in memory since it
// was sick, also while that is under way. Method: the server has a request with what was in memory, holds it
// until more has come, and refuses it.
func TestMemoryGoesFirstInOrder(t *testing.T) {
	var sick atomic.Bool
	r := newSpoolRig(t, func(r *spoolRig) {
		r.config.Ordered = true
		r.config.Open = func() (*spool.Log, spool.Recovery, error) {
			files, err := spool.OpenDirectory(r.folder)
			if err != nil {
				return nil, spool.Recovery{}, err
			}
			return spool.Open(spool.Config{Files: sickFiles{files, &sick}, SegmentBytes: 64 << 10,
				MaxBytes: 16 << 20})
		}
	})
	came, letGo, requests := make(chan struct{}), make(chan struct{}), 0
	r.d.answer(func(string) int {
		if requests++; requests == 1 {
			close(came)
			<-letGo
		}
		if requests < 5 {
			return http.StatusServiceUnavailable
		}
		return 0
	})
	sick.Store(true)
	failed := time.Now()
	r.send(1, "a")
	<-came
	sick.Store(false)
	r.until("the disk is tried again", func() bool {
		return time.Since(failed) > time.Duration(diskRetry)+100*time.Millisecond
	})
	r.send(1, "a")
	r.until("all is taken", func() bool { return r.spooler.State().Taken == 20 })
	close(letGo)
	r.until("all is delivered", func() bool { return r.spooler.State().Replayed == 20 })
	r.ascending(20)
	r.balance()
}

// sender makes a writer of the rig's pool that sends, in order.
func (r *spoolRig) sender() *influx.Writer {
	r.t.Helper()
	target := r.config.Writer
	heads, err := memoryOf(influx.MemorySize(target))
	if err != nil {
		r.t.Fatal(err)
	}
	target.Pool, target.Memory, target.Aside, target.Ordered = r.pool, heads.Bytes(), true, true
	target.Retry.Max = 10 * time.Second // which bounds a batch's age as well
	w, err := influx.NewWriter(target)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		now, err := monotonic()
		if err != nil {
			r.t.Fatal(err)
		}
		w.Close(now, now+closeTime)
		heads.Close()
	})
	return w
}

// Goal: with an order kept, what is left of a batch that is on disk waits where the batch stands there,
// before those behind it, and what the server has of it is not counted again. Method: a server that takes the
// first half of the first batch.
func TestRestOfABatchKeepsItsPlace(t *testing.T) {
	r := newSpoolRig(t, func(r *spoolRig) { r.config.Ordered = true })
	taken := false
	r.d.answer(func(body string) int {
		switch {
		case strings.Count(body, "\n") > 5:
			return http.StatusRequestEntityTooLarge
		case taken:
			return http.StatusServiceUnavailable
		}
		taken = true
		return 0
	})
	w := r.sender()
	now, err := monotonic()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		r.port.push(spoolItem{kind: spoolAppend, batch: r.sealed()})
		r.until("the batch is on disk", func() bool {
			back, ok := r.port.pop()
			if ok {
				back.batch.Mark = back.sequence
				w.Submit(back.batch, now)
			}
			return ok
		})
	}
	var outcomes []influx.Outcome
	r.until("both have their outcome", func() bool {
		if now, err = monotonic(); err != nil {
			t.Fatal(err)
		}
		w.Poll(now)
		for outcome, ok := w.Outcome(); ok; outcome, ok = w.Outcome() {
			outcomes = append(outcomes, outcome)
		}
		return len(outcomes) == 2
	})
	first, second := outcomes[0], outcomes[1]
	if first.Written != 5 || first.Aside != 5 || second.Aside != 10 {
		t.Fatalf("%+v, %+v, %s", first, second, w.LastError())
	}
	r.port.push(spoolItem{kind: spoolKeep, batch: first.Batch, sequence: first.Batch.Mark, points: 5})
	r.port.push(spoolItem{kind: spoolReplay, sequence: second.Batch.Mark, points: 10})
	r.until("all is taken", func() bool { return r.spooler.State().Taken == 15 })
	r.d.answer(nil)
	r.until("all is delivered", func() bool { return r.spooler.State().Replayed == 15 })
	r.ascending(20)
	if s := r.balance(); s.Disk.Appended != 20 {
		t.Fatalf("something is on disk twice: %+v", s)
	}
}
