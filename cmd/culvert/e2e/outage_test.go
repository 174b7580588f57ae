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

	"golang.org/x/sys/unix"

	"culvert/controlplane/loadgen"
	"culvert/scripts/testenv"
)

// outageEnv overrides how many points TestReplayBesideLiveTraffic spools.
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
// that nothing is lost and that the spool ends up empty. It is no TestPriv…, since the emulated machines of
// those do not get that far in the time.
func TestReplayBesideLiveTraffic(t *testing.T) {
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
	var windows []float64 // P99 of each second
	for took == 0 {
		window := g.endToEnd()
		load(t, lab, loadgen.Config{
			Rate: live, Duration: time.Second, PointsPerPacket: 10, Template: "short", Seed: 3,
		})
		if s, err = g.status(); err != nil {
			t.Fatal(err)
		}
		windows = append(windows, p99(window, g.endToEnd()))
		if s.Ledger.SpoolPending == 0 {
			took = time.Since(begun).Seconds()
			during = p99(first, g.endToEnd())
		} else if time.Since(begun) > 150*time.Second {
			t.Fatalf("it takes too long: %+v", s.Ledger)
		}
	}
	after := g.endToEnd()
	load(t, lab, steady)
	t.Logf("live P99 of each second of replay ≤ %.4g s; then without ≤ %.4g s", windows,
		p99(after, g.endToEnd()))
	replayed = s.Sinks[0].Spool.Replayed - replayed
	if s, err = g.status(); err != nil {
		t.Fatal(err)
	}
	t.Logf("flood: %.0f points/s in; replay: %.0f points/s beside %d live ones; live P99 ≤ %.4g s without, "+
		"≤ %.4g s with replay", flood.Rate,
		float64(replayed)/took, live, p99(before, quiet), during)
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

// Goal: a disk that fills up to the brim during an outage costs no point as long as memory keeps the rest, is
// said, and is drained to the last byte. Method: the spool on a tmpfs of 32 MiB that is smaller than
// spool.max, more points than it holds while InfluxDB is away, then InfluxDB again. It is no TestPriv… as the
// one before.
func TestSpoolFillsTheDisk(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	d := newDatabase(t, lab)
	disk := t.TempDir()
	if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=32m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(disk, unix.MNT_DETACH) })
	path := write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: %s, mode: native, stall_after: 10s}]
listeners: [{name: plant, port: %d}]
sinks: [{name: main, urls: [%s], database: telemetry, retry: {attempts: 2, first: 20ms, max: 200ms}}]
spool: {dir: %s, segment: 4MiB, max: 128MiB, compression: none}
`, lab.GatewayInterface, port, d.url, filepath.Join(disk, "spool")))
	g := start(t, lab, "run", "-c", path)
	eventually(t, "XDP is on", func() error {
		if !xdpOf(t, lab) {
			return fmt.Errorf("no program is attached")
		}
		_, err := g.status()
		return err
	})
	// 46 bytes each: 41 MiB.
	load(t, lab, loadgen.Config{
		Rate: 300_000, Count: 900_000, PointsPerPacket: 20, Template: "short", Seed: 1,
	})
	eventually(t, "the disk is full and memory keeps the rest", func() error {
		s, err := g.status()
		if err == nil && (s.Ledger.InFlight > 0 || s.Sinks[0].Spool.MemoryPoints == 0 ||
			!strings.Contains(s.Sinks[0].Spool.DiskError, "no space left")) {
			err = fmt.Errorf("%+v, %+v", s.Ledger, s.Sinks[0].Spool)
		}
		return err
	})
	var room unix.Statfs_t
	if err := unix.Statfs(disk, &room); err != nil {
		t.Fatal(err)
	}
	s, err := g.status()
	if err != nil || s.Ledger.Residue != 0 || len(s.Ledger.Dropped) > 0 {
		t.Fatalf("%+v, %v", s.Ledger, err)
	}
	t.Logf("%d bytes left on the disk, %d of %d points in memory", room.Bavail*uint64(room.Bsize),
		s.Sinks[0].Spool.MemoryPoints, s.Ledger.SpoolPending)
	received := s.Ledger.Received
	d.start()
	s = g.emptied(received)
	if s.Ledger.Written != received || s.Ledger.Residue != 0 || len(s.Ledger.Dropped) > 0 {
		t.Fatalf("%+v", s.Ledger)
	}
	rows, err := d.query("SELECT count(temperature) FROM m")
	if err != nil || len(rows) != 1 || fmt.Sprint(rows[0]["count"]) != fmt.Sprint(received) {
		t.Fatalf("%d points received, the database has %v, %v", received, rows, err)
	}
	eventually(t, "the disk is given back", func() error {
		s, err := g.status()
		if err == nil && (s.Sinks[0].Spool.Segments != 0 || s.Sinks[0].Spool.DiskError != "") {
			err = fmt.Errorf("%+v", s.Sinks[0].Spool)
		}
		return err
	})
}
