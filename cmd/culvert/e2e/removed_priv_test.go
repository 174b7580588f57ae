package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// Goal: a server that is gone for good, and whose place in urls another takes, costs nothing: what waited for
// it reaches the others, each point the one that owns its series from now on, and each once. Method: points
// of many series to two servers, one of which is not there; then a start with a newcomer in its place.
func TestPrivURLIsRemoved(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	one, two := newRecorder(t, lab), newRecorder(t, lab)
	away := listen(t, lab)
	gone := "http://" + away.Addr().String()
	away.Close()
	folder := filepath.Join(t.TempDir(), "spool")
	conn := udpSender(t, lab, lab.GatewayIPv4)
	const series = 300
	send := func(at int) {
		for n := range series {
			fmt.Fprintf(conn, "m,host=h%d v=%d %d", n, n, at)
			if n%50 == 49 {
				// veth holds 256 packets, should the other end's CPU be busy.
				time.Sleep(10 * time.Millisecond)
			}
		}
	}
	g := start(t, lab, "run", "-c", configureSpool(t, lab, one.url+", "+gone, folder, ""))
	g.steered()
	send(1)
	var waiting uint64
	eventually(t, "the share of the server that is gone waits on disk", func() error {
		s, err := g.status()
		if err != nil {
			return err
		}
		waiting = s.Sinks[1].Spool.DiskPoints
		if s.Ledger.Received != series || waiting == 0 || s.Ledger.Written+waiting != series {
			return fmt.Errorf("%+v", s.Ledger)
		}
		return nil
	})
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}

	g = start(t, lab, "run", "-c", configureSpool(t, lab, one.url+", "+two.url, folder, ""))
	g.ready()
	s := g.emptied(0)
	if s.Ledger.Restored != waiting || s.Ledger.Written != waiting || s.Ledger.Residue != 0 {
		t.Fatalf("%d points waited: %+v", waiting, s.Ledger)
	}
	if !strings.Contains(g.output.String(), "what waited for a URL that is gone is now the others'") {
		t.Error("the log does not say so")
	}
	send(2)
	if s = g.emptied(series); s.Ledger.Residue != 0 || len(s.Ledger.Dropped) > 0 {
		t.Fatalf("%+v", s.Ledger)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	seen, owner := map[string]int{}, map[string]int{}
	for i, r := range []*recorder{one, two} {
		for _, line := range r.all() {
			seen[line]++
			if strings.HasSuffix(line, " 2") {
				owner[strings.Fields(line)[0]] = i
			}
		}
	}
	for line, times := range seen {
		if times != 1 {
			t.Errorf("%q came %d times", line, times)
		}
	}
	if len(seen) != 2*series || len(owner) != series {
		t.Fatalf("%d points of %d came, of %d series", len(seen), 2*series, len(owner))
	}
	for _, line := range two.all() {
		if name := strings.Fields(line)[0]; owner[name] != 1 {
			t.Errorf("%s waited for a server that is gone, and is with another than its owner", name)
		}
	}
}
