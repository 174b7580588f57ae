package influx

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func orderedConfig(address net.Addr, aside bool) Config {
	c := testConfig(address)
	c.Connections, c.Ordered, c.Aside = 1, true, aside
	return c
}

// Goal: without anybody who keeps what goes aside, a batch that fails holds up those behind it, and the
// newest value is what stays. Method: a server that fails twice and then keeps the last value.
func TestOrderedRetryHoldsUpOthers(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		var mutex sync.Mutex
		var stored []string
		s := newServer(t, func(q *request) bool {
			if q.number <= 2 {
				q.answer(500, "", "")
				return true
			}
			mutex.Lock()
			stored = append(stored, q.body)
			mutex.Unlock()
			q.ok()
			return true
		})
		r := newRig(t, ring, 1<<16, orderedConfig(s.listener.Addr(), false))
		for i := range 5 {
			r.submit(fmt.Sprintf("m v=%d 1", i))
			r.turn()
		}
		for range 5 {
			r.expect(1, 0, 0, ReasonNone, 204)
		}
		mutex.Lock()
		defer mutex.Unlock()
		for i, body := range stored {
			if want := fmt.Sprintf("m v=%d 1\n", i); body != want {
				t.Fatalf("request %d is %q, want %q", i, body, want)
			}
		}
	})
}

// Goal: once a batch went aside, all that follow do, in order, even while the server would take them, until
// the caller has caught up. Method: outages at random points of a stream; what was aside and what is stored
// must be in order together.
func TestOrderedAsideStaysBehind(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		var sick atomic.Bool
		var mutex sync.Mutex
		var order []string // as the database and the caller got it
		s := newServer(t, func(q *request) bool {
			if sick.Load() {
				q.answer(500, "", "")
				return true
			}
			mutex.Lock()
			order = append(order, q.body)
			mutex.Unlock()
			q.ok()
			return true
		})
		config := orderedConfig(s.listener.Addr(), true)
		config.Retry.Attempts, config.Retry.Max = 2, 2*time.Millisecond
		r := newRig(t, ring, 1<<12, config)
		r.until("connection", r.writer.Idle)
		sent, kept := 0, 0
		var waiting, aside []string
		settle := func() {
			for _, o := range r.outcomes {
				if o.Aside > 0 {
					waiting = append(waiting, "caller "+string(o.Batch.Body()))
					kept++
				} else if len(waiting) > 0 {
					t.Fatalf("a batch was written past %d that are aside", len(waiting))
				}
				r.pool.Release(o.Batch)
			}
			r.outcomes = r.outcomes[:0]
		}
		for end := time.Now().Add(patience); sent < 400 && time.Now().Before(end); {
			switch sent {
			case 50, 170, 330:
				sick.Store(true)
			case 120, 250, 390:
				sick.Store(false)
			}
			if r.pool.Free() > 0 {
				r.submit(fmt.Sprintf("m v=%d 1", sent))
				sent++
			}
			r.turn()
			settle()
			if sent%60 == 0 && !sick.Load() && len(waiting) > 0 && r.pool.Held() == 0 {
				// The caller delivers, and only then the writer goes on.
				mutex.Lock()
				order = append(order, waiting...)
				mutex.Unlock()
				aside = append(aside, waiting...)
				waiting = nil
				r.writer.Resume()
			}
		}
		r.until("the end", func() bool { settle(); return r.pool.Held() == 0 })
		mutex.Lock()
		defer mutex.Unlock()
		order = append(order, waiting...)
		aside = append(aside, waiting...)
		last := -1
		for _, entry := range order {
			body, byCaller := strings.CutPrefix(entry, "caller ")
			var n int
			if _, err := fmt.Sscanf(body, "m v=%d 1", &n); err != nil {
				t.Fatal(err)
			}
			// One that was given up while it was under way comes twice, and the server may take its time
			// with the first, whose place is not the writer's to say.
			if !byCaller && slices.Contains(aside, "caller "+body) {
				continue
			}
			if n != last+1 {
				t.Fatalf("after %d comes %d", last, n)
			}
			last = n
		}
		if last != sent-1 || kept < 20 {
			t.Fatalf("the last is %d of %d, %d were aside", last, sent, kept)
		}
	})
}

// Goal: a silent server sets everything aside in order before the pool is empty, the request under way first.
func TestOrderedPoolIsKeptFree(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		hold := make(chan struct{})
		s := newServer(t, func(q *request) bool { <-hold; return false })
		defer s.cut()
		defer close(hold)
		r := newRig(t, ring, 1<<12, orderedConfig(s.listener.Addr(), true))
		r.until("connection", r.writer.Idle)
		next := 0
		for i := range 40 {
			r.submit(fmt.Sprintf("m v=%d 1", i))
			r.turn()
			for len(r.outcomes) > 0 {
				if lines := r.expectAside(0, 0, 1); lines[0] != fmt.Sprintf("m v=%d 1\n", next) {
					t.Fatalf("%q went aside, want number %d", lines, next)
				}
				next++
			}
		}
		if next != 40 || !r.writer.Behind() {
			t.Fatalf("%d of 40 are aside", next)
		}
	})
}
