package influx

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// Goal: failures of the connection itself lead to the same bytes once more. Method: the first connection
// fails in a way of its own, the others are fine.
func TestBrokenConnections(t *testing.T) {
	for name, first := range map[string]func(q *request) bool{
		"closed":   func(*request) bool { return false },
		"reset":    func(q *request) bool { reset(q.conn); return false },
		"nonsense": func(q *request) bool { io.WriteString(q.conn, "SSH-2.0-x\r\n"); return true },
		"half":     func(q *request) bool { io.WriteString(q.conn, "HTTP/1.1 204 No Con"); return false },
		"cut body": func(q *request) bool {
			io.WriteString(q.conn, "HTTP/1.1 500 X\r\nContent-Length: 9\r\n\r\nx")
			return false
		},
		"too short": func(q *request) bool {
			io.WriteString(q.conn, "HTTP/1.1 204 No Content\r\n")
			reset(q.conn)
			return false
		},
	} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, ring bool) {
				s := newServer(t, func(q *request) bool {
					if q.number == 1 {
						return first(q)
					}
					q.ok()
					return true
				})
				r := newRig(t, ring, 1<<16, testConfig(s.listener.Addr()))
				r.submit(points(100, 0)...)
				r.expect(100, 0, 0, ReasonNone, 204)
				if seen := s.seen(); len(seen) != 2 || !same(seen) {
					t.Fatalf("%d requests, alike %t", len(seen), same(seen))
				}
				if stats := r.writer.Stats(); stats.Requests["error"] != 1 || stats.Requests["204"] != 1 {
					t.Fatalf("stats %+v", stats)
				}
			})
		})
	}
}

// Goal: answers in odd forms are understood. Method: the answer comes in pieces, in chunks, after an interim
// one, and byte by byte.
func TestOddAnswers(t *testing.T) {
	for name, pieces := range map[string][]string{
		"byte by byte": strings.Split("HTTP/1.1 204 No Content\r\nX: y\r\n\r\n", ""),
		"chunks":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", "\r\n"},
		"interim":      {"HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 204 No Content\r\n\r\n"},
		"to the end":   {"HTTP/1.0 200 OK\r\n\r\nso much"},
		"long header":  {"HTTP/1.1 204 No Content\r\nX: ", strings.Repeat("long", 1<<16), "\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, ring bool) {
				s := newServer(t, func(q *request) bool {
					for _, piece := range pieces {
						io.WriteString(q.conn, piece)
					}
					return name != "to the end"
				})
				r := newRig(t, ring, 1<<16, testConfig(s.listener.Addr()))
				for range 3 {
					r.submit("m v=1 1")
					if o := r.outcome(); o.Written != 1 {
						t.Fatalf("%+v", o)
					}
				}
				if n := len(s.seen()); n != 3 {
					t.Fatalf("%d requests, want 3", n)
				}
			})
		})
	}
}

// Goal: a server that is silent longer than the timeout does not hold anything for good.
func TestSilence(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		silent := make(chan struct{})
		defer close(silent)
		s := newServer(t, func(q *request) bool {
			if q.number == 1 {
				<-silent
				return false
			}
			q.ok()
			return true
		})
		config := testConfig(s.listener.Addr())
		r := newRig(t, ring, 1<<16, config)
		r.submit(points(7, 0)...)
		r.until("request", func() bool { return len(s.seen()) == 1 })
		r.skew += int64(config.Timeout)
		r.expect(7, 0, 0, ReasonNone, 204)
		if stats := r.writer.Stats(); stats.Requests["error"] != 1 {
			t.Fatalf("stats %+v", stats)
		}
		s.cut()
		silent <- struct{}{}
	})
}

// Goal: an answer that drips past the timeout counts as none. Method: the server sends a part and stops.
func TestDrip(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		hold := make(chan struct{})
		s := newServer(t, func(q *request) bool {
			if q.number == 1 {
				io.WriteString(q.conn, "HTTP/1.1 20")
				<-hold
				return false
			}
			q.ok()
			return true
		})
		config := testConfig(s.listener.Addr())
		r := newRig(t, ring, 1<<16, config)
		r.submit("m v=1 1")
		r.until("part of an answer", func() bool {
			started := func(c connection) bool { return c.response.started() }
			return slices.ContainsFunc(r.writer.connections, started)
		})
		r.skew += int64(config.Timeout)
		r.expect(1, 0, 0, ReasonNone, 204)
		close(hold)
	})
}

// Goal: a server that closes its idle connections costs no attempt, even when it does so as the next request
// is on its way. Method: one attempt is all there is.
func TestKeepAliveEnds(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		s := newServer(t, func(q *request) bool {
			if q.connection == 1 && len(q.lines()) == 2 {
				reset(q.conn)
				return false
			}
			q.ok()
			return true
		})
		config := testConfig(s.listener.Addr())
		config.Retry.Attempts, config.Connections = 1, 1
		r := newRig(t, ring, 1<<16, config)
		r.submit("m v=1 1")
		r.expect(1, 0, 0, ReasonNone, 204)
		r.submit("m v=1 1", "m v=2 2")
		r.expect(2, 0, 0, ReasonNone, 204)
		// And while idle: the connection is made anew before anybody needs it.
		before := r.writer.Stats().Connects
		s.cut()
		r.until("new connection", func() bool {
			return r.writer.Stats().Connects == before+1 && r.writer.Idle()
		})
		r.submit("m v=1 1")
		r.expect(1, 0, 0, ReasonNone, 204)
	})
}

