package yardstick

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
)

// Goal: every point is one, with a timestamp of its own, and what is reported is what was taken. Method: a
// server that decodes.
func TestRun(t *testing.T) {
	var mutex sync.Mutex
	seen := map[int64]bool{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		mutex.Lock()
		defer mutex.Unlock()
		var d lineproto.Decoder
		var p point.Point
		for d.Start(body, lineproto.Nanosecond, &p); ; {
			outcome := d.Next(&p)
			if outcome == lineproto.End {
				break
			}
			if outcome != lineproto.OK || seen[p.Time] {
				t.Fatalf("outcome %v, %v; timestamp %d seen: %t", outcome, d.Reason(), p.Time, seen[p.Time])
			}
			seen[p.Time] = true
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	result, err := Run(t.Context(), Config{
		URL: server.URL, Database: "d", Connections: 2, Series: 1000, Duration: 50 * time.Millisecond,
	})
	if err != nil || result.Points == 0 || result.Points != uint64(len(seen)) {
		t.Fatalf("%+v, %v; %d points came", result, err, len(seen))
	}
}

func TestRunRefused(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	c := Config{URL: server.URL, Connections: 1, Series: 1, Duration: time.Second}
	if _, err := Run(t.Context(), c); err == nil {
		t.Fatal("a refusal was taken for an acknowledgement")
	}
}
