package influx

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestWritten(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		s := newServer(t, func(q *request) bool { q.ok(); return true })
		config := testConfig(s.listener.Addr())
		config.Authorization = "Token u:p"
		r := newRig(t, ring, 1<<20, config)
		if r.writer.Idle() || r.writer.Up() {
			t.Fatal("a writer is idle or up before it is connected")
		}
		r.until("connection", r.writer.Idle)
		small, large := points(2, 0), points(4000, 200)
		r.submit(small...)
		r.expect(2, 0, 0, ReasonNone, 204)
		r.submit(large...)
		r.expect(4000, 0, 0, ReasonNone, 204)
		seen := s.seen()
		if len(seen) != 2 || seen[0].body != text(small) || seen[1].body != text(large) {
			t.Fatalf("the server saw %d requests with other bodies", len(seen))
		}
		h := seen[0].head
		if seen[0].path != config.Path || h.Get("Authorization") != "Token u:p" ||
			h.Get("User-Agent") != "culvert" {
			t.Fatalf("request %s %v", seen[0].path, h)
		}
		if !r.writer.Up() || r.writer.LastError() != "" || r.pool.Held() != 0 {
			t.Fatalf("up %t, error %q, held %d", r.writer.Up(), r.writer.LastError(), r.pool.Held())
		}
		if stats := r.writer.Stats(); stats.Requests["204"] != 2 || stats.Connections != 2 {
			t.Fatalf("stats %+v", stats)
		}
	})
}

// Goal: what each answer leads to. Method: a server that answers a request's first time as the row says and
// afterwards with 204, so that what waits is written in the end.
func TestPolicy(t *testing.T) {
	partial := func(message string) string { return fmt.Sprintf(`{"error":"%s"}`, message) }
	const one = "X-Influxdb-Version: 1.6.7\r\n"
	for _, row := range []struct {
		name                  string
		status                int
		headers, body         string
		written, rejected     int
		reason                Reason
		code, requests, jumps int // jumps: seconds by which the clock is turned forward after the answer
	}{
		{"200", 200, "", "fine", 4, 0, ReasonNone, 200, 1, 0},
		{"400 conflict", 400, one, partial("partial write: field type conflict: x dropped=2"),
			4, 0, ReasonNone, 204, 3, 0},
		{"400 all in conflict", 400, one, partial("partial write: field type conflict: x dropped=4"),
			0, 4, ReasonPartial, 400, 1, 0},
		{"400 unparsed", 400, one, partial("partial write: " + unparsed1 + unparsed2 + " dropped=0"),
			4, 0, ReasonNone, 204, 3, 0},
		{"400 all unparsed", 400, one, partial(unparsed1 + unparsed2), 0, 4, ReasonRefused, 400, 1, 0},
		{"400 version 3", 400, "", `{"error":"partial write of line protocol occurred","data":[` +
			`{"original_line":"m","line_number":2,"error_message":"x"}]}`, 3, 1, ReasonPartial, 400, 1, 0},
		{"422", 422, "", `{"message":"failure writing points to database: partial write: x dropped=3"}`,
			4, 0, ReasonNone, 204, 3, 0},
		{"400 once", 400, "", partial("something else"), 4, 0, ReasonNone, 204, 3, 0},
		{"413 once", 413, "", "", 4, 0, ReasonNone, 204, 3, 0},
		{"500 conflict", 500, "", partial("partial write: field type conflict: x dropped=1"),
			4, 0, ReasonNone, 204, 3, 0},
		{"500", 500, "", partial("engine: timeout"), 4, 0, ReasonNone, 204, 2, 0},
		{"502", 502, "", "<html>", 4, 0, ReasonNone, 204, 2, 0},
		{"503 with a wait", 503, "Retry-After: 30\r\n", "", 4, 0, ReasonNone, 204, 2, 30},
		{"429 with a wait", 429, "Retry-After: 9999\r\n", "", 4, 0, ReasonNone, 204, 2, 60},
		{"408", 408, "", "", 4, 0, ReasonNone, 204, 2, 0},
		{"408 and close", 408, "Connection: close\r\n", "", 4, 0, ReasonNone, 204, 2, 0},
		{"401", 401, "", "", 4, 0, ReasonNone, 204, 2, 6},
		{"403", 403, "", "", 4, 0, ReasonNone, 204, 2, 6},
		{"404", 404, "", partial("database not found"), 4, 0, ReasonNone, 204, 2, 6},
		{"307", 307, "Location: /\r\n", "", 4, 0, ReasonNone, 204, 2, 6},
		{"400 no database", 400, one, partial("database is required"), 4, 0, ReasonNone, 204, 2, 6},
		{"500 no policy", 500, one, partial("retention policy not found: x"), 4, 0, ReasonNone, 204, 2, 6},
	} {
		t.Run(row.name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, ring bool) {
				s := newServer(t, func(q *request) bool {
					if q.number > 1 {
						q.ok()
						return true
					}
					q.answer(row.status, row.headers, row.body)
					return !strings.Contains(row.headers, "close")
				})
				r := newRig(t, ring, 1<<16, testConfig(s.listener.Addr()))
				r.submit(points(4, 0)...)
				if row.jumps > 0 {
					r.until("pause", func() bool { return !r.writer.sends() && !r.writer.busy() })
					if r.writer.Idle() || r.writer.Up() || r.writer.LastError() == "" {
						t.Fatal("a writer that was told off is idle or up, or says nothing")
					}
					jump := int64(row.jumps) * int64(time.Second)
					r.skew += jump - int64(time.Second)
					r.turn()
					if n := len(s.seen()); n != 1 && row.jumps != 6 {
						t.Fatalf("%d requests before the pause is over", n)
					}
					r.skew += int64(time.Second)
				}
				r.expect(row.written, row.rejected, 0, row.reason, row.code)
				if n := len(s.seen()); n != row.requests {
					t.Fatalf("%d requests, want %d", n, row.requests)
				}
				if row.rejected > 0 && r.writer.LastReject() == "" {
					t.Fatal("the server's words are lost")
				}
				if !r.writer.Up() {
					t.Fatalf("not up after all: %q", r.writer.LastError())
				}
			})
		})
	}
}

