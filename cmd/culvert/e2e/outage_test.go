package e2e

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"culvert/controlplane/loadgen"
	"culvert/controlplane/telemetry"
	"culvert/scripts/testenv"
)

// outageEnv overrides how many points TestReplayBesideLiveTraffic spools.
const outageEnv = "CULVERT_OUTAGE"

// stages are those of a live point that replay can make longer: until its batch is sealed, until the server
// has answered for it, and all of it from the packet on.
var stages = []string{"batch_wait", "write", "end_to_end"}

// stageTimes is, for each of the stages, how many points, or batches, took at most so many seconds.
func (g *gateway) stageTimes() (times []map[float64]uint64) {
	g.t.Helper()
	_, text, err := g.get("/metrics")
	if err != nil {
		g.t.Fatal(err)
	}
	for _, stage := range stages {
		times = append(times, g.stageOf(text, stage))
	}
	return times
}

// stageOf reads one stage.
func (g *gateway) stageOf(text, stage string) map[float64]uint64 {
	g.t.Helper()
	prefix := `culvert_stage_seconds_bucket{stage="` + stage + `",le="`
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

// p99 is the time, in seconds, below which 99 of 100 points lie that came between two readings; within a
// bucket they count as evenly spread.
func p99(before, after map[float64]uint64) float64 {
	bounds := make([]float64, 0, len(after))
	for le := range after {
		bounds = append(bounds, le)
	}
	slices.Sort(bounds)
	want := 0.99 * float64(after[math.Inf(1)]-before[math.Inf(1)])
	low, below := 0.0, 0.0
	for _, le := range bounds {
		up := float64(after[le] - before[le])
		if up >= want && up > below {
			return low + (min(le, 2*low+1)-low)*(want-below)/(up-below)
		}
		low, below = le, up
	}
	return math.NaN()
}

// p99s is p99 of each stage.
func p99s(before, after []map[float64]uint64) (seconds []float64) {
	for i := range stages {
		seconds = append(seconds, p99(before[i], after[i]))
	}
	return seconds
}

// Goal: what a long outage has left on disk is delivered while live traffic goes on, in less time than it
// took to come, and the live traffic hardly notices; the disk is given back. Method: the server is killed, as
// many points as asked come as fast as they can, and it is started again below a steady load. The figures are
// printed: replayed points a second, the live points' latency before and during replay by stage, and who
// used the CPUs; what must hold is that nothing is lost and that the spool ends up empty. It is no TestPriv…,
// since the emulated machines of those do not get that far in the time.
func TestReplayBesideLiveTraffic(t *testing.T) {
	need(t)
	t.Run("InfluxDB", func(t *testing.T) {
		lab := testenv.NewLab(t, 2)
		d := newDatabase(t, lab)
		d.inMemory()
		written := replayBeside(t, lab, d.url, d.start, d.stop, func() int { return d.command.Process.Pid })
		rows, err := d.query("SELECT count(temperature) FROM m")
		if err != nil || len(rows) != 1 || fmt.Sprint(rows[0]["count"]) != fmt.Sprint(written) {
			t.Log(d.gaps())
			t.Fatalf("%d points written, the database has %v, %v", written, rows, err)
		}
	})
	// A server that does nothing with points shows what of the latency is the gateway's.
	t.Run("sink", func(t *testing.T) {
		lab := testenv.NewLab(t, 2)
		var sink *gateway
		begin := func() { sink = start(t, lab, "sink", "--listen", "127.0.0.1:8086", "--count") }
		replayBeside(t, lab, "http://127.0.0.1:8086", begin, func() { sink.kill() },
			func() int { return sink.command.Process.Pid })
	})
}

// gaps are the live points' numbers that the database lacks, each with the time of the one before.
func (d *database) gaps() (gaps []string) {
	d.t.Helper()
	rows, err := d.query("SELECT seq FROM m")
	if err != nil {
		d.t.Fatal(err)
	}
	times := map[int64]int64{}
	last := int64(0)
	for _, r := range rows {
		number, _ := strconv.ParseInt(fmt.Sprint(r["seq"]), 10, 64)
		at, _ := strconv.ParseInt(fmt.Sprint(r["time"]), 10, 64)
		times[number], last = at, max(last, number)
	}
	missing := false
	for number := range last {
		_, there := times[number]
		if !there && !missing {
			gaps = append(gaps, fmt.Sprintf("%d, behind the one of %v", number,
				time.Unix(0, times[number-1]).UTC()))
		}
		missing = !there
	}
	return append(gaps, fmt.Sprintf("%d live ones are there, the last is %d", len(times), last))
}

// liveRate is the steady load's, in points a second.
const liveRate = 10_000

// liveTemplate gives the steady load series of its own. Each load gives no timestamp twice, but two of them
// at once may give the same one, and with the same series the database would have one point for both.
const liveTemplate = "m,from=live,s={series} temperature={temperature}"

func outagePoints(t *testing.T) uint64 {
	count := uint64(150_000)
	if text := os.Getenv(outageEnv); text != "" {
		if _, err := fmt.Sscan(text, &count); err != nil {
			t.Fatalf("%s: %v", outageEnv, err)
		}
	}
	return count
}

// replayBeside is TestReplayBesideLiveTraffic with one kind of server.
// It returns how many points were written in all.
func replayBeside(t *testing.T, lab *testenv.Lab, url string, start, stop func(), pid func() int) uint64 {
	start()
	path := write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: %s, mode: native, stall_after: 10s}]
