package influx

import (
	"bufio"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"
)

// feedIn feeds a text in pieces of one size and returns how much was used.
func feedIn(r *response, text string, size int) (int, bool, error) {
	used := 0
	for used < len(text) {
		n, done, err := r.feed([]byte(text[used:min(used+size, len(text))]))
		used += n
		if done || err != nil {
			return used, done, err
		}
	}
	return used, r.end(), nil
}

func TestAnswers(t *testing.T) {
	for _, a := range answers {
		for _, size := range []int{1, 2, 3, 7, 64, 1 << 20} {
			var r response
			used, done, err := feedIn(&r, a.text, size)
			if err != nil || !done || used != len(a.text) {
				t.Fatalf("%s in pieces of %d: used %d of %d, done %t, %v", a.name, size, used, len(a.text),
					done, err)
			}
			v, rejected := judge(&r, a.points)
			if r.status != a.status || r.close != a.close || v != a.verdict || rejected != a.rejected {
				t.Fatalf("%s in pieces of %d: status %d close %t verdict %d rejected %d, want %d %t %d %d",
					a.name, size, r.status, r.close, v, rejected, a.status, a.close, a.verdict, a.rejected)
			}
		}
	}
}

func TestWhatFollowsIsLeft(t *testing.T) {
	for _, a := range answers {
		if strings.HasPrefix(a.text, "HTTP/1.0 502") {
			continue // its body ends with the connection
		}
		var r response
		used, done, err := feedIn(&r, a.text+"HTTP/1.1 204 No Content\r\n\r\n", 1<<20)
		if err != nil || !done || used != len(a.text) {
			t.Fatalf("%s: used %d of %d, done %t, %v", a.name, used, len(a.text), done, err)
		}
	}
}

func TestMalformed(t *testing.T) {
	f := func(text string) {
		t.Helper()
		for _, size := range []int{1, 1 << 26} {
			var r response
			if _, _, err := feedIn(&r, text, size); !errors.Is(err, errMalformed) {
				t.Errorf("%.60q in pieces of %d: %v", text, size, err)
			}
		}
	}
	f("SSH-2.0-OpenSSH\r\n")
	f("HTTP/2 200 OK\r\n")
	f("HTTP/1.1 20 OK\r\n")
	f("HTTP/1.1 2000 OK\r\n")
	f("HTTP/1.1 999 OK\r\n")
	f("HTTP/1.1 099 OK\r\n")
	f("\r\n")
	f("HTTP/1.1 200 OK\r\nno colon\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n")
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n")
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n")
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n123456789\r\n")
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n")
}

func TestBounds(t *testing.T) {
	var r response
	piece := []byte(strings.Repeat("x", 1<<20))
	r.feed([]byte("HTTP/1.1 400 Bad\r\nX-Long: "))
	var err error
	n := 0
	for ; err == nil && n < 100; n++ {
		_, _, err = r.feed(piece)
	}
	if !errors.Is(err, errMalformed) || n > headMax>>20 {
		t.Fatalf("a header of %d MiB: %v", n, err)
	}
	r = response{}
	r.feed([]byte("HTTP/1.1 400 Bad\r\n\r\n"))
	for n, err = 0, nil; err == nil && n < 100; n++ {
		_, _, err = r.feed(piece)
	}
	if !errors.Is(err, errMalformed) || n > bodyMax>>20+1 {
		t.Fatalf("a body of %d MiB: %v", n, err)
	}
}

