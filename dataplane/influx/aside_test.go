package influx

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// asideConfig is for a caller who keeps what cannot be delivered.
func asideConfig(address net.Addr) Config {
	c := testConfig(address)
	c.Aside = true
	return c
}

// expectAside waits for the next outcome, which must have so many points aside, and returns their lines.
func (r *rig) expectAside(written, rejected, aside int) []string {
	r.t.Helper()
	r.until("outcome", func() bool { return len(r.outcomes) > 0 })
	o := r.outcomes[0]
	r.outcomes = r.outcomes[1:]
	if o.Written != written || o.Rejected != rejected || o.Aside != aside || o.Undelivered != 0 {
		r.t.Fatalf("outcome %+v, want %d written, %d rejected, %d aside", o, written, rejected, aside)
	}
	var lines []string
	body, end := o.Batch.Body(), 0
	for _, p := range o.Batch.Rest() {
		if p.From < end {
			r.t.Fatalf("a part begins at %d, the one before ends at %d", p.From, end)
		}
		end = p.To
		n := 0
		for at := p.From; at < p.To; n++ {
			next := lineEnd(body[:p.To], at)
			lines = append(lines, string(body[at:next]))
			at = next
		}
		if n != p.Points {
			r.t.Fatalf("part %+v has %d lines", p, n)
		}
	}
	if len(lines) != aside {
		r.t.Fatalf("the rest is %d lines, want %d", len(lines), aside)
	}
	if aside > 0 && o.Reason != ReasonAside {
		r.t.Fatalf("reason %s", o.Reason)
	}
	r.pool.Release(o.Batch)
	return lines
}

func TestRetriesEndAside(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		s := newServer(t, func(q *request) bool { q.answer(500, "", ""); return true })
		r := newRig(t, ring, 1<<16, asideConfig(s.listener.Addr()))
		lines := points(7, 0)
		r.submit(lines...)
		if rest := r.expectAside(0, 0, 7); strings.Join(rest, "") != text(lines) {
			t.Fatalf("the rest is %q", rest)
		}
		if n := len(s.seen()); n != 3 {
			t.Fatalf("%d requests, want 3", n)
		}
	})
}

// Goal: what is set aside is exactly what the server has neither stored nor refused. Method: the server takes
// short requests only and refuses bad lines, so that the batch is cut; from a random request on it fails.
func TestRestIsExact(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		for fails := 1; fails < 24; fails += 3 {
			var mutex sync.Mutex
			stored, refused := map[string]bool{}, 0
			s := newServer(t, func(q *request) bool {
				mutex.Lock()
				defer mutex.Unlock()
				lines := q.lines()
				switch {
				case q.number >= fails:
					q.answer(503, "", "")
				case len(q.body) > 1500:
					q.answer(413, "", "")
				case strings.Contains(q.body, "bad"):
					if len(lines) == 1 {
						refused++
					}
					q.answer(400, "", `{"code":"invalid","message":"unable to parse"}`)
				default:
					for _, line := range lines {
						stored[line] = true
					}
					q.ok()
				}
				return true
			})
			r := newRig(t, ring, 1<<16, asideConfig(s.listener.Addr()))
			lines := points(200, 60)
			lines[2], lines[90], lines[199] = "bad v=1 1", "bad v=2 2", "bad v=3 3"
			r.submit(lines...)
			r.until("outcome", func() bool { return len(r.outcomes) > 0 })
			mutex.Lock()
			written, rejected := len(stored), refused
			mutex.Unlock()
			for _, line := range r.expectAside(written, rejected, 200-written-rejected) {
				if stored[line] {
					t.Fatalf("%q is stored and set aside", line)
				}
			}
		}
	})
}

// Goal: a silent server does not use up the pool: before it is empty, what has waited the longest goes aside.
func TestPoolIsKeptFree(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		hold := make(chan struct{})
		s := newServer(t, func(q *request) bool { <-hold; q.ok(); return true })
		defer s.cut()
		defer close(hold)
		r := newRig(t, ring, 1<<12, asideConfig(s.listener.Addr()))
		r.until("connection", func() bool { return r.writer.established() == 2 })
		for i := range 100 {
			r.submit(fmt.Sprintf("m v=1 %d", i))
			r.turn()
			for len(r.outcomes) > 0 {
				if lines := r.expectAside(0, 0, 1); i < 12 {
					t.Fatalf("%q went aside although the pool was far from empty", lines)
				}
			}
		}
		if free := r.pool.Free(); free != r.pool.Size()/asideShare {
			t.Fatalf("%d batches are free of %d", free, r.pool.Size())
		}
	})
}

