package e2e

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// configureRetry is a gateway that tries a failed write again for long, at short intervals.
func configureRetry(t *testing.T, lab *testenv.Lab, url, more string) string {
	t.Helper()
	return write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(`interfaces: [{name: %s, mode: native}]
listeners: [{name: plant, port: %d}]
workers: {frames: 1024}
sinks:
  - {name: main, urls: [%s], database: telemetry, retry: {attempts: 1000, first: 20ms, max: 200ms}%s}
`, lab.GatewayInterface, port, url, more))
}

// Goal: a sink that answers 500 is tried again until it heals, and nothing is lost or given twice. Method: it
// refuses until it has seen several requests; meanwhile the gateway is not ready and says why.
func TestPrivSinkHeals(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	sink := newRecorder(t, lab)
	var ill atomic.Bool
	var refused atomic.Uint64
	ill.Store(true)
	sink.refuse = func(w http.ResponseWriter) bool {
		if ill.Load() {
			refused.Add(1)
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(w, `{"error":"engine is closed"}`)
		}
		return ill.Load()
	}
	g := start(t, lab, "run", "-c", configureRetry(t, lab, sink.url, ""))
	conn := udpSender(t, lab, lab.GatewayIPv4)
	eventually(t, "XDP is on", func() error {
		if !xdpOf(t, lab) {
			return fmt.Errorf("no program is attached")
		}
		_, err := g.status()
		return err
	})
	for n := range 200 {
		if _, err := fmt.Fprintf(conn, "m v=%d %d", n, n+1); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "not ready", func() error {
		code, body, err := g.get("/health/ready")
		if err != nil || code != http.StatusServiceUnavailable || refused.Load() < 5 ||
			!strings.Contains(body, "engine is closed") {
			return fmt.Errorf("%d refused, %d %s %v", refused.Load(), code, body, err)
		}
		return nil
	})
	ill.Store(false)
	s := g.settled(200)
	if s.Ledger.Written != 200 || len(sink.all()) != 200 || s.Sinks[0].Requests["500"] < 5 {
		t.Fatalf("%d lines in the sink, %+v, %+v", len(sink.all()), s.Ledger, s.Sinks)
	}
	g.ready()
}

// Goal: a conflict of field types costs the one point that has it, counted as the sink's refusal. Method: a
// text among numbers, in real InfluxDB.
func TestPrivPartialWrite(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	d := newDatabase(t, lab)
	d.start()
	g := start(t, lab, "run", "-c", configure(t, lab, d.url, ""))
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	fmt.Fprint(conn, "m v=1 1")
	g.settled(1)
	fmt.Fprint(conn, "m v=2 2\nm v=\"text\" 3\nm v=4 4\nother w=1 5\nm v=6 6")
	s := g.settled(6)
	if s.Ledger.Rejected["sink/partial_write"] != 1 || s.Ledger.Written != 5 || len(s.Ledger.Dropped) > 0 {
		t.Fatalf("%+v", s.Ledger)
	}
	for query, want := range map[string]string{
		"SELECT count(v) FROM m": "4", "SELECT count(w) FROM other": "1",
	} {
		rows, err := d.query(query)
		if err != nil || len(rows) != 1 || fmt.Sprint(rows[0]["count"]) != want {
			t.Fatalf("%s: %v, %v, want %s", query, rows, err, want)
		}
	}
}

// Goal: points wait while the database is missing and arrive once it is there again. Method: drop it and
// create it below a running gateway.
func TestPrivDatabaseComesBack(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	d := newDatabase(t, lab)
	d.start()
	g := start(t, lab, "run", "-c", configureRetry(t, lab, d.url, ""))
	g.ready()
	if _, err := d.query("DROP DATABASE telemetry"); err != nil {
		t.Fatal(err)
	}
	conn := udpSender(t, lab, lab.GatewayIPv4)
	for n := range 20 {
		fmt.Fprintf(conn, "m v=1 %d", n+1)
	}
	eventually(t, "not ready", func() error {
		code, body, err := g.get("/health/ready")
		if err != nil || code != http.StatusServiceUnavailable ||
			!strings.Contains(body, "database not found") {
			return fmt.Errorf("%d %s %v", code, body, err)
		}
		return nil
	})
	if _, err := d.query("CREATE DATABASE telemetry"); err != nil {
		t.Fatal(err)
	}
	s := g.settled(20)
	rows, err := d.query("SELECT count(v) FROM m")
	if s.Ledger.Written != 20 || err != nil || len(rows) != 1 || fmt.Sprint(rows[0]["count"]) != "20" {
		t.Fatalf("%+v, %v, %v", s.Ledger, rows, err)
	}
	g.ready()
}

// count is how many points of the flood are in the database.
func (d *database) count() uint64 {
	d.t.Helper()
	rows, err := d.query("SELECT count(v) FROM flood")
	if err != nil || len(rows) != 1 {
		d.t.Fatalf("count: %v, %v", rows, err)
	}
	n, err := strconv.ParseUint(fmt.Sprint(rows[0]["count"]), 10, 64)
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

// Goal: an InfluxDB that stands still for seconds under load costs nothing. Method: SIGSTOP and SIGCONT, each
// point with a timestamp of its own, then count in the ledger and in the database.
func TestPrivInfluxDBStandsStill(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	d := newDatabase(t, lab)
	d.start()
	g := start(t, lab, "run", "-c", configureRetry(t, lab, d.url, ""))
	g.ready()
	load := newFlood(t, lab, 1, time.Millisecond)
	g.steers()
	if err := d.command.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * time.Second)
	if err := d.command.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	sent := load.stop()
	s := g.settled(sent)
	if n := d.count(); s.Ledger.Written != sent || n != sent {
		t.Fatalf("%d points sent, %d in the database: %+v", sent, n, s.Ledger)
	}
}

// Goal: an InfluxDB that is killed and started anew under load loses nothing that it had not acknowledged.
// Method: SIGKILL, a new process on the same files, then count. A write whose answer was lost is made again,
// with the same timestamps, so the database has each point once.
func TestPrivInfluxDBStartsAnew(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	d := newDatabase(t, lab)
	d.start()
	g := start(t, lab, "run", "-c", configureRetry(t, lab, d.url, ""))
	g.ready()
	load := newFlood(t, lab, 1, time.Millisecond)
	g.steers()
	for range 2 {
		d.stop()
		eventually(t, "not ready", func() error {
			code, body, err := g.get("/health/ready")
			if err != nil || code != http.StatusServiceUnavailable {
				return fmt.Errorf("%d %s %v", code, body, err)
			}
			return nil
		})
		d.start()
		g.ready()
	}
	sent := load.stop()
	s := g.settled(sent)
	if n := d.count(); s.Ledger.Written != sent || n != sent || len(s.Ledger.Dropped) > 0 {
		t.Fatalf("%d points sent, %d in the database: %+v", sent, n, s.Ledger)
	}
}
