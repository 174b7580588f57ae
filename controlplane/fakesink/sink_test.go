package fakesink

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

func newSink(t testing.TB, config Config) *Sink {
	t.Helper()
	s, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// post sends one write and returns the answer.
func post(s *Sink, path, body string, header ...string) (int, string) {
	r := httptest.NewRequest("POST", path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

const (
	pathV1 = "/write?db=telemetry"
	pathV2 = "/api/v2/write?org=o&bucket=telemetry"
	pathV3 = "/api/v3/write_lp?db=telemetry"

	goodLines = "m,a=b v=1 1\n# comment\n\nm,a=b s=\"two\nlines\" 2\n"
	badLines  = "m v=1 1\nm v=x 2\nm v=3 3\n"
)

func TestGoodWrites(t *testing.T) {
	for _, path := range []string{pathV1, pathV2, pathV3} {
		s := newSink(t, Config{})
		if code, body := post(s, path, goodLines); code != http.StatusNoContent || body != "" {
			t.Fatalf("%s: %d %s", path, code, body)
		}
		want := Figures{Requests: 1, Points: 2, Bytes: uint64(len(goodLines))}
		if got := s.Stats(); got.Figures != want || got.Databases["telemetry"] != want {
			t.Fatalf("%s: %+v", path, got)
		}
	}
}

// Goal: each API answers bad lines, and keeps or drops the good ones, as its server does.
func TestBadLines(t *testing.T) {
	f := func(path, lines string, points, rejected, refused uint64, wants ...string) {
		t.Helper()
		s := newSink(t, Config{})
		for range 2 {
			code, body := post(s, path, lines)
			if code != http.StatusBadRequest {
				t.Fatalf("%s: %d %s", path, code, body)
			}
			for _, want := range wants {
				if !strings.Contains(body, want) {
					t.Fatalf("%s: the answer lacks %q: %s", path, want, body)
				}
			}
		}
		want := Figures{Requests: 2, Points: 2 * points, Rejected: 2 * rejected, Refused: 2 * refused,
			Bytes: 2 * uint64(len(lines))}
		if got := s.Stats().Figures; got != want {
			t.Fatalf("%s: got %+v, want %+v", path, got, want)
		}
	}
	f(pathV1, badLines, 2, 1, 0, `{"error":"partial write: unable to parse 'm v=x 2': `, `dropped=1"}`)
	f(pathV1, "m v=x\n", 0, 1, 0, `{"error":"unable to parse 'm v=x': `)
	f(pathV1, "m v=1u 1\nm v=2 2\n", 1, 1, 0, `unable to parse 'm v=1u': invalid number dropped=1`)
	f(pathV2, badLines, 0, 3, 1, `"code":"invalid"`, `"message":"unable to parse 'm v=x 2': `)
	f(pathV2, "\n", 0, 0, 1, `writing requires points`)
	f(pathV3, badLines, 2, 1, 0, `"error":"partial write of line protocol occurred"`,
		`"data":[{"original_line":"m v=x 2","line_number":2,"error_message":"`)
	f(pathV3+"&accept_partial=false", badLines, 0, 3, 1, `"error":"parsing failed for write_lp endpoint"`,
		`"data":{"original_line":"m v=x 2"`)
}

func TestUintIsKnownToNewerServers(t *testing.T) {
	for _, path := range []string{pathV2, pathV3} {
		if code, body := post(newSink(t, Config{}), path, "m v=1u 1\n"); code != http.StatusNoContent {
			t.Fatalf("%s: %d %s", path, code, body)
		}
	}
}

func TestWrongRequests(t *testing.T) {
	f := func(path string, wantCode int, want string, header ...string) {
		t.Helper()
		s := newSink(t, Config{BodyMax: 100})
		body := "m v=1\n"
		if wantCode == http.StatusRequestEntityTooLarge {
			body = strings.Repeat(body, 100)
		}
		code, got := post(s, path, body, header...)
		if code != wantCode || !strings.Contains(got, want) {
			t.Fatalf("%s: %d %s", path, code, got)
		}
		if stats := s.Stats(); stats.Refused != 1 || stats.Points != 0 {
			t.Fatalf("%s: %+v", path, stats)
		}
	}
	f("/write", 400, "database is required")
	f("/write?db=x&precision=d", 400, "invalid precision")
	f("/api/v2/write?org=o", 400, "Bucket is required")
	f("/api/v2/write?bucket=b", 400, "Organization is required")
	f("/api/v2/write?org=o&bucket=b&precision=m", 400, "invalid precision")
	f("/api/v3/write_lp", 400, "missing query parameter db")
	f("/api/v3/write_lp?db=x&precision=ns", 400, "invalid precision")
	f(pathV1, 413, "too large")
	f(pathV2, 413, "request too large")
	f(pathV1, 400, "unknown content encoding", "Content-Encoding", "br")
	f(pathV1, 400, "read gzip", "Content-Encoding", "gzip")
}

func TestPrecisions(t *testing.T) {
	// A time that fits in nanoseconds only tells whether the unit was understood.
	const line = "m v=1 1700000000000000000\n"
	f := func(path string, want int) {
		t.Helper()
		if code, body := post(newSink(t, Config{}), path, line); code != want {
			t.Fatalf("%s: %d %s", path, code, body)
		}
	}
	for _, p := range []string{"", "&precision=ns", "&precision=n"} {
		f(pathV1+p, 204)
	}
	for _, p := range []string{"u", "ms", "s", "m", "h"} {
		f(pathV1+"&precision="+p, 400)
	}
	f(pathV2, 204)
	f(pathV2+"&precision=us", 400)
	f(pathV3+"&precision=nanosecond", 204)
	f(pathV3+"&precision=auto", 204)
	f(pathV3+"&precision=second", 400)
}

func TestGzip(t *testing.T) {
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	io.WriteString(writer, goodLines)
	writer.Close()
	s := newSink(t, Config{BodyMax: len(goodLines)})
	for range 2 {
		if code, body := post(s, pathV1, packed.String(), "Content-Encoding", "gzip"); code != 204 {
			t.Fatalf("%d %s", code, body)
		}
	}
	if got := s.Stats(); got.Points != 4 || got.Bytes != 2*uint64(len(goodLines)) {
		t.Fatalf("%+v", got)
	}
	s = newSink(t, Config{BodyMax: len(goodLines) - 1})
	if code, _ := post(s, pathV1, packed.String(), "Content-Encoding", "gzip"); code != 413 {
		t.Fatalf("a body that grows past the limit: %d", code)
	}
}

// Goal: about the demanded share of writes fails, each in its way, and none of theirs counts as written.
func TestFaults(t *testing.T) {
	faults := []Fault{{Code: 503, Share: 0.2, RetryAfter: 1500 * time.Millisecond}, {Code: 500, Share: 0.1}}
	s := newSink(t, Config{Faults: faults, Seed: 3})
	codes := map[int]int{}
	for range 1000 {
		r := httptest.NewRequest("POST", pathV1, strings.NewReader("m v=1\n"))
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		codes[w.Code]++
		if w.Code == 503 && w.Header().Get("Retry-After") != "2" {
			t.Fatalf("Retry-After %q", w.Header().Get("Retry-After"))
		}
	}
	if codes[503] < 150 || codes[503] > 250 || codes[500] < 60 || codes[500] > 140 {
		t.Fatalf("%v", codes)
	}
	stats := s.Stats()
	if stats.Points != uint64(codes[204]) || stats.Failed != uint64(codes[503]+codes[500]) ||
		stats.Requests != 1000 {
		t.Fatalf("%v, %+v", codes, stats)
	}
}

// Goal: reset hangs up without an answer, and the next connection works. Method: a real server.
func TestResetAndDelay(t *testing.T) {
	s := newSink(t, Config{Faults: []Fault{{Code: Reset, Share: 1}}})
	server := httptest.NewServer(s)
	defer server.Close()
	if r, err := http.Post(server.URL+pathV1, "", strings.NewReader("m v=1\n")); err == nil {
		t.Fatalf("answered %s", r.Status)
	}
	r, err := http.Get(server.URL + "/ping")
	if err != nil || r.StatusCode != 204 || r.Header.Get("X-Influxdb-Version") == "" {
		t.Fatalf("ping: %v, %v", r, err)
	}
	r.Body.Close()
	if stats := s.Stats(); stats.Failed != 1 || stats.Points != 0 {
		t.Fatalf("%+v", stats)
	}
	late := newSink(t, Config{Delay: time.Millisecond})
	if code, body := post(late, pathV1, "m v=1\n"); code != 204 {
		t.Fatalf("%d %s", code, body)
	}
}

func TestParseFault(t *testing.T) {
	f := func(text string, want Fault) {
		t.Helper()
		got, err := ParseFault(text)
		if err != nil || got != want {
			t.Fatalf("%q: %+v, %v", text, got, err)
		}
	}
	f("503:20%", Fault{Code: 503, Share: 0.2})
	f("429:0.5%:2s", Fault{Code: 429, Share: 0.005, RetryAfter: 2 * time.Second})
	f("reset:100%", Fault{Code: Reset, Share: 1})
}

func TestParseWrongFaults(t *testing.T) {
	for _, text := range []string{
		"", "503", "503:20", "200:5%", "600:5%", "x:5%", "503:-1%", "503:101%", "503:NaN%", "503:%",
		"503:5%:x", "503:5%:-1s",
	} {
		for range 2 {
			if f, err := ParseFault(text); err == nil {
				t.Errorf("%q is taken as %+v", text, f)
			}
		}
	}
	if _, err := New(Config{Faults: []Fault{{Code: 500, Share: 0.6}, {Code: 503, Share: 0.6}}}); err == nil {
		t.Error("shares of more than the whole are taken")
	}
}

func TestQueries(t *testing.T) {
	s := newSink(t, Config{})
	ask := func(q string) (int, string) {
		r := httptest.NewRequest("GET", "/query?q="+strings.ReplaceAll(q, " ", "+"), nil)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w.Code, w.Body.String()
	}
	ask(`CREATE DATABASE "telemetry"`)
	code, body := ask("show databases")
	if code != 200 || !strings.Contains(body, `"values":[["telemetry"]]`) {
		t.Fatalf("%d %s", code, body)
	}
	_, body = ask("SELECT count(*) FROM m")
	if !strings.Contains(body, `"error":"culvert sink keeps no points`) {
		t.Fatal(body)
	}
	if code, _ := ask(""); code != 400 {
		t.Fatalf("an empty statement: %d", code)
	}
}

// Goal: the figures are exact with many connections at once, in both modes, and readable as JSON.
func TestManyConnections(t *testing.T) {
	const writers, writes, points = 8, 50, 20
	for _, countOnly := range []bool{false, true} {
		s := newSink(t, Config{CountOnly: countOnly})
		server := httptest.NewServer(s)
		var group sync.WaitGroup
		errs := make(chan error, writers)
		for w := range writers {
			group.Go(func() {
				body := strings.Repeat(fmt.Sprintf("m,w=%d v=1,s=\"a\nb\" 1\n", w), points)
				url := server.URL + fmt.Sprintf("/write?db=d%d", w)
				for range writes {
					r, err := http.Post(url, "", strings.NewReader(body))
					if err != nil || r.StatusCode != 204 {
						errs <- errors.Join(err, fmt.Errorf("answer %v", r))
						return
					}
					r.Body.Close()
				}
			})
		}
		group.Wait()
		select {
		case err := <-errs:
			t.Fatal(err)
		default:
		}
		r, err := http.Get(server.URL + "/stats")
		if err != nil {
			t.Fatal(err)
		}
		var stats Stats
		err = json.NewDecoder(r.Body).Decode(&stats)
		r.Body.Close()
		server.Close()
		if err != nil || stats.Points != writers*writes*points || stats.Requests != writers*writes ||
			len(stats.Databases) != writers || stats.Databases["d3"].Points != writes*points {
			t.Fatalf("%+v, %v", stats, err)
		}
	}
}