// Goal: at its end a writer leaves to the caller what was not answered.
func TestCloseSetsAside(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		hold := make(chan struct{})
		s := newServer(t, func(q *request) bool { <-hold; return false })
		defer s.cut()
		defer close(hold)
		r := newRig(t, ring, 1<<16, asideConfig(s.listener.Addr()))
		r.until("connection", func() bool { return r.writer.established() == 2 })
		for range 3 {
			r.submit(points(5, 0)...)
		}
		r.until("requests", func() bool { return len(s.seen()) == 2 })
		now := r.now()
		r.writer.Close(now, now+int64(patience))
		for range 3 {
			r.expectAside(0, 0, 5)
		}
		r.submit("m v=1 1")
		r.expectAside(0, 0, 1)
	})
}

// Goal: the breaker opens after failures in a row, lets nothing through while it is open and one batch when
// it is time, and closes with that one's success; meanwhile everything else goes aside at once. Method: the
// clock is the test's.
func TestBreaker(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		var sick atomic.Bool
		sick.Store(true)
		s := newServer(t, func(q *request) bool {
			if sick.Load() {
				q.answer(500, "", "")
			} else {
				q.ok()
			}
			return true
		})
		config := asideConfig(s.listener.Addr())
		config.Retry.Attempts, config.Retry.First = 1, time.Hour
		config.Retry.Max = time.Hour
		r := newRig(t, ring, 1<<16, config)
		r.until("connection", func() bool { return r.writer.established() == 2 })
		state := func(want BreakerState) {
			t.Helper()
			if got := r.writer.Breaker(); got != want {
				t.Fatalf("the breaker is %s, want %s", got, want)
			}
		}
		for i := range breakerFailures {
			state(BreakerClosed)
			r.submit(fmt.Sprintf("m v=1 %d", i))
			r.expectAside(0, 0, 1)
		}
		state(BreakerOpen)
		vain := func(requests int) {
			t.Helper()
			for range 10 {
				r.submit("m v=1 1")
				r.expectAside(0, 0, 1)
			}
			if n := len(s.seen()); n != requests {
				t.Fatalf("%d requests, want %d: something was tried in vain", n, requests)
			}
		}
		vain(breakerFailures)
		// One probe, while others pass it by; it fails.
		r.skew += int64(probeMax)
		r.turn()
		state(BreakerHalfOpen)
		r.submit("m v=1 1")
		r.submit("m v=2 2")
		r.expectAside(0, 0, 1)
		r.expectAside(0, 0, 1)
		state(BreakerOpen)
		vain(breakerFailures + 1)
		// The next one succeeds.
		sick.Store(false)
		r.skew += int64(probeMax)
		r.submit("m v=1 1")
		r.expectAside(1, 0, 0)
		state(BreakerClosed)
		for range 2 * breakerFailures {
			r.submit("m v=1 1")
			r.expectAside(1, 0, 0)
		}
	})
}

// Goal: a wrong target opens the breaker at once, nothing is lost, and success follows its mending.
func TestWrongTargetOpensBreaker(t *testing.T) {
	for _, status := range []int{401, 403, 404} {
		overBoth(t, func(t *testing.T, ring bool) {
			var mended atomic.Bool
			s := newServer(t, func(q *request) bool {
				if !mended.Load() {
					q.answer(status, "", `{"error":"no"}`)
				} else {
					q.ok()
				}
				return true
			})
			r := newRig(t, ring, 1<<16, asideConfig(s.listener.Addr()))
			r.submit(points(3, 0)...)
			r.expectAside(0, 0, 3)
			if r.writer.Breaker() != BreakerOpen || len(s.seen()) != 1 {
				t.Fatalf("the breaker is %s after %d requests", r.writer.Breaker(), len(s.seen()))
			}
			mended.Store(true)
			r.skew += int64(probeMax)
			r.submit(points(3, 0)...)
			r.expectAside(3, 0, 0)
		})
	}
}

