package gateway

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"culvert/dataplane/hist"
)

// Goal: with load_aware a server that fails loses nearly all of its series to the other, after some seconds.
// Method: two servers, one of which fails, and points all the time.
func TestSeriesLeaveAServerThatFails(t *testing.T) {
	answering := func(code int) string {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			w.WriteHeader(code)
		}))
		t.Cleanup(server.Close)
		return server.URL
	}
	g, port := startTowards(t, http.NotFoundHandler(), fmt.Sprintf(
		"version: 1}, {name: two, urls: [%q, %q], database: d, routing: load_aware, "+
			"retry: {attempts: 2, first: 1ms, max: 5ms}}]\n"+
			"tenants: [{name: t, sink: two}]\n#[{", answering(http.StatusInternalServerError),
		answering(http.StatusNoContent)))
	conn := dial(t, port)
	if shares := g.sinks[1].table.Load().Shares(2); shares[0] < 0.45 || shares[1] < 0.45 {
		t.Fatalf("shares at the start: %v", shares)
	}
	i := 0
	until(t, "the shares follow the loads", func() bool {
		i++
		if _, err := fmt.Fprintf(conn, "m,s=%d v=1", i); err != nil {
			t.Fatal(err)
		}
		return g.sinks[1].table.Load().Shares(2)[0] < 0.1
	})
}

// Goal: what happened since the last look counts, in each of its parts. Method: figures by hand.
func TestLoadOfAServer(t *testing.T) {
	var before, now servedSoFar
	now.requests, now.failed, now.backlog = 100, 25, 0.5
	var writes hist.Histogram
	for range 100 {
		writes.Record(int64(time.Second))
	}
	writes.AddTo(&now.writes)
	l := now.load(&before, 4*time.Second)
	if l.Errors != 0.25 || l.Backlog != 0.5 || l.Write < 0.2 || l.Write > 0.3 {
		t.Errorf("%+v", l)
	}
	// Nothing new, but a breaker that is open.
	before = now
	now.open = true
	if l := now.load(&before, 4*time.Second); l.Errors != 1 || l.Write != 0 {
		t.Errorf("%+v", l)
	}
	for code, want := range map[string]bool{"204": false, "400": false, "422": false, "413": false,
		"429": true, "503": true, "error": true} {
		if failure(code) != want {
			t.Errorf("%s is a failure: %t", code, !want)
		}
	}
}
