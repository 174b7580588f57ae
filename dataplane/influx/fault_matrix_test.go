package influx

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http/httptest"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// wireFaults are ways in which a server goes wrong until it heals.
var wireFaults = []struct {
	name string
	play func(x *exchange) bool
}{
	// It says that it does not want the points now, or not from this sender, and stores none of them.
	{"408", refusing(408, "", "")},
	{"413 beyond some bytes", tooLong(900)},
	{"413 before the body has come", func(x *exchange) bool {
		if x.readHead() && x.size() > 900 {
			x.send(withBody("413 Request Entity Too Large", "Connection: close\r\n", "too large"))
			return x.cut()
		}
		return sound(x)
	}},
	{"429 with seconds", refusing(429, "Retry-After: 1\r\n", `{"code":"too many requests","message":"x"}`)},
	{"503 with a date", refusing(503, "Date: Sat, 21 Nov 2026 08:48:17 GMT\r\n"+
		"Retry-After: Sat, 21 Nov 2026 08:48:18 GMT\r\n", "")},
	{"503 with a date that is past", refusing(503, "Retry-After: Sat, 21 Nov 2015 08:48:18 GMT\r\n", "")},
	{"503 with nonsense", refusing(503, "Retry-After: soon\r\n", `{"code":"unavailable","message":"x"}`)},
	{"503 before the body has come", func(x *exchange) bool {
		x.readHead()
		x.send(withBody("503 Service Unavailable", "Connection: close\r\n", ""))
		return x.cut()
	}},
	{"500 of the cache", refusing(500, "", `{"error":"engine: cache-max-memory-size exceeded: (1/1)"}`)},
	{"500 of a timeout", refusing(500, "", `{"error":"timeout"}`)},
	{"502 from a proxy", refusing(502, "Content-Type: text/html\r\n", "<html>Bad Gateway</html>")},
	{"504 in chunks", instead(func(*exchange) string {
		return "HTTP/1.1 504 Gateway Time-out\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
	})},
	{"401", refusing(401, "WWW-Authenticate: Basic realm=\"InfluxDB\"\r\n", `{"error":"no"}`)},
	{"403", refusing(403, "", `{"code":"forbidden","message":"insufficient permissions"}`)},
	{"404", refusing(404, "", `{"error":"database not found: \"d\""}`)},
	{"307", refusing(307, "Location: http://elsewhere/\r\n", "")},
	{"200 with a web page", refusing(200, "Content-Type: text/html\r\n", "<html>Welcome</html>")},
	{"500 no policy", refusing(500, "", `{"error":"retention policy not found: x"}`)},

	// The request does not get through whole.
	{"reset at the first byte", func(x *exchange) bool { return x.cut() }},
	{"closed at the first byte", func(x *exchange) bool { return false }},
	{"reset in the head", func(x *exchange) bool { x.readSome(20); return x.cut() }},
	{"reset in the body", func(x *exchange) bool { x.readHead(); x.readSome(700); return x.cut() }},
	{"closed in the body", func(x *exchange) bool { x.readHead(); x.readSome(700); return false }},
	{"stands in the head", func(x *exchange) bool { x.readSome(20); return x.stand() }},
	{"stands after the request", func(x *exchange) bool { x.read(); return x.stand() }},

	// The points are stored, but nothing says so.
	{"closed without an answer", breaking("")},
	{"reset without an answer", unsure(func(x *exchange) bool { return x.cut() })},
	{"half a status line", breaking("HTTP/1.1 204 No Con")},
	{"half a head", breaking("HTTP/1.1 204 No Content\r\nContent-Type: appl")},
	{"no end of the head", breaking("HTTP/1.1 204 No Content\r\n")},
	{"a length that is too long", breaking("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")},
	{"a length that never comes", unsure(func(x *exchange) bool {
		x.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
		return x.stand()
	})},
	{"chunks without an end",
		breaking("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n")},
	{"half a chunk", breaking("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nshort")},
	{"a chunk without a size", breaking("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nshort\r\n")},
	{"two lengths", breaking("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc")},
	{"a negative length", breaking("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")},
	{"another protocol", breaking("SSH-2.0-OpenSSH_9.2p1\r\n")},
	{"binary", breaking("\x15\x03\x01\x00\x02\x02\x46\x00\xff\n\n")},
	{"a status beyond all", breaking("HTTP/1.1 999 Request denied\r\nContent-Length: 0\r\n\r\n")},
	{"a status below all", breaking("HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n")},
	{"HTTP/2", breaking("HTTP/2 204\r\n\r\n")},
	{"an empty line", breaking("\r\n\r\n\r\n\r\n")},
	{"a name without a value", breaking("HTTP/1.1 204 No Content\r\nnonsense\r\n\r\n")},
	{"interim and no more", breaking("HTTP/1.1 100 Continue\r\n\r\n")},
	{"stands in the answer", unsure(func(x *exchange) bool {
		x.send(letters("HTTP/1.1 204 No Content\r\nX-")...)
		return x.stand()
	})},
	{"a head without an end", unsure(func(x *exchange) bool {
		x.send("HTTP/1.1 204 No Content\r\n")
		x.sendUntilRefused("X-Nothing: to see here\r\n")
		return false
	})},
	{"a line without an end", unsure(func(x *exchange) bool {
		x.send("HTTP/1.1 204 No Content\r\nX: ")
		x.sendUntilRefused("nothing to see here ")
		return false
	})},
	{"interim ones without an end", unsure(func(x *exchange) bool {
		x.sendUntilRefused("HTTP/1.1 102 Processing\r\n\r\n")
		return false
	})},

	// The answer is right, and only looks unusual; or the connection ends at the worst moment after it.
	{"byte by byte", odd(letters(written)...)},
	{"interim first", odd("HTTP/1.1 100 Continue\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", written)},
	{"in chunks", odd("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "3;x=y\r\nabc\r\n",
		"0\r\nX: y\r\n\r\n")},
	{"until the end", func(x *exchange) bool { odd("HTTP/1.1 200 OK\r\n\r\n", "so much")(x); return false }},
	{"HTTP/1.0", func(x *exchange) bool { odd("HTTP/1.0 204 No Content\r\n\r\n")(x); return false }},
	{"204 with a body", odd("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello")},
	{"a length that is too short", odd("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhello and more")},
	{"twice the same answer", odd(written + written)},
	{"line feeds alone", odd("HTTP/1.1 204 No Content\nX: y\n\n")},
	{"closes and says so", func(x *exchange) bool {
		odd("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")(x)
		return false
	}},
	{"closes and does not say so", func(x *exchange) bool { odd(written)(x); return false }},
	{"resets after the answer", func(x *exchange) bool { odd(written)(x); return x.cut() }},
	{"resets the next request", func(x *exchange) bool {
		if x.number%2 == 1 {
			return x.cut()
		}
		return odd(written)(x)
	}},
	{"resets the next request's body", func(x *exchange) bool {
		if x.number%2 == 1 {
			x.readHead()
			return x.cut()
		}
		return odd(written)(x)
	}},
	{"none", sound},
}

