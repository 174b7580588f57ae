package e2e

import (
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// steered waits until the gateway takes packets; that it is ready is more than can be asked while its server
// is away.
func (g *gateway) steered() {
	g.t.Helper()
	eventually(g.t, "the gateway takes packets", func() error {
		if !xdpOf(g.t, g.lab) {
			return fmt.Errorf("no program is attached")
		}
		_, err := g.status()
		return err
	})
}

// pending waits until so many points wait in the spool's files, where a kill does not reach them, and none
// anywhere else.
func (g *gateway) pending(points uint64) {
	g.t.Helper()
	eventually(g.t, "points wait in the spool", func() error {
		s, err := g.status()
		if err == nil && (s.Ledger.SpoolPending != points || s.Ledger.InFlight != 0) {
			err = fmt.Errorf("want %d: %+v", points, s.Ledger)
		}
		if err == nil && s.Sinks[0].Spool.DiskPoints != points {
			err = fmt.Errorf("want %d on disk: %+v", points, s.Sinks[0].Spool)
		}
		return err
	})
}

// Goal: with `order: series` what a database has of a series and a timestamp is what was sent last, over an
// outage and a kill of the gateway, in both modes of the spool. Method: a real InfluxDB, and v=1 before the
// outage, v=2 in it, v=3 after a kill, and v=4 once the server is back, at one timestamp for each series.
func TestPrivOrderOverAnOutage(t *testing.T) {
	for _, mode := range []string{"on_failure", "always"} {
		t.Run(mode, func(t *testing.T) {
			need(t)
			lab := testenv.NewLab(t, 2)
			d := newDatabase(t, lab)
			d.start()
			path := write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
				`interfaces: [{name: %s, mode: native}]
listeners: [{name: plant, port: %d}]
workers: {frames: 1024}
sinks:
  - {name: main, urls: [%s], database: telemetry, order: series,
     retry: {attempts: 2, first: 20ms, max: 200ms}}
spool: {dir: %s, sync: 20ms, mode: %s}
`, lab.GatewayInterface, port, d.url, filepath.Join(t.TempDir(), "spool"), mode))
			g := start(t, lab, "run", "-c", path)
			g.ready()
			conn := udpSender(t, lab, lab.GatewayIPv4)
			const series = 100
			send := func(value int) {
				t.Helper()
				for n := range series {
					if _, err := fmt.Fprintf(conn, "order,s=%d v=%di 1000", n, value); err != nil {
						t.Fatal(err)
					}
				}
			}
			send(1)
			g.emptied(series)
			d.stop()
			send(2)
			g.pending(series)
			g.kill()
			g = start(t, lab, "run", "-c", path)
			g.steered()
			send(3)
			g.pending(2 * series)
			d.start()
			send(4)
			s := g.emptied(2 * series)
			if s.Ledger.Residue != 0 || s.Ledger.Restored != series || s.Ledger.Written != 3*series {
				t.Fatalf("%+v", s.Ledger)
			}
			rows, err := d.query("SELECT count(v), min(v), max(v) FROM \"order\"")
			if err != nil || len(rows) != 1 || fmt.Sprint(rows[0]["count"]) != fmt.Sprint(series) ||
				fmt.Sprint(rows[0]["min"]) != "4" || fmt.Sprint(rows[0]["max"]) != "4" {
				t.Fatalf("%d series were given 4 last, the database has %v, %v", series, rows, err)
			}
		})
	}
}

// Goal: a tenant's balance is exact through the spool: over an outage, a kill, what has grown too old
// meanwhile, and what the database refuses. Method: three tenants by two listeners and IPv6 at a real
// InfluxDB; some points lie just within ttl when they come and beyond it when the database is back, and some
// are of another type than the database has.
func TestPrivTenantsThroughTheSpool(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	d := newDatabase(t, lab)
	d.start()
	if _, err := d.query("CREATE DATABASE telemetry"); err != nil {
		t.Fatal(err)
	}
	const ttl = time.Hour
	path := write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: %s, mode: native}]
listeners: [{name: plant, port: %d}]
tenants:
  - {name: rest}
  - {name: four, sources: [%s]}
workers: {frames: 1024}
sinks:
  - {name: main, urls: [%s], database: telemetry, ttl: %s,
     retry: {attempts: 2, first: 20ms, max: 200ms}}
spool: {dir: %s, sync: 20ms}
`, lab.GatewayInterface, port, lab.SenderIPv4, d.url, ttl, filepath.Join(t.TempDir(), "spool")))
	g := start(t, lab, "run", "-c", path)
	g.ready()
	four, six := udpSender(t, lab, lab.GatewayIPv4), udpSender(t, lab, lab.GatewayIPv6)
	sendTo := func(conn net.Conn, format string, n int, age time.Duration) {
		t.Helper()
		for i := range n {
			stamp := time.Now().Add(-age).UnixNano() + int64(i)
			if _, err := fmt.Fprintf(conn, format+" %d", i, stamp); err != nil {
				t.Fatal(err)
			}
		}
	}
	sendTo(four, "typed v=%d", 1, 0) // a float, so that a string is refused
	g.emptied(1)
	d.stop()
	const soon = 4 * time.Second
	begun := time.Now()
	sendTo(four, "four v=%d", 50, 0)
	sendTo(four, "old,t=four v=%d", 20, ttl-soon)
	sendTo(six, "six v=%d", 30, 0)
	sendTo(six, "old,t=six v=%d", 10, ttl-soon)
	sendTo(six, "typed v=\"%d\"", 5, 0)
	g.pending(115)
	g.kill()
	g = start(t, lab, "run", "-c", path)
	g.steered()
	sendTo(six, "six,again=yes v=%d", 7, 0)
	g.pending(122)
	time.Sleep(time.Until(begun.Add(soon + 100*time.Millisecond)))
	d.start()
	s := g.emptied(7)
	f := func(name string, received, restored, written, ttl, refused uint64) {
		t.Helper()
		l := tenantOf(t, s, name).Ledger
		if l.Received != received || l.Restored != restored || l.Written != written || l.Residue != 0 ||
			l.Dropped["ttl"] != ttl || sum(l.Rejected) != refused || l.SpoolPending+l.InFlight != 0 {
			t.Errorf("%s: %+v", name, l)
		}
	}
	f("four", 0, 70, 50, 20, 0)
	f("rest", 7, 45, 37, 10, 5)
	if s.Ledger.Residue != 0 || s.Ledger.Dropped["ttl"] != 30 || s.Ledger.Written != 87 {
		t.Errorf("%+v", s.Ledger)
	}
	g.exposes(
		`culvert_points_written_total{sink="main",tenant="four"} 50`,
		`culvert_points_dropped_total{reason="ttl",sink="main",tenant="four"} 20`,
		`culvert_points_restored_total{sink="main",tenant="rest"} 45`,
		`culvert_points_spooled_total{sink="main",tenant="rest"} 7`,
		`culvert_points_replayed_total{sink="main",tenant="rest"} 37`,
		`culvert_points_spool_pending{sink="main",tenant="rest"} 0`,
	)
	for text, want := range map[string]string{
		"SELECT count(v) FROM four": "50", "SELECT count(v) FROM six": "37",
		"SELECT count(v) FROM typed": "1",
	} {
		rows, err := d.query(text)
		if err != nil || len(rows) != 1 || fmt.Sprint(rows[0]["count"]) != want {
			t.Errorf("%s: %v, %v, want %s", text, rows, err, want)
		}
	}
	if rows, err := d.query("SELECT count(v) FROM old"); err != nil || len(rows) != 0 {
		t.Errorf("what was too old is in the database: %v, %v", rows, err)
	}
}
