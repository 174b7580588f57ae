package influx

import (
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// remoteRig is a writer to an https server that answers by a script.
func remoteRig(t *testing.T, gzipped bool, change func(*Config, *httptest.Server),
	script func(w http.ResponseWriter, r *http.Request, body string)) *rig {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var from io.Reader = r.Body
		if r.Header.Get("Content-Encoding") == "gzip" {
			unpacked, err := gzip.NewReader(r.Body)
			if err != nil {
				w.WriteHeader(http.StatusUnsupportedMediaType)
				return
			}
			from = unpacked
		}
		body, _ := io.ReadAll(from)
		script(w, r, string(body))
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	config, err := Target(TargetConfig{URL: u, Database: "d", Version: 3, Token: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	policy := testConfig(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
	config.Connections, config.Timeout, config.Retry = 2, policy.Timeout, policy.Retry
	config.Remote.Gzip = gzipped
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	config.Remote.TLS = &tls.Config{RootCAs: roots}
	if change != nil {
		change(&config, server)
	}
	return newRig(t, false, 1<<16, config)
}

func TestHTTPS(t *testing.T) {
	for _, gzipped := range []bool{false, true} {
		t.Run(fmt.Sprintf("gzip=%t", gzipped), func(t *testing.T) {
			var mutex sync.Mutex
			var bodies []string
			r := remoteRig(t, gzipped, nil, func(w http.ResponseWriter, q *http.Request, body string) {
				mutex.Lock()
				bodies = append(bodies, body)
				mutex.Unlock()
				if q.Header.Get("Authorization") != "Bearer secret" || q.ProtoMajor != 1 ||
					q.URL.RequestURI() != "/api/v3/write_lp?db=d&precision=nanosecond" ||
					(q.Header.Get("Content-Encoding") == "gzip") != gzipped {
					w.WriteHeader(http.StatusTeapot)
					return
				}
				w.WriteHeader(http.StatusNoContent)
			})
			want := map[string]bool{}
			for i := range 20 {
				lines := points(500, 60)
				lines[0] = fmt.Sprintf("first v=%d 1", i)
				want[text(lines)] = true
				r.submit(lines...)
				if r.pool.Free() == 0 {
					r.expect(500, 0, 0, ReasonNone, 204)
				}
			}
			for r.pool.Held() > 0 {
				r.expect(500, 0, 0, ReasonNone, 204)
			}
			mutex.Lock()
			defer mutex.Unlock()
			for _, body := range bodies {
				delete(want, body)
			}
			stats := r.writer.Stats()
			if len(bodies) != 20 || len(want) != 0 || !r.writer.Up() || stats.Requests["204"] != 20 {
				t.Fatalf("%d bodies came, %d are missing, stats %+v", len(bodies), len(want), stats)
			}
		})
	}
}

// Goal: the policy is the same behind TLS: waits, retries, refusals of single points. Method: the first
// answers are failures.
func TestHTTPSPolicy(t *testing.T) {
	var mutex sync.Mutex
	number := 0
	r := remoteRig(t, true, nil, func(w http.ResponseWriter, q *http.Request, body string) {
		mutex.Lock()
		number++
		n := number
		mutex.Unlock()
		switch n {
		case 1:
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		case 2:
			hijacked, _, _ := w.(http.Hijacker).Hijack()
			hijacked.Close()
		case 3:
			w.WriteHeader(http.StatusUnauthorized)
		case 4:
			w.WriteHeader(http.StatusBadRequest)
			io.WriteString(w, `{"error":"partial write of line protocol occurred","data":[`+
				`{"original_line":"m","line_number":2,"error_message":"no twos"}]}`)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})
	lines := points(4, 0)
	r.submit(lines...)
	r.until("pause", func() bool { return r.writer.pausedUntil > 0 })
	r.skew += int64(time.Second)
	r.expect(3, 1, 0, ReasonPartial, 400)
	if told := r.writer.Refusals(); len(told) != 1 || told[0].Line != lines[1] || told[0].Words != "no twos" {
		t.Fatalf("%+v", told)
	}
	stats := r.writer.Stats()
	for code, n := range map[string]uint64{"503": 1, "error": 1, "401": 1, "400": 1} {
		if stats.Requests[code] != n {
			t.Errorf("%+v", stats)
		}
	}
}

// Goal: who does not show the right certificate gets nothing, and a server that is away costs no attempts;
// the words say why, without the token.
func TestHTTPSRefusesOthers(t *testing.T) {
	for name, change := range map[string]func(*Config, *httptest.Server){
		"unknown authority": func(c *Config, _ *httptest.Server) { c.Remote.TLS = &tls.Config{} },
		"connection refused": func(c *Config, s *httptest.Server) {
			s.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := remoteRig(t, false, func(c *Config, s *httptest.Server) {
				c.Aside, c.Retry.Attempts = true, 1
				change(c, s)
			}, func(w http.ResponseWriter, _ *http.Request, _ string) {
				t.Error("somebody else got the points")
				w.WriteHeader(http.StatusNoContent)
			})
			r.submit(points(5, 0)...)
			r.expectAside(0, 0, 5)
			if why := r.writer.LastError(); !strings.Contains(why, name) || strings.Contains(why, "secret") ||
				r.writer.Breaker() == BreakerClosed {
				t.Fatalf("%q, breaker %s", why, r.writer.Breaker())
			}
		})
	}
}

// Goal: a request that is not answered in time is given up and made again, byte for byte; its memory is free
// only afterwards. Method: the first request hangs.
func TestHTTPSTimeout(t *testing.T) {
	var mutex sync.Mutex
	var bodies []string
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	r := remoteRig(t, false, nil,
		func(w http.ResponseWriter, _ *http.Request, body string) {
			mutex.Lock()
			bodies = append(bodies, body)
			first := len(bodies) == 1
			mutex.Unlock()
			if first {
				<-hold
			}
			w.WriteHeader(http.StatusNoContent)
		})
	r.submit(points(50, 0)...)
	r.until("request", func() bool {
		mutex.Lock()
		defer mutex.Unlock()
		return len(bodies) == 1
	})
	r.skew += int64(r.writer.config.Timeout)
	r.expect(50, 0, 0, ReasonNone, 204)
	r.until("the first request's end", func() bool { return r.pool.Free() == r.pool.Size() })
	release()
	mutex.Lock()
	defer mutex.Unlock()
	if len(bodies) != 2 || bodies[0] != bodies[1] {
		t.Fatalf("%d bodies, alike %t", len(bodies), bodies[0] == bodies[1])
	}
}