// Goal: an absent server costs no attempts, only age. Method: nobody listens; then somebody does; then the
// clock is turned.
func TestAbsentServer(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		address := listener.Addr()
		listener.Close()
		config := testConfig(address)
		config.Retry.Attempts, config.Retry.Max = 1, 10*time.Second
		r := newRig(t, ring, 1<<16, config)
		r.submit(points(5, 0)...)
		r.until("failed connects", func() bool { return r.writer.Stats().Failures >= 6 })
		if r.writer.Up() || !strings.Contains(r.writer.LastError(), "connect to "+address.String()) {
			t.Fatalf("up %t, last error %q", r.writer.Up(), r.writer.LastError())
		}
		s := newServerAt(t, address.String(), func(q *request) bool { q.ok(); return true })
		r.expect(5, 0, 0, ReasonNone, 204)
		if !r.writer.Up() || r.writer.LastError() != "" {
			t.Fatalf("up %t, last error %q", r.writer.Up(), r.writer.LastError())
		}
		s.stop()
		r.until("loss", func() bool { return !r.writer.Up() })
		r.submit(points(5, 0)...)
		r.turn()
		r.skew += int64(10 * time.Second)
		r.expect(0, 0, 5, ReasonUndelivered, 0)
	})
}

func TestNameNotResolvedYet(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		s := newServer(t, func(q *request) bool { q.ok(); return true })
		config := testConfig(s.listener.Addr())
		address := config.Address
		config.Address = netip.AddrPort{}
		r := newRig(t, ring, 1<<16, config)
		r.submit("m v=1 1")
		r.turn()
		r.turn()
		if len(r.outcomes) > 0 || r.writer.Stats().Failures > 0 {
			t.Fatalf("outcomes %v, stats %+v", r.outcomes, r.writer.Stats())
		}
		r.writer.Retarget(address)
		r.expect(1, 0, 0, ReasonNone, 204)
	})
}

func TestRetarget(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		hold := make(chan struct{})
		old := newServer(t, func(q *request) bool { <-hold; q.ok(); return true })
		s := newServer(t, func(q *request) bool { q.ok(); return true })
		r := newRig(t, ring, 1<<16, testConfig(old.listener.Addr()))
		r.submit("m v=1 1")
		r.until("request", func() bool { return len(old.seen()) == 1 })
		r.writer.Retarget(netip.MustParseAddrPort(s.listener.Addr().String()))
		r.submit("m v=2 2")
		r.expect(1, 0, 0, ReasonNone, 204)
		close(hold)
		r.expect(1, 0, 0, ReasonNone, 204)
		r.submit("m v=3 3")
		r.expect(1, 0, 0, ReasonNone, 204)
		if len(old.seen()) != 1 || len(s.seen()) != 2 {
			t.Fatalf("%d requests at the old address, %d at the new one", len(old.seen()), len(s.seen()))
		}
	})
}

// Goal: with the server killed in the middle of it and started again, every point arrives.
func TestServerIsKilledAndHeals(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		stored := make(chan string, 10_000)
		script := func(q *request) bool {
			for _, line := range q.lines() {
				stored <- line
			}
			q.ok()
			return true
		}
		s := newServer(t, script)
		address := s.listener.Addr().String()
		config := testConfig(s.listener.Addr())
		config.Retry.Attempts = 100
		r := newRig(t, ring, 1<<20, config)
		const batches, each = 60, 50
		sent, faults := 0, 0
		for end := time.Now().Add(patience); sent < batches || r.pool.Held() > 0; {
			if sent < batches && r.pool.Free() > 0 {
				lines := points(each, 1000)
				for j := range lines {
					lines[j] = fmt.Sprintf("b%d,%s", sent, lines[j])
				}
				r.submit(lines...)
				sent++
			}
			switch {
			case sent == 20 && faults == 0:
				s.cut()
				faults++
			case sent == 40 && faults == 1:
				s.stop()
				s = newServerAt(t, address, script)
				faults++
			}
			r.turn()
			if len(r.outcomes) > 0 {
				r.expect(each, 0, 0, ReasonNone, 204)
			} else if r.pool.Free() == 0 || sent == batches {
				r.sleep()
			}
			if time.Now().After(end) {
				t.Fatalf("%d points are still held: %+v", r.pool.Held(), r.writer.Stats())
			}
		}
		s.stop()
		close(stored)
		unique := map[string]bool{}
		for line := range stored {
			unique[line] = true
		}
		if len(unique) != batches*each {
			t.Fatalf("%d points are stored, want %d", len(unique), batches*each)
		}
	})
}