// tooLong refuses requests beyond so many bytes.
func tooLong(limit int) func(x *exchange) bool {
	return func(x *exchange) bool {
		if !x.read() {
			return false
		}
		if len(x.body) > limit {
			return x.send(withBody("413 Request Entity Too Large", "", `{"error":"too large"}`))
		}
		answer := x.execute()
		x.answers()
		return x.send(answer)
	}
}

// overAll runs a test over the ring, over plain sockets and over TLS. secure is for the server in that case,
// and set makes a writer's configuration for the way.
func overAll(t *testing.T, f func(t *testing.T, ring bool, secure *tls.Config, set func(f *faulty) Config)) {
	plain := func(f *faulty) Config { return testConfig(f.listener.Addr()) }
	t.Run("ring", func(t *testing.T) { f(t, true, nil, plain) })
	t.Run("sockets", func(t *testing.T) { f(t, false, nil, plain) })
	t.Run("https", func(t *testing.T) { overTLS(t, f) })
}

// overTLS runs a test with the writer behind TLS.
func overTLS(t *testing.T, f func(t *testing.T, ring bool, secure *tls.Config, set func(f *faulty) Config)) {
	// For its certificate alone.
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	secure := &tls.Config{Certificates: server.TLS.Certificates}
	f(t, false, secure, func(f *faulty) Config {
		u := &url.URL{Scheme: "https", Host: f.listener.Addr().String()}
		config, err := Target(TargetConfig{URL: u, Database: "d"})
		if err != nil {
			t.Fatal(err)
		}
		policy := testConfig(f.listener.Addr())
		config.Connections, config.Retry, config.Timeout = 2, policy.Retry, 3*time.Second
		config.Remote.TLS = &tls.Config{RootCAs: roots}
		return config
	})
}

// passing lets time go on where only that helps.
type passing struct {
	r *rig
	f *faulty
	// lost is how many requests the writer has lost patience with. The server will notice.
	lost int64
}