// Goal: without a server a writer stops waiting for it after some rounds, tries one connection from then on,
// and what comes goes aside at once.
func TestAbsentServerOpensBreaker(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := listener.Addr()
		listener.Close()
		r := newRig(t, ring, 1<<16, asideConfig(address))
		r.submit(points(5, 0)...)
		r.expectAside(0, 0, 5)
		if n := r.writer.Stats().Failures; n != 2*breakerFailures {
			t.Fatalf("%d connects failed, want %d rounds of 2", n, breakerFailures)
		}
		r.submit(points(5, 0)...)
		r.expectAside(0, 0, 5)
		r.until("another failure", func() bool { return r.writer.Stats().Failures == 2*breakerFailures+1 })
		s := newServerAt(t, address.String(), func(q *request) bool { q.ok(); return true })
		r.until("connection", func() bool { return r.writer.established() == 1 })
		// It is not half-open for ever where nothing comes that it could be tried with.
		if state := r.writer.Breaker(); state != BreakerClosed {
			t.Fatalf("with a connection the breaker is %s", state)
		}
		r.submit(points(5, 0)...)
		r.expectAside(5, 0, 0)
		r.until("all connections", func() bool { return r.writer.established() == 2 })
		if n := len(s.seen()); n != 1 {
			t.Fatalf("%d requests", n)
		}
	})
}

// Goal: a connection alone does not close a breaker that a server's answers have opened; somebody else's
// success does, and one failure opens it again. Method: a server that refuses and closes the connection.
func TestBreakerTrustsOthers(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		s := newServer(t, func(q *request) bool {
			q.answer(500, "Connection: close\r\n", "")
			return false
		})
		config := asideConfig(s.listener.Addr())
		// With one, each failure takes a connection of its own.
		config.Retry.Attempts, config.Connections = 1, 1
		r := newRig(t, ring, 1<<16, config)
		fail := func() {
			t.Helper()
			r.until("connection", func() bool { return r.writer.established() > 0 })
			r.submit("m v=1 1")
			r.expectAside(0, 0, 1)
		}
		for range breakerFailures {
			fail()
		}
		r.until("another connection", func() bool { return r.writer.Stats().Connects > breakerFailures })
		if state := r.writer.Breaker(); state == BreakerClosed {
			t.Fatal("a connection closed the breaker")
		}
		r.writer.Trust()
		if state := r.writer.Breaker(); state != BreakerClosed {
			t.Fatalf("with trust the breaker is %s", state)
		}
		fail()
		if state := r.writer.Breaker(); state != BreakerOpen {
			t.Fatalf("after one more failure the breaker is %s", state)
		}
	})
}

// Goal: while the breaker is open and nobody keeps what goes aside, batches wait, and one of them tries.
func TestBreakerWithoutAside(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		var mended atomic.Bool
		s := newServer(t, func(q *request) bool {
			if !mended.Load() {
				q.answer(404, "", "")
			} else {
				q.ok()
			}
			return true
		})
		r := newRig(t, ring, 1<<16, testConfig(s.listener.Addr()))
		r.until("connection", r.writer.Idle)
		r.submit("m v=0 0")
		r.until("hold", func() bool { return r.writer.Breaker() == BreakerOpen })
		for i := range 4 {
			r.submit(fmt.Sprintf("m v=%d %d", i, i))
		}
		r.until("a second refusal", func() bool { return r.writer.Stats().Requests["404"] == 2 })
		if stats := r.writer.Stats(); stats.Waiting != 5 || stats.Breaker != BreakerOpen {
			t.Fatalf("%+v", stats)
		}
		mended.Store(true)
		for range 5 {
			r.expect(1, 0, 0, ReasonNone, 204)
		}
	})
}

// Goal: another token is used from the next request on, at once where the old one was refused, and requests
// under way keep theirs.
func TestReauthorize(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		s := newServer(t, func(q *request) bool {
			if q.head.Get("Authorization") != "Token new" {
				q.answer(401, "", `{"error":"unauthorized"}`)
			} else {
				q.ok()
			}
			return true
		})
		config := testConfig(s.listener.Addr())
		config.Authorization = "Token old"
		r := newRig(t, ring, 1<<16, config)
		r.submit("m v=1 1")
		r.until("hold", func() bool { return r.writer.Breaker() == BreakerOpen })
		for _, bad := range []string{"Token a\r\nX: y", "Token " + strings.Repeat("x", 2000)} {
			if err := r.writer.Reauthorize(bad); err == nil {
				t.Fatalf("%.20q is taken", bad)
			}
		}
		if err := r.writer.Reauthorize("Token new"); err != nil {
			t.Fatal(err)
		}
		r.expect(1, 0, 0, ReasonNone, 204)
		if !r.writer.Up() || strings.Contains(r.writer.LastError(), "old") {
			t.Fatalf("up %t, %q", r.writer.Up(), r.writer.LastError())
		}
	})
}
