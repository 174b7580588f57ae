package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"culvert/controlplane/telemetry"
	"culvert/scripts/testenv"
)

// configureSpool is a gateway with a spool in this folder that soon gives up on a failed write.
func configureSpool(t *testing.T, lab *testenv.Lab, url, folder, more string) string {
	t.Helper()
	return write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(`interfaces: [{name: %s, mode: native}]
listeners: [{name: plant, port: %d}]
workers: {frames: 1024}
sinks:
  - {name: main, urls: [%s], database: telemetry, batch: {bytes: 64KiB},
     retry: {attempts: 2, first: 20ms, max: 200ms}}
spool: {dir: %s, segment: 1MiB, max: 64MiB, sync: 20ms%s}
`, lab.GatewayInterface, port, url, folder, more))
}

// emptied waits until this many points came in and all of them, and all that was restored, are settled.
func (g *gateway) emptied(received uint64) *telemetry.Status {
	g.t.Helper()
	var s *telemetry.Status
	eventually(g.t, "the spool is empty", func() (err error) {
		if s, err = g.status(); err != nil {
			return err
		}
		if l := &s.Ledger; l.Received != received || l.InFlight+l.SpoolPending != 0 {
			return fmt.Errorf("%d points received (want %d), %d in flight, %d in the spool: %+v", l.Received,
				received, l.InFlight, l.SpoolPending, s.Sinks[0])
		}
		return nil
	})
	return s
}

// waits waits until this many points are in the spool's files.
func (g *gateway) waits(points uint64) {
	g.t.Helper()
	eventually(g.t, "points wait in the spool", func() error {
		s, err := g.status()
		if err == nil && s.Sinks[0].Spool.DiskPoints < points {
			err = fmt.Errorf("%d points in the spool, want %d on disk: %+v", s.Ledger.SpoolPending, points,
				s.Sinks[0].Spool)
		}
		return err
	})
}

// Goal: an outage of InfluxDB under load, however it looks, costs nothing: not a point is lost or dropped,
// the ledger balances all the time, and the disk is given back. Method: a sender that never pauses, each
// point with a timestamp of its own; the server is killed and started, stands still, and its database is
// dropped and made anew; then the ledger and the database are counted.
func TestPrivSpoolOutlivesAnOutage(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	d := newDatabase(t, lab)
	d.start()
	g := start(t, lab, "run", "-c", configureSpool(t, lab, d.url, filepath.Join(t.TempDir(), "spool"), ""))
	g.ready()
	load := newFlood(t, lab, 1, 200*time.Microsecond)
	g.steers()

	d.stop()
	g.waits(2000)
	d.start()
	healed := time.Now()
	g.ready()
	t.Logf("ready %s after InfluxDB answered", time.Since(healed).Round(time.Millisecond))

	if err := d.command.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	if err := d.command.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	g.ready()

	sent := load.stop()
	s := g.emptied(sent)
	if n := d.count(); s.Ledger.Written != sent || n != sent || len(s.Ledger.Dropped) > 0 ||
		s.Ledger.Residue != 0 || s.Sinks[0].Points.Residue != 0 {
		t.Fatalf("%d points sent, %d in the database: %+v, %+v", sent, n, s.Ledger, s.Sinks[0])
	}
	eventually(t, "the disk is given back", func() error {
		s, err := g.status()
		if err == nil && s.Sinks[0].Spool.Segments != 0 {
			err = fmt.Errorf("%+v", s.Sinks[0].Spool)
		}
		return err
	})
	t.Logf("%d points, %d by the spool", sent, s.Sinks[0].Spool.Replayed)
}

// Goal: what waits in the spool outlives kill -9 of the gateway, and a stop. Method: points while no server
// answers; the gateway is killed, the next one stopped, and the one after finds the server in order. Between
// the lives `culvert spool` shows what waits.
func TestPrivSpoolOutlivesTheGateway(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	d := newDatabase(t, lab)
	folder := filepath.Join(t.TempDir(), "spool")
	config := configureSpool(t, lab, d.url, folder, "")
	conn := udpSender(t, lab, lab.GatewayIPv4)
	send := func(from, to int) {
		for n := from; n <= to; n++ {
			if _, err := fmt.Fprintf(conn, "flood v=1 %d", n); err != nil {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Microsecond)
		}
	}
	g := start(t, lab, "run", "-c", config)
	g.steered()
	send(1, 3000)
	g.waits(3000)
	// The durable part is what is promised even to a loss of power; kill -9 loses nothing that is in the
	// files.
	g.kill()

	g = start(t, lab, "run", "-c", config)
	g.steered()
	send(3001, 5000)
	g.waits(5000)
	if s, err := g.status(); err != nil || s.Ledger.Restored != 3000 || s.Ledger.Residue != 0 {
		t.Fatalf("%+v, %v", s.Ledger, err)
	}
	held := exec.Command(culvert, "spool", "cat", "--dir", folder)
	if out, _ := held.CombinedOutput(); held.ProcessState.ExitCode() != 69 {
		t.Fatalf("`culvert spool` beside a gateway: %v %s", held.ProcessState, out)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("the stop ends with %d", code)
	}

	out, err := exec.Command(culvert, "spool", "cat", "--dir", folder).CombinedOutput()
	if lines := strings.Count(string(out), "\n"); err != nil || lines != 5000 {
		t.Fatalf("`culvert spool cat` prints %d lines: %v", lines, err)
	}
	d.start()
	g = start(t, lab, "run", "-c", config)
	s := g.emptied(0)
	l := &s.Ledger
	if n := d.count(); n != 5000 || l.Restored != 5000 || l.Written != 5000 || l.Residue != 0 {
		t.Fatalf("%d points in the database: %+v", n, s.Ledger)
	}
}