listeners: [{name: plant, port: %d}]
sinks: [{name: main, urls: [%s], database: telemetry, retry: {attempts: 2, first: 20ms, max: 200ms}}]
spool: {dir: %s}
`, lab.GatewayInterface, port, url, filepath.Join(t.TempDir(), "spool")))
	g := startCommand(t, lab, exec.Command(culvert, "run", "-c", path))
	g.ready()
	endLive := keepLive(t, lab)
	time.Sleep(3 * time.Second)
	before := g.stageTimes()
	time.Sleep(3 * time.Second)
	without := p99s(before, g.stageTimes())

	t.Logf("killed at %v", time.Now().UTC())
	stop()
	flood := load(t, lab, loadgen.Config{
		Rate: 400_000, Count: outagePoints(t), PointsPerPacket: 20, Template: "short", Seed: 2,
	})
	s := g.spooled(flood.Points)
	spool := s.Sinks[0].Spool
	t.Logf("%d points wait in %d bytes, %.1f a point", spool.Pending, spool.Bytes,
		float64(spool.Bytes)/float64(spool.Pending))
	t.Logf("started at %v", time.Now().UTC())
	start()
	g.ready()
	begun, first, replayed := time.Now(), g.stageTimes(), spool.Replayed
	serverCPU, gatewayCPU := cpuTime(t, pid()), cpuTime(t, g.command.Process.Pid)
	var windows []float64 // P99 from end to end of each second
	for window := first; s.Ledger.SpoolPending > 0; {
		time.Sleep(time.Second)
		now := g.stageTimes()
		windows = append(windows, p99s(window, now)[len(stages)-1])
		window = now
		var err error
		if s, err = g.status(); err != nil || time.Since(begun) > outagePatience(flood.Points) {
			t.Fatalf("it takes too long: %+v, %v", s, err)
		}
	}
	took, during := time.Since(begun).Seconds(), p99s(first, g.stageTimes())
	serverCPU, gatewayCPU = cpuTime(t, pid())-serverCPU, cpuTime(t, g.command.Process.Pid)-gatewayCPU
	after := g.stageTimes()
	time.Sleep(3 * time.Second)
	slices.Sort(windows)
	t.Logf("flood: %.0f points/s in; replay: %.0f points/s beside %d live ones for %.1f s", flood.Rate,
		float64(s.Sinks[0].Spool.Replayed-replayed)/took, liveRate, took)
	behind := p99s(after, g.stageTimes())
	for i, stage := range stages {
		t.Logf("live P99 of %s: before %.4g s, during replay %.4g s, after %.4g s", stage, without[i],
			during[i], behind[i])
	}
	t.Logf("each second's P99 of %s during replay: %.4g to %.4g s, median %.4g s", stages[len(stages)-1],
		windows[0], windows[len(windows)-1], windows[len(windows)/2])
	t.Logf("of a CPU the server used %.2f during replay, the gateway %.2f", float64(serverCPU)/1e9/took,
		float64(gatewayCPU)/1e9/took)
	sent := flood.Points + endLive()
	written := g.drained()
	if lost := 20 * lab.WireDrops(t); written > sent || written+lost < sent {
		t.Errorf("%d points sent, at most %d lost by the cable, %d written", sent, lost, written)
	}
	return written
}

// outagePatience bounds the replay of so many points: where the server has no room it gets half as much again
// as live traffic.
func outagePatience(points uint64) time.Duration {
	return time.Minute + time.Duration(points)*time.Second/(liveRate*3/2)
}

// spooled waits until at least so many points are in the spool, and none on its way there but the live ones.
func (g *gateway) spooled(points uint64) (s *telemetry.Status) {
	g.t.Helper()
	eventually(g.t, "all is on disk", func() (err error) {
		if s, err = g.status(); err == nil && s.Ledger.SpoolPending < points {
			err = fmt.Errorf("%+v", s.Ledger)
		}
		return err
	})
	return s
}

// drained waits until all is delivered and the disk given back, checks that nothing was lost and returns how
// many points are written.
func (g *gateway) drained() (written uint64) {
	g.t.Helper()
	eventually(g.t, "all is delivered and the disk is given back", func() error {
		s, err := g.status()
		if err == nil && (s.Ledger.InFlight+s.Ledger.SpoolPending > 0 || s.Sinks[0].Spool.Segments != 0) {
			err = fmt.Errorf("%+v, %+v", s.Ledger, s.Sinks[0].Spool)
		}
		if err == nil && (s.Ledger.Residue != 0 || s.Ledger.Written != s.Ledger.Received) {
			g.t.Fatalf("%+v", s.Ledger)
		}
		if err == nil {
			written = s.Ledger.Written
		}
		return err
	})
	return written
}

// keepLive sends a steady load until the function that it returns is called, which tells how many points that
// were.
func keepLive(t *testing.T, lab *testenv.Lab) (end func() uint64) {
	var sent uint64
	gateway, _ := netip.AddrFromSlice(lab.GatewayIPv4.To4())
	ctx, cancel := context.WithCancel(t.Context())
	done := lab.Sender.Go(func() error {
		report, err := loadgen.Run(ctx, loadgen.Config{
			To: []netip.AddrPort{netip.AddrPortFrom(gateway, port)}, Rate: liveRate, Duration: time.Hour,
			PointsPerPacket: 10, Template: liveTemplate, Seed: 1, Sequence: true,
		})
		sent = report.Points
		return err
	})
	return func() uint64 {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		return sent
	}
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
