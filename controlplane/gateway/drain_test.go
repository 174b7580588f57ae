package gateway

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"culvert/controlplane/telemetry"
	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
)

// lineServer takes lines from whoever shows its token, and counts each.
type lineServer struct {
	*httptest.Server
	mutex   sync.Mutex
	token   string
	lines   map[string]int
	refused int
}

func newLineServer(t *testing.T, token string) *lineServer {
	s := &lineServer{token: token, lines: map[string]int{}}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		s.mutex.Lock()
		defer s.mutex.Unlock()
		if err != nil || !strings.HasSuffix(r.Header.Get("Authorization"), " "+s.token) {
			s.refused++
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		var decoder lineproto.Decoder
		var encoder lineproto.Encoder
		var p point.Point
		decoder.Start(body, lineproto.Nanosecond, &p)
		for decoder.Next(&p) == lineproto.OK {
			text, _ := encoder.Append(nil, &p)
			s.lines[string(text)]++
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *lineServer) setToken(token string) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.token = token
}

// has are the lines that came.
func (s *lineServer) has() (lines map[string]bool, twice, refused int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	lines = map[string]bool{}
	for line, n := range s.lines {
		lines[line] = true
		twice += n - 1
	}
	return lines, twice, s.refused
}

// Goal: with on_remove: drain, what waits for a URL that is gone is delivered to it alone, each line once; it
// gets nothing new, the ledger is exact, and its spooler goes once nothing waits. Method: a folder with lines
// for a server that refuses the token until the file has another one, beside a server that takes what comes.
func TestDrain(t *testing.T) {
	dir, token := t.TempDir(), filepath.Join(t.TempDir(), "token")
	gone, spools := newLineServer(t, "new"), filepath.Join(dir, "spool")
	if err := os.Mkdir(spools, 0o700); err != nil {
		t.Fatal(err)
	}
	folder, all := fillLeft(t, spools, gone.URL, 300)
	if err := os.WriteFile(token, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	g, port := startWith(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); strings.Contains(string(body), "host=h") {
			t.Error("what waited went to another server")
		}
		w.WriteHeader(http.StatusNoContent)
	}), fmt.Sprintf("version: 3, on_remove: drain, token_file: %q, retry: {first: 1ms, max: 10ms}", token),
		fmt.Sprintf("spool: {dir: %q, max: 256MiB}", spools))
	if len(g.spools.draining) != 1 {
		t.Fatalf("%d URLs are drained", len(g.spools.draining))
	}
	status := func() *telemetry.Status { return telemetry.NewStatus(g.Snapshot()) }
	until(t, "the token is refused", func() bool {
		_, _, refused := gone.has()
		s := status()
		return refused > 0 && len(s.Sinks) == 2 && !s.Sinks[1].Up && s.Sinks[1].URL == gone.URL
	})
	if s := status(); s.Ledger.Restored != uint64(len(all)) || s.Ledger.SpoolPending != uint64(len(all)) ||
		s.Ledger.Residue != 0 || s.Sinks[1].Points.Residue != 0 {
		t.Fatalf("%+v, %+v", s.Ledger, s.Sinks[1])
	}
	sendTo(t, port, "m v=1 1")
	if err := os.WriteFile(token, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	until(t, "all is delivered and the spooler is gone", func() bool {
		return g.spools.draining[0].done.Load()
	})
	until(t, "the new point is written", func() bool {
		return status().Ledger.Received == 1 &&
			status().Ledger.InFlight == 0
	})
	s := status()
	if s.Ledger.Written != uint64(len(all))+1 || s.Ledger.SpoolPending != 0 || s.Ledger.Residue != 0 ||
		s.Sinks[1].Points.Residue != 0 || s.Sinks[1].Spool.Replayed != uint64(len(all)) {
		t.Fatalf("%+v, %+v", s.Ledger, s.Sinks[1])
	}
	lines, twice, _ := gone.has()
	if !maps.Equal(lines, all) || twice != 0 {
		t.Fatalf("%d of %d lines came, %d more than once", len(lines), len(all), twice)
	}
	if _, points := waitingIn(t, folder); points != 0 {
		t.Fatalf("%d points wait on disk", points)
	}
	g.reauthorize(g.sinks[0], "later") // finds a spooler that is gone
}

// Goal: a stop while a URL is drained leaves what was not delivered on disk. Method: a server that refuses.
func TestStopWhileDraining(t *testing.T) {
	gone, spools := newLineServer(t, "none"), t.TempDir()
	folder, all := fillLeft(t, spools, gone.URL, 50)
	g, _ := startWith(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	}), "on_remove: drain", fmt.Sprintf("spool: {dir: %q, max: 256MiB}", spools))
	until(t, "it is tried", func() bool {
		_, _, refused := gone.has()
		return refused > 0
	})
	if err := g.Stop(); err != nil {
		t.Fatal(err)
	}
	if left, points := waitingIn(t, folder); !maps.Equal(left, all) || points != len(all) {
		t.Fatalf("%d points of %d are left", points, len(all))
	}
}

// Goal: a URL that was drained since the start comes back by a reload once nothing waits for it, and not
// before; it is shown once, with all that was delivered to it. Method: a gateway that starts without it.
func TestDrainedURLComesBack(t *testing.T) {
	first, gone := newLineServer(t, "t"), newLineServer(t, "other")
	r := idleURLsRig(t, "on_remove: drain")
	spools := filepath.Join(r.dir, "spool")
	if err := os.Mkdir(spools, 0o700); err != nil {
		t.Fatal(err)
	}
	_, all := fillLeft(t, spools, gone.URL, 100)
	r.start(first.URL)
	r.write(first.URL, gone.URL)
	report, err := r.Reload()
	if err != nil || len(report.Warnings) != 1 ||
		!strings.Contains(report.Warnings[0], "still gets what waited") {
		t.Fatalf("%v: %+v", err, report)
	}
	gone.setToken("t")
	until(t, "all is delivered", func() bool { return r.spools.draining[0].done.Load() })
	r.reload("[1] [] [0] [] []", []string{first.URL, gone.URL}, first.URL, gone.URL)
	for n := range 100 {
		sendTo(t, r.port, fmt.Sprintf("m,host=x%d v=1 1", n))
	}
	until(t, "all is settled", func() bool {
		l := r.status().Ledger
		return l.Received == 100 && l.InFlight+l.SpoolPending == 0
	})
	s := r.status()
	lines, twice, _ := gone.has()
	if len(s.Sinks) != 2 || s.Sinks[1].URL != gone.URL || s.Sinks[1].Points.Written != uint64(len(lines)) ||
		s.Ledger.Residue != 0 || s.Ledger.Written != uint64(len(all))+100 || twice > 0 ||
		len(lines) <= len(all) {
		t.Fatalf("%d lines came, %d of them before: %+v, %+v", len(lines), len(all), s.Ledger, s.Sinks)
	}
}