// pass goes on to the next timer if nothing is under way, beyond the timeout if the server stands on
// everything that is. It returns by how much.
func (p *passing) pass() (jumped int64) {
	r, wentOn := p.r, p.f.wentOn.Load()
	standing := p.f.stopped.Load() - wentOn
	busy := int64(0)
	for i := range r.writer.connections {
		switch r.writer.connections[i].state {
		case connectionBusy, connectionConnecting:
			busy++
		case connectionClosing:
			return 0
		}
	}
	due := r.writer.NextTimer()
	switch {
	case r.writer.Ready() || len(r.outcomes) > 0 || p.lost > wentOn || standing < busy || due == never:
		return 0
	case busy > 0 && (r.writer.remote != nil || p.f.healed.Load()):
		return 0 // Its goroutines have a clock of their own; and from a server in order the answer comes.
	}
	if busy > 0 {
		p.lost = wentOn + standing
	}
	jumped = max(due-r.now(), 0)
	r.skew += jumped
	return jumped
}

// Goal: whatever a server does to requests and answers, it comes out right over each way: nothing is lost,
// what it has answered for is not sent again, what is uncertain is sent again byte for byte, each point is
// counted once, the bad ones with the server's words, and new points are on their way within a second once it
// is in order again. Method: a server that does the same wrong thing to several requests, then none, with
// time going on as fast as the writer waits.
func TestFaults(t *testing.T) {
	quiet(t)
	overAll(t, func(t *testing.T, ring bool, secure *tls.Config, set func(f *faulty) Config) {
		for i, row := range wireFaults {
			t.Run(row.name, func(t *testing.T) {
				t.Parallel()
				f := newFaulty(t, 1+i%3, secure, row.play)
				config := set(f)
				config.Retry.Attempts = 1000
				runFault(t, f, newRig(t, ring, 1<<14, config))
			})
		}
	})
}

// quiet throws away what net/http logs of answers that nobody asked for.
func quiet(t *testing.T) {
	before := log.Writer()
	log.SetOutput(io.Discard)
	t.Cleanup(func() { log.SetOutput(before) })
}

const (
	faultBatches, faultLines = 6, 40
	// spoiledMin is how many requests go wrong before the server heals; fewer where each may cost seconds.
	spoiledMin, spoiledRemote = 8, 2
)

// runFault sends batches, one of them with bad lines, through a fault and beyond it, and checks what came of
// them.
func runFault(t *testing.T, f *faulty, r *rig) {
	sent, bad := map[string]bool{}, map[string]bool{}
	submit := func(number int) *Batch {
		lines := points(faultLines, 0)
		for i := range lines {
			lines[i] = fmt.Sprintf("b%d,%s", number, lines[i])
			sent[lines[i]] = true
		}
		if number == 1 {
			for i, line := range []string{`bad v=1x 1`, `bad s="it's': ",v=1x 2`, `conflict v="x" 3`} {
				delete(sent, lines[7*i])
				lines[7*i], bad[line] = line, true
			}
		}
		return r.submit(lines...)
	}
	for number := range faultBatches {
		submit(number)
	}
	var total Outcome
	fresh, settled := (*Batch)(nil), false
	clock := passing{r: r, f: f}
	turn := func() (jumped int64) {
		r.turn()
		jumped = clock.pass()
		for _, o := range r.outcomes {
			total.Written += o.Written
			total.Rejected += o.Rejected
			total.Undelivered += o.Undelivered + o.Aside
			settled = settled || o.Batch == fresh
			r.pool.Release(o.Batch)
		}
		r.outcomes = r.outcomes[:0]
		if jumped == 0 {
			r.sleep()
		}
		return jumped
	}
	end := time.Now().Add(patience)
	wait := func(what string, done func() bool) (jumped int64) {
		t.Helper()
		for !done() {
			jumped += turn()
			if time.Now().After(end) {
				t.Fatalf("no %s; %d requests spoiled; last error %q, stats %+v", what, f.spoiled.Load(),
					r.writer.LastError(), r.writer.Stats())
			}
		}
		return jumped
	}
	spoiled := int64(spoiledMin)
	if r.writer.remote != nil {
		spoiled = spoiledRemote
	}
	wait("fault", func() bool { return f.spoiled.Load() >= spoiled || r.pool.Held() == 0 })
	f.heal()
	asked := max(r.writer.pausedUntil-r.now(), 0)
	fresh = submit(faultBatches)
	if jumped := wait("fresh points", func() bool { return settled }) - asked; jumped > int64(time.Second) {
		t.Errorf("fresh points waited for %s after the server had healed", time.Duration(jumped))
	}
	wait("end", func() bool { return r.pool.Held() == 0 })
	if total.Written != len(sent) || total.Rejected != len(bad) || total.Undelivered != 0 {
		t.Errorf("%d points written, %d rejected, %d not delivered, want %d and %d", total.Written,
			total.Rejected, total.Undelivered, len(sent), len(bad))
	}
	told := map[string]bool{}
	for _, refusal := range r.writer.Refusals() {
		told[refusal.Line] = true
		if refusal.Words == "" {
			t.Errorf("%q is refused without words", refusal.Line)
		}
	}
	if !maps.Equal(told, bad) {
		t.Errorf("refused are %q, want %q", slices.Sorted(maps.Keys(told)), slices.Sorted(maps.Keys(bad)))
	}
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if !maps.Equal(f.stored, sent) {
		t.Errorf("%d points are stored of %d", len(f.stored), len(sent))
	}
	if len(f.twice) > 0 || len(f.changed) > 0 {
		t.Errorf("%d points came again after an answer, such as %q; other bytes came again for %q",
			len(f.twice), f.twice[:min(1, len(f.twice))], f.changed)
	}
}

