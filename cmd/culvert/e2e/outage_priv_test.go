package e2e

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"culvert/controlplane/loadgen"
	"culvert/scripts/testenv"
)

// outageEnv overrides how many points TestPrivReplayBesideLiveTraffic spools.
const outageEnv = "CULVERT_OUTAGE"

// endToEnd is how many points took at most so many seconds from the packet to the database's answer.
func (g *gateway) endToEnd() map[float64]uint64 {
	g.t.Helper()
	_, text, err := g.get("/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	const prefix = `culvert_stage_seconds_bucket{stage="end_to_end",le="`
	counts := map[float64]uint64{}
	for line := range strings.Lines(text) {
		rest, found := strings.CutPrefix(line, prefix)
		if !found {
			continue
		}
		bound, number, _ := strings.Cut(rest, `"} `)
		le, err := strconv.ParseFloat(bound, 64)
		n, numberErr := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || numberErr != nil {
			g.t.Fatalf("read %q: %v, %v", line, err, numberErr)
		}
		counts[le] = uint64(n)
	}
	return counts
}

// p99 is the bound below which 99 of 100 points lie that came between two readings.
func p99(before, after map[float64]uint64) float64 {
	bounds := make([]float64, 0, len(after))
	for le := range after {
		bounds = append(bounds, le)
	}
	slices.Sort(bounds)
	all := after[math.Inf(1)] - before[math.Inf(1)]
	for _, le := range bounds {
		if (after[le]-before[le])*100 >= all*99 {
			return le
		}
	}
	return math.NaN()
}

// Goal: what a long outage has left on disk is delivered while live traffic goes on, in less time than it
// took to come, and the live traffic hardly notices; the disk is given back. Method: InfluxDB is killed, as
// many points as asked come as fast as they can, and it is started again below a steady load. The figures are
// printed: replayed points a second, and the live points' latency before and during replay; what must hold is
// that nothing is lost and that the spool ends up empty.
func TestPrivReplayBesideLiveTraffic(t *testing.T) {
	need(t)
	count := uint64(200_000)
	if text := os.Getenv(outageEnv); text != "" {
		if _, err := fmt.Sscan(text, &count); err != nil {
			t.Fatalf("%s: %v", outageEnv, err)
		}
	}
	const live = 10_000 // points a second
	lab := testenv.NewLab(t, 2)
	d := newDatabase(t, lab)
	d.start()
	path := write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: %s, mode: native, stall_after: 10s}]
listeners: [{name: plant, port: %d}]
sinks: [{name: main, urls: [%s], database: telemetry, retry: {attempts: 2, first: 20ms, max: 200ms}}]
spool: {dir: %s}
`, lab.GatewayInterface, port, d.url, filepath.Join(t.TempDir(), "spool")))
	g := start(t, lab, "run", "-c", path)
	g.ready()
	steady := loadgen.Config{
		Rate: live, Duration: 3 * time.Second, PointsPerPacket: 10, Template: "short", Seed: 1,
	}
	load(t, lab, steady)
	before := g.endToEnd()
	load(t, lab, steady)
	quiet := g.endToEnd()

	d.stop()
	flood := load(t, lab, loadgen.Config{
		Rate: 400_000, Count: count, PointsPerPacket: 20, Template: "short", Seed: 2,
	})
	eventually(t, "all is on disk", func() error {
		s, err := g.status()
		if err == nil && (s.Ledger.InFlight > 0 || s.Ledger.SpoolPending == 0) {
			err = fmt.Errorf("%+v", s.Ledger)
		}
		return err
	})
	s, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	waiting := s.Ledger.SpoolPending
	t.Logf("%d points wait in %d bytes, %.1f a point", waiting, s.Sinks[0].Spool.Bytes,
		float64(s.Sinks[0].Spool.Bytes)/float64(waiting))
	d.start()
	g.ready()
	begun, first := time.Now(), g.endToEnd()
	replayed := s.Sinks[0].Spool.Replayed
	var during, took float64
	for took == 0 {
		load(t, lab, loadgen.Config{
			Rate: live, Duration: time.Second, PointsPerPacket: 10, Template: "short", Seed: 3,
		})
		if s, err = g.status(); err != nil {
			t.Fatal(err)
		}
		if s.Ledger.SpoolPending == 0 {
			took = time.Since(begun).Seconds()
			during = p99(first, g.endToEnd())
		} else if time.Since(begun) > 150*time.Second {
			t.Fatalf("it takes too long: %+v", s.Ledger)
		}
	}
	t.Logf("flood: %.0f points/s in; replay: %.0f points/s beside %d live ones; live P99 ≤ %.4g s without, "+
		"≤ %.4g s with replay", flood.Rate,
		float64(s.Sinks[0].Spool.Replayed-replayed)/took, live, p99(before, quiet), during)
	if s = g.emptied(s.Ledger.Received); s.Ledger.Residue != 0 || len(s.Ledger.Dropped) > 0 ||
		s.Ledger.Written != s.Ledger.Received {
		t.Fatalf("%+v", s.Ledger)
	}
	rows, err := d.query("SELECT count(temperature) FROM m")
	if err != nil || len(rows) != 1 || fmt.Sprint(rows[0]["count"]) != fmt.Sprint(s.Ledger.Written) {
		t.Fatalf("%d points written, the database has %v, %v", s.Ledger.Written, rows, err)
	}
	eventually(t, "the disk is given back", func() error {
		s, err := g.status()
		if err == nil && s.Sinks[0].Spool.Segments != 0 {
			err = fmt.Errorf("%+v", s.Sinks[0].Spool)
		}
		return err
	})
}