// Goal: only the bad points of a batch are lost to a server that stores all or nothing. Method: the server
// refuses any request with a bad line in it and keeps the others.
func TestHalving(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		var mutex sync.Mutex
		stored := map[string]bool{}
		s := newServer(t, func(q *request) bool {
			if strings.Contains(q.body, "bad") {
				q.answer(400, "", `{"code":"invalid","message":"unable to parse 'x': bad"}`)
				return true
			}
			mutex.Lock()
			defer mutex.Unlock()
			for _, line := range q.lines() {
				stored[line] = true
			}
			q.ok()
			return true
		})
		r := newRig(t, ring, 1<<18, testConfig(s.listener.Addr()))
		lines := points(1000, 0)
		lines[0], lines[617], lines[999] = "bad,n=0 v=1 1", "bad,n=1 s=\"a\nb\" 2", "bad,n=2 v=1 3"
		r.submit(lines...)
		r.expect(997, 3, 0, ReasonRefused, 400)
		mutex.Lock()
		defer mutex.Unlock()
		if len(stored) != 997 {
			t.Fatalf("%d points are stored, want 997", len(stored))
		}
		if r.writer.LastReject() != "unable to parse 'x': bad" {
			t.Fatalf("last reject %q", r.writer.LastReject())
		}
	})
}

// Goal: a batch of nothing but refused points ends, and others go on.
func TestHalvingIsBounded(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		s := newServer(t, func(q *request) bool {
			if strings.Contains(q.body, "bad") {
				q.answer(400, "", `{"code":"invalid","message":"unable to parse 'something else': no"}`)
				return true
			}
			q.ok()
			return true
		})
		r := newRig(t, ring, 1<<18, testConfig(s.listener.Addr()))
		bad := make([]string, 3000)
		for i := range bad {
			bad[i] = fmt.Sprintf("bad v=%d", i)
		}
		r.submit(bad...)
		r.submit("good v=1")
		var outcomes []Outcome
		for range 2 {
			outcomes = append(outcomes, r.outcome())
		}
		if outcomes[0].Written != 1 || outcomes[1].Rejected != 3000 || outcomes[1].Reason != ReasonRefused {
			t.Fatalf("outcomes %+v", outcomes)
		}
		if n := len(s.seen()); n > 2+2*halvesMax {
			t.Fatalf("%d requests for one batch", n)
		}
	})
}

// Goal: a server's limit is met and learnt. Method: it refuses longer requests, early and late, and closes.
func TestLimitIsLearnt(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		var refused atomic.Int32
		s := newServer(t, func(q *request) bool {
			if len(q.body) > 3000 {
				refused.Add(1)
				q.answer(413, "Connection: close\r\n", `{"error":"Request Entity Too Large"}`)
				return false
			}
			q.ok()
			return true
		})
		r := newRig(t, ring, 1<<16, testConfig(s.listener.Addr()))
		r.submit(points(400, 100)...)
		r.expect(400, 0, 0, ReasonNone, 204)
		before := refused.Load()
		r.submit(points(400, 100)...)
		r.expect(400, 0, 0, ReasonNone, 204)
		if refused.Load() != before || before > 8 {
			t.Fatalf("%d and %d requests were too long", before, refused.Load()-before)
		}
		r.submit("m v=\"" + strings.Repeat("x", 5000) + "\" 1")
		r.expect(0, 1, 0, ReasonRefused, 413)
	})
}