func TestManyRefusedLinesAreCounted(t *testing.T) {
	const lines = 5000
	body := `{"error":"partial write: ` +
		strings.Repeat(`unable to parse 'm v=1u 1001': invalid number\n`, lines) + ` dropped=0"}`
	for _, size := range []int{1, 13, 4096, 1 << 20} {
		var r response
		text := fmt.Sprintf("HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		if _, done, err := feedIn(&r, text, size); err != nil || !done {
			t.Fatal(done, err)
		}
		if v, rejected := judge(&r, lines+5); v != verdictPartial || rejected != lines {
			t.Fatalf("in pieces of %d: verdict %d, %d rejected of %d", size, v, rejected, lines)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	wall := time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)
	f := func(headers string, want time.Duration) {
		t.Helper()
		var r response
		r.feed([]byte("HTTP/1.1 503 Busy\r\n" + headers + "Content-Length: 0\r\n\r\n"))
		if got := time.Duration(r.wait(wall)); got != want {
			t.Errorf("%q waits %s, want %s", headers, got, want)
		}
	}
	f("", 0)
	f("Retry-After: 0\r\n", 0)
	f("Retry-After: 7\r\n", 7*time.Second)
	f("retry-after:  7 \r\n", 7*time.Second)
	f("Retry-After: soon\r\n", 0)
	f("Retry-After: -5\r\n", 0)
	f("Retry-After: 99999999999\r\n", math.MaxUint32*time.Second)
	f("Retry-After: Sat, 21 Nov 2026 08:00:09 GMT\r\n", 9*time.Second)
	f("Retry-After: Sat, 21 Nov 2026 07:00:00 GMT\r\n", 0)
	f("Date: Sat, 21 Nov 2026 07:59:59 GMT\r\nRetry-After: Sat, 21 Nov 2026 08:00:09 GMT\r\n", 10*time.Second)
	f("Retry-After: Saturday, 21-Nov-26 08:00:09 GMT\r\n", 9*time.Second)
	f("Retry-After: Sat Nov 21 08:00:09 2026\r\n", 9*time.Second)
}

func TestMessage(t *testing.T) {
	f := func(body, want string) {
		t.Helper()
		r := response{status: 400}
		r.firstLength = copy(r.first[:], body)
		if got := r.message(); got != want {
			t.Errorf("%q says %q, want %q", body, got, want)
		}
	}
	f(`{"error":"database not found: \"x\""}`, `database not found: "x"`)
	f(`{"code":"invalid","message":"line 1:\n\tbad"}`, "line 1:  bad")
	f("404 page not found\n", "404 page not found")
	f("<html>\x00\xff</html>", "<html> ?</html>")
	f("", "")
	f(`{"error":"cut`, "cut")
}

// Goal: whatever a failure's body is, something is shown that helps. Method: as it comes from a socket and as
// net/http has it.
func TestWords(t *testing.T) {
	f := func(answer, want string) {
		t.Helper()
		var direct, remote response
		if _, done, err := direct.feed([]byte(answer)); err != nil || !done {
			t.Fatalf("%q: done %t, %v", answer, done, err)
		}
		got, err := http.ReadResponse(bufio.NewReader(strings.NewReader(answer)), nil)
		if err == nil {
			err = remote.readFrom(got)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []*response{&direct, &remote} {
			if got := r.words(); got != want {
				t.Errorf("%q is shown as %q, want %q", answer, got, want)
			}
		}
	}
	f("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "Service Unavailable")
	f("HTTP/1.1 503 \r\nContent-Length: 0\r\n\r\n", "")
	f("HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n", "")
	f("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nwords", "words")
	f("HTTP/1.1 307 Temporary Redirect\r\nLocation: https://db.example/write?p=x\r\nContent-Length: 4\r\n"+
		"\r\ngone", "redirected to https://db.example/write")
	f("HTTP/1.1 200 OK\r\nContent-Type: Text/HTML; charset=utf-8\r\nContent-Length: 9\r\n\r\n<!DOCTYPE",
		"a web page: is this the right server and path?")
	f("HTTP/1.1 300 Multiple Choices\r\nContent-Length: 4\r\n\r\ngone", "gone")
	f("HTTP/1.1 400 Bad Request\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00",
		"Bad Request (more is in gzip, which was not asked for)")
	f("HTTP/1.1 400 Bad Request\r\ncontent-encoding: Identity\r\nContent-Length: 2\r\n\r\nno", "no")
}

func TestSuccessDoesNotAllocate(t *testing.T) {
	text := []byte(answers[0].text)
	var r response
	n := testing.AllocsPerRun(100, func() {
		r = response{}
		if _, done, err := r.feed(text); !done || err != nil {
			t.Fatal(done, err)
		}
	})
	if n != 0 {
		t.Fatalf("%v allocations an answer", n)
	}
}