// Goal: an answer without an end costs no memory. Method: servers that send as much as is taken, some
// hundred megabytes for the requests of one batch; what this process allocates in all is a fraction of it.
func TestEndlessAnswersCostNoMemory(t *testing.T) {
	quiet(t)
	overAll(t, func(t *testing.T, ring bool, secure *tls.Config, set func(f *faulty) Config) {
		for _, start := range []string{
			"HTTP/1.1 204 No Content\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n",
			"HTTP/1.1 500 X\r\nTransfer-Encoding: chunked\r\n\r\n",
		} {
			f := newFaulty(t, 1, secure, unsure(func(x *exchange) bool {
				x.send(start)
				x.sendUntilRefused("4d\r\n" + strings.Repeat("Name: value ", 6) + "more\n\r\n")
				return false
			}))
			config := set(f)
			config.Retry.Attempts, config.Connections = 3, 1
			r := newRig(t, ring, 1<<14, config)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			r.submit("m v=1 1")
			clock := passing{r: r, f: f}
			r.until("outcome", func() bool { clock.pass(); return len(r.outcomes) > 0 })
			o := r.outcome()
			runtime.ReadMemStats(&after)
			if o.Undelivered != 1 && o.Rejected != 1 {
				t.Fatalf("%q: %+v", start, o)
			}
			if used := (after.TotalAlloc - before.TotalAlloc) >> 20; used > 64 {
				t.Errorf("%q: %d MiB", start, used)
			}
		}
	})
}

// Goal: a success that comes before the server can have read the request is none behind TLS, where the
// transport does the sending; a plain socket's send buffer holds a batch, all of which is sent then. Method:
// the server says so after the head, with more to come than sockets hold.
func TestSuccessBeforeTheBodyHasCome(t *testing.T) {
	quiet(t)
	overTLS(t, func(t *testing.T, ring bool, secure *tls.Config, set func(f *faulty) Config) {
		f := newFaulty(t, 1, secure, func(x *exchange) bool {
			x.raw.(*net.TCPConn).SetReadBuffer(4096)
			x.readHead()
			x.send(written)
			<-x.faulty.mended
			return false
		})
		defer f.heal()
		config := set(f)
		config.Retry.Attempts, config.Timeout = 1000, 10*time.Second
		r := newRig(t, ring, 16<<20, config)
		r.submit(points(70_000, 200)...)
		r.until("early answers", func() bool { return f.spoiled.Load() >= 3 || r.pool.Held() == 0 })
		f.heal()
		r.expect(70_000, 0, 0, ReasonNone, 204)
		f.mutex.Lock()
		defer f.mutex.Unlock()
		if len(f.stored) != 70_000 {
			t.Errorf("%d points are stored", len(f.stored))
		}
	})
}

// Goal: behind TLS as well, every line that a long refusal names is counted, none of them as written. Method:
// InfluxDB 3.x refuses so many lines that their names are longer than what is kept of an answer.
func TestLongRefusal(t *testing.T) {
	overAll(t, func(t *testing.T, ring bool, secure *tls.Config, set func(f *faulty) Config) {
		f := newFaulty(t, 3, secure, sound)
		r := newRig(t, ring, 1<<20, set(f))
		lines := points(5000, 180)
		for i := range lines {
			if i%10 != 0 {
				lines[i] = "bad" + lines[i]
			}
		}
		r.submit(lines...)
		o := r.outcome()
		if o.Written != 500 || o.Rejected != 4500 {
			t.Fatalf("%+v; halved %d times", o, r.writer.Stats().Halved)
		}
		f.mutex.Lock()
		defer f.mutex.Unlock()
		if len(f.stored) != 500 {
			t.Errorf("%d points are stored", len(f.stored))
		}
	})
}