// Goal: an answer that comes before the request has been read counts. Method: the server answers after the
// head and resets the connection, with a body longer than the socket takes.
func TestEarlyAnswer(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go func() {
					conn.(*net.TCPConn).SetReadBuffer(4096)
					conn.Read(make([]byte, 20))
					io.WriteString(conn, "HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
					io.Copy(io.Discard, io.LimitReader(conn, 1<<20))
					conn.Close()
				}()
			}
		}()
		r := newRig(t, ring, 8<<20, testConfig(listener.Addr()))
		r.submit(points(35_000, 200)...)
		r.until("hold", func() bool { return r.writer.Breaker() == BreakerOpen })
		if stats := r.writer.Stats(); stats.Requests["401"] != 1 {
			t.Fatalf("stats %+v", stats)
		}
	})
}

func TestRetriesEnd(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		s := newServer(t, func(q *request) bool { q.answer(503, "", ""); return true })
		r := newRig(t, ring, 1<<16, testConfig(s.listener.Addr()))
		r.submit(points(7, 0)...)
		r.expect(0, 0, 7, ReasonUndelivered, 503)
		if seen := s.seen(); len(seen) != 3 || !same(seen) {
			t.Fatalf("%d requests, alike %t; want 3 alike", len(seen), same(seen))
		}
	})
}

// Goal: a batch that waits for its retry does not hold up others. Method: the first batch fails and waits for
// a long time; the second passes.
func TestRetryDoesNotHoldUpOthers(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		s := newServer(t, func(q *request) bool {
			if q.number == 1 {
				q.answer(500, "", "")
				return true
			}
			q.ok()
			return true
		})
		config := testConfig(s.listener.Addr())
		config.Connections = 1
		config.Retry.First, config.Retry.Max = time.Hour, time.Hour
		r := newRig(t, ring, 1<<16, config)
		first := r.submit("m v=1 1")
		r.until("failure", func() bool { return r.writer.Stats().Requests["500"] == 1 })
		second := r.submit("m v=2 2")
		if o := r.outcome(); o.Batch != second || o.Written != 1 {
			t.Fatalf("%+v", o)
		}
		r.skew += int64(time.Hour)
		if o := r.outcome(); o.Batch != first || o.Written != 1 {
			t.Fatalf("%+v", o)
		}
	})
}

// Goal: closing settles everything as undelivered, gives all memory back and leaks no descriptor, whatever is
// under way: a request, a connect, a wait.
func TestClose(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		hold := make(chan struct{})
		defer close(hold)
		s := newServer(t, func(q *request) bool { <-hold; return false })
		config := testConfig(s.listener.Addr())
		before := openFiles(t)
		r := newRig(t, ring, 1<<20, config)
		r.until("connection", r.writer.Idle)
		for range 4 {
			r.submit(points(5000, 100)...)
		}
		r.until("requests", func() bool { return len(s.seen()) == 2 })
		now := r.now()
		r.writer.Close(now, now+int64(patience))
		r.writer.Close(now, now+int64(patience))
		for range 4 {
			r.expect(0, 0, 5000, ReasonUndelivered, 0)
		}
		r.submit("m v=1 1")
		r.expect(0, 0, 1, ReasonUndelivered, 0)
		if r.pool.Held() != 0 || r.pool.Free() != r.pool.Size() || !r.writer.Quiet() {
			t.Fatalf("held %d, %d of %d batches free", r.pool.Held(), r.pool.Free(), r.pool.Size())
		}
		s.cut()
		for range 2 {
			hold <- struct{}{}
		}
		s.stop()
		after := openFiles(t)
		if ring {
			after-- // the ring itself, which is closed later
		}
		if after > before-1 { // the server's listener is gone
			t.Fatalf("%d descriptors, before it were %d", after, before)
		}
	})
}

func TestConfigIsChecked(t *testing.T) {
	pool, _ := NewPool(make([]byte, 64), 64)
	good := testConfig(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
	good.Pool = pool
	good.Memory = make([]byte, MemorySize(good))
	if _, err := NewWriter(good); err != nil {
		t.Fatal(err)
	}
	f := func(what string, spoil func(c *Config)) {
		t.Helper()
		c := good
		spoil(&c)
		if _, err := NewWriter(c); err == nil {
			t.Errorf("%s is accepted", what)
		}
	}
	f("no connection", func(c *Config) { c.Connections = 0 })
	f("too many connections", func(c *Config) { c.Connections = connectionsMax + 1 })
	f("no timeout", func(c *Config) { c.Timeout = 0 })
	f("no attempt", func(c *Config) { c.Retry.Attempts = 0 })
	f("no first wait", func(c *Config) { c.Retry.First = 0 })
	f("a first wait beyond the last", func(c *Config) { c.Retry.First = time.Hour })
	f("jitter beyond all", func(c *Config) { c.Retry.Jitter = 2 })
	f("no pool", func(c *Config) { c.Pool = nil })
	f("too little memory", func(c *Config) { c.Memory = c.Memory[1:] })
	f("no host", func(c *Config) { c.Host = "" })
	f("no path", func(c *Config) { c.Path = "write" })
	f("a header within a header", func(c *Config) { c.UserAgent = "x\r\nY: z" })
}