// killsEnv overrides how often TestAlwaysOutlivesKills kills the gateway.
const killsEnv = "CULVERT_KILLS"

// Goal: in mode always, kill -9 at any moment costs only what had not come to disk yet, and never a start.
// Method: many lives of random length under load, before a server that refuses at random. What the spool
// holds after each kill must all be in the server in the end; what is missing there of what was sent was on
// its way through memory, which is measured and bounded by what was sent in the last moments of each life.
func TestAlwaysOutlivesKills(t *testing.T) {
	need(t)
	kills := 10
	if text := os.Getenv(killsEnv); text != "" {
		if _, err := fmt.Sscan(text, &kills); err != nil {
			t.Fatalf("%s: %v", killsEnv, err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	lab := testenv.NewLab(t, 2)
	sink := newRecorder(t, lab)
	var calm atomic.Bool
	var requests atomic.Uint64
	sink.refuse = func(w http.ResponseWriter) bool {
		// Three of eight stretches of 16 requests are refused.
		if calm.Load() || requests.Add(1)/16%8 > 2 {
			return false
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	}
	folder := filepath.Join(t.TempDir(), "spool")
	config := configureSpool(t, lab, sink.url, folder, ", mode: always")
	s := &lastMoments{conn: udpSender(t, lab, lab.GatewayIPv4)}
	appended := map[string]bool{}
	late, recent := 0, 0 // sent after a kill, and not long before
	for range kills {
		g := start(t, lab, "run", "-c", config)
		g.steered()
		life := time.Duration(50+random.IntN(250)) * time.Millisecond
		done := make(chan struct{})
		go func() {
			defer close(done)
			s.sendFor(life + 5*time.Millisecond)
		}()
		time.Sleep(life)
		killed := time.Now()
		g.kill()
		<-done
		late += s.since(killed)
		recent += s.since(killed.Add(-killWindow)) - s.since(killed)
		out, err := exec.Command(culvert, "spool", "cat", "--dir", folder).Output()
		if err != nil {
			t.Fatalf("look into the spool after a kill: %v", err)
		}
		for line := range strings.Lines(string(out)) {
			appended[strings.TrimSpace(line)] = true
		}
	}
	calm.Store(true)
	g := start(t, lab, "run", "-c", config)
	state := g.emptied(0)
	if state.Ledger.Residue != 0 {
		t.Fatalf("%+v", state.Ledger)
	}
	got := map[string]bool{}
	for _, line := range sink.all() {
		got[line] = true
	}
	for line := range appended {
		if !got[line] {
			t.Fatalf("%q was in the spool and never came", line)
		}
	}
	lost := s.sent - len(got)
	t.Logf("%d kills: %d points sent, %d of them after a kill; %d seen in the spool, %d came, %d lost that "+
		"were sent before a kill: %.1f each, of %.1f sent in the last %s", kills, s.sent, late,
		len(appended), len(got), lost-late, float64(lost-late)/float64(kills),
		float64(recent)/float64(kills), killWindow)
	if lost < 0 || lost-late > recent {
		t.Fatalf("%d points are lost, but only %d were young when the gateway was killed", lost-late, recent)
	}
}

// killWindow is how long a point may be on its way to disk: some batches' age and a spooler's turn.
const killWindow = 50 * time.Millisecond

// lastMoments is a sender that remembers when it sent what.
type lastMoments struct {
	conn  net.Conn
	sent  int
	times []time.Time
}

// sendFor sends points with ascending timestamps, some five thousand a second.
func (s *lastMoments) sendFor(length time.Duration) {
	for end := time.Now().Add(length); time.Now().Before(end); time.Sleep(100 * time.Microsecond) {
		// Refused while nobody listens: that is what a sender sees.
		if _, err := fmt.Fprintf(s.conn, "kill v=%d %d", s.sent+1, s.sent+1); err == nil {
			s.sent++
			s.times = append(s.times, time.Now())
		}
	}
}

// since is how many points were sent after a moment.
func (s *lastMoments) since(moment time.Time) int {
	n := 0
	for i := len(s.times) - 1; i >= 0 && s.times[i].After(moment); i-- {
		n++
	}
	return n
}
