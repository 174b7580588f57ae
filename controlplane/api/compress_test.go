package api

import (
	"bytes"
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// Goal: who asks for gzip gets it, others do not, and both get the same bytes, also many at once. Method: the
// answers to lists of codings are read with the standard library.
func TestCompressed(t *testing.T) {
	text := bytes.Repeat([]byte("culvert_up 1\n"), 10_000)
	c := &compressed{plain: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write(text[:100])
		w.Write(text[100:])
	})}
	f := func(accepted string, want bool) {
		t.Helper()
		r := httptest.NewRequest("GET", "/metrics", nil)
		r.Header.Set("Accept-Encoding", accepted)
		answer := httptest.NewRecorder()
		c.ServeHTTP(answer, r)
		body := io.Reader(answer.Body)
		if got := answer.Header().Get("Content-Encoding") == "gzip"; got != want {
			t.Errorf("%q: compressed %v, want %v", accepted, got, want)
			return
		} else if got {
			if answer.Body.Len() > len(text)/10 {
				t.Errorf("%q: %d bytes", accepted, answer.Body.Len())
			}
			var err error
			if body, err = gzip.NewReader(body); err != nil {
				t.Errorf("%q: %v", accepted, err)
				return
			}
		}
		if got, err := io.ReadAll(body); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%q: %d bytes, %v", accepted, len(got), err)
		}
	}
	for range 2 {
		f("gzip", true)
		f("", false)
		f("gzip, deflate, br", true)
		f("br, gzip;q=0.5", true)
		f("gzip;q=0", false)
		f("gzip; q=0.000", false)
		f("identity", false)
	}
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() { f("gzip", true) })
	}
	all.Wait()
	r := httptest.NewRequest("HEAD", "/metrics", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	answer := httptest.NewRecorder()
	c.ServeHTTP(answer, r)
	if answer.Header().Get("Content-Encoding") != "" {
		t.Error("an answer without a body is compressed")
	}
}
