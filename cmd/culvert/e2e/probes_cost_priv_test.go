package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"culvert/controlplane/fakesink"
	"culvert/controlplane/loadgen"
	"culvert/scripts/testenv"
)

var (
	costRounds = flag.Int("probe-rounds", 1, "gateways of TestPrivProbesCost, one after the other")
	costPairs  = flag.Int("probe-pairs", 1, "pairs of loads of each of them, with and without probes")
	costTime   = flag.Duration("probe-time", 500*time.Millisecond, "time of one paced load")
	costRate   = flag.Float64("probe-rate", 100_000, "its points a second")
	costSearch = flag.Bool("probe-search", true, "whether each looks for the highest rate without loss, too")
)

const (
	// searchSteps halve the range of rates so often: the result is one part of 2⁶ of it, 1.1 % of its top.
	searchSteps = 6
	// searchFloor is where the range begins, as a part of what came in as fast as the sender goes.
	searchFloor = 0.3
)

// thread is how long one thread has run so far, and the CPUs that it may run on, as the kernel writes them.
type thread struct {
	nanoseconds int64
	cpus        string
}

// threads are those of a process, but for those that ended meanwhile.
func threads(t *testing.T, pid int) (all []thread) {
	t.Helper()
	folders, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", pid))
	if err != nil || folders == nil {
		t.Fatalf("no threads of %d: %v", pid, err)
	}
	for _, folder := range folders {
		times, err := os.ReadFile(filepath.Join(folder, "schedstat"))
		status, errStatus := os.ReadFile(filepath.Join(folder, "status"))
		if err = errors.Join(err, errStatus); errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue
		}
		first, _, _ := strings.Cut(string(times), " ")
		n, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		_, cpus, _ := strings.Cut(string(status), "Cpus_allowed_list:\t")
		cpus, _, _ = strings.Cut(cpus, "\n")
		all = append(all, thread{n, cpus})
	}
	return all
}

// cpuTime is how long all threads of a process have run, in nanoseconds.
func cpuTime(t *testing.T, pid int) (sum int64) {
	t.Helper()
	for _, one := range threads(t, pid) {
		sum += one.nanoseconds
	}
	return sum
}

// settleDown waits until a process is idle: reading the kernel's types, which probes need once when they are
// attached, leaves memory behind that is collected and given back for a while, and is no cost of points.
func settleDown(t *testing.T, pid int) {
	t.Helper()
	const window, idle = 250 * time.Millisecond, int64(5 * time.Millisecond)
	before := cpuTime(t, pid)
	eventually(t, "idle", func() error {
		time.Sleep(window)
		now := cpuTime(t, pid)
		took := now - before
		if before = now; took > idle {
			return fmt.Errorf("%d ns of CPU in %s", took, window)
		}
		return nil
	})
}

// costRig is one gateway whose probes are switched on and off while it runs, so that what two processes
// differ in by chance, such as where their memory lies, is no part of the difference.
type costRig struct {
	*gateway
	dir, url string
	on       bool
}

func newCostRig(t *testing.T, on bool) *costRig {
	t.Helper()
	lab := testenv.NewLab(t, 1)
	url, _ := checkingSink(t, lab, fakesink.Config{})
	r := &costRig{dir: t.TempDir(), url: url, on: on}
	r.gateway = start(t, lab, "run", "-c", r.configure(t))
	r.ready()
	r.switched()
	return r
}

func (r *costRig) configure(t *testing.T) string {
	t.Helper()
	return write(t, r.dir, "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: gw0, mode: native, stall_after: 10s}]
listeners: [{name: plant, port: %d}]
workers: {wait: sleep}
probes: {enabled: %t}
sinks: [{name: main, urls: [%s], database: telemetry}]
`, port, r.on, r.url))
}

// switched waits until all probes are as they should be and the gateway is idle.
func (r *costRig) switched() {
	r.t.Helper()
	want := 0.0
	if r.on {
		want = 1
	}
	eventually(r.t, "probes", func() error {
		if got := r.figures()[`culvert_probe_up{probe="packet_drops"}`]; got != want {
			return fmt.Errorf("on: %v, want %v", got, want)
		}
		return nil
	})
	settleDown(r.t, r.command.Process.Pid)
}

// probes switches them by a reload, unless they are so already.
func (r *costRig) probes(on bool) {
	r.t.Helper()
	if r.on == on {
		return
	}
	r.on = on
	r.configure(r.t)
	if code, out := r.reload(); code != 0 {
		r.t.Fatalf("reload: exit code %d\n%s", code, out)
	}
	r.switched()
}

// send sends for a while, waits until the gateway is idle, and returns how many points came in.
func (r *costRig) send(config loadgen.Config) (received uint64, sent loadgen.Report) {
	r.t.Helper()
	before := r.received()
	config.PointsPerPacket = 10
	sent = load(r.t, r.lab, config)
	settleDown(r.t, r.command.Process.Pid)
	return r.received() - before, sent
}

func (r *costRig) received() uint64 {
	r.t.Helper()
	s, err := r.status()
	if err != nil {
		r.t.Fatal(err)
	}
	return s.Ledger.Received
}

// paced is the gateway's CPU time for each point of a load that leaves it idle most of the time, up to its
// end and no further: an idle gateway has its own housekeeping. ended is called then.
func (r *costRig) paced(ended func()) (nanoseconds float64, points uint64) {
	r.t.Helper()
	points = r.received()
	before := cpuTime(r.t, r.command.Process.Pid)
	load(r.t, r.lab, loadgen.Config{Rate: *costRate, Duration: *costTime, PointsPerPacket: 10})
	took := cpuTime(r.t, r.command.Process.Pid) - before
	ended()
	settleDown(r.t, r.command.Process.Pid)
	if points = r.received() - points; points == 0 {
		r.t.Fatal("no point came in")
	}
	return float64(took) / float64(points), points
}

// flooded is how many points a second came in while the sender sent as fast as it goes.
func (r *costRig) flooded() float64 {
	r.t.Helper()
	points, sent := r.send(loadgen.Config{Duration: *costTime / 2})
	return float64(points) / sent.Seconds
}

// losses are packets and points so far that were sent and are not in the sink.
func (r *costRig) losses() uint64 {
	r.t.Helper()
	s, err := r.status()
	if err != nil {
		r.t.Fatal(err)
	}
	return r.lab.WireDrops(r.t) + sum(s.Packets.Drops) + s.Packets.KernelDrops + sum(s.Ledger.Dropped)
}

// lossFree is the highest of the rates below a flood's at which nothing is lost, by halving. A rate that the
// sender does not hold counts as lost: it says nothing of the gateway.
func (r *costRig) lossFree(flood float64) (best float64) {
	r.t.Helper()
	low, high := searchFloor*flood, flood
	for range searchSteps {
		rate, lost := (low+high)/2, r.losses()
		_, sent := r.send(loadgen.Config{Rate: rate, Duration: *costTime / 4})
		if sent.Held && r.losses() == lost {
			low, best = rate, max(best, sent.Rate)
		} else {
			high = rate
		}
	}
	return best
}

// costs are what one state of the probes costs: CPU time a point, and two rates of points.
type costs struct{ paced, flooded, lossFree []pair }

// measure takes one gateway through its pairs: without and with probes, with and without, and so on, so that
// what drifts with time is in both alike.
func (c *costs) measure(t *testing.T, round int) {
	t.Helper()
	first := round%2 == 1
	r := newCostRig(t, first)
	var paced, flooded, lossFree pair
	for n := range *costPairs {
		for _, on := range [2]bool{first != (n%2 == 1), first == (n%2 == 1)} {
			r.probes(on)
			nanoseconds, _ := r.paced(func() {})
			paced.put(on, nanoseconds)
			flooded.put(on, r.flooded())
		}
		c.paced, c.flooded = append(c.paced, paced), append(c.flooded, flooded)
	}
	if *costSearch {
		for _, on := range [2]bool{r.on, !r.on} {
			r.probes(on)
			lossFree.put(on, r.lossFree(max(flooded.off, flooded.on)))
		}
		c.lossFree = append(c.lossFree, lossFree)
	}
	if code := r.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}

// Goal: what the probes cost, with figures that a person reads (make bench-probes); no time is asserted here.
// Method: gateways whose probes are switched on and off in turn, under the same loads; then one more with the
// kernel's own account of its programs' time, which costs time itself.
func TestPrivProbesCost(t *testing.T) {
	need(t)
	testenv.Need(t, unix.CAP_PERFMON)
	var all costs
	for round := range *costRounds {
		all.measure(t, round)
	}
	for _, one := range []struct {
		what, unit string
		pairs      []pair
		worse      float64
	}{
		{"CPU per point", "ns", all.paced, more},
		{"points/s of a flood", "points/s", all.flooded, less},
		{"highest loss-free rate", "points/s", all.lossFree, less},
	} {
		if len(one.pairs) == 0 {
			continue
		}
		off, on := sides(one.pairs)
		t.Logf("probes off, on: %s: median %.0f, %.0f %s", one.what, off, on, one.unit)
		t.Logf("probes cost of %s: %s", one.what, judge(one.pairs, one.worse))
	}
	counting, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		t.Fatalf("let the kernel account for programs: %v", err)
	}
	defer counting.Close()
	attachEmpty(t)
	r := newCostRig(t, true)
	before, after := account(t), map[string]ebpf.ProgramStats(nil)
	nanoseconds, points := r.paced(func() { after = account(t) })
	logAccount(t, before, after, points, nanoseconds)
	if code := r.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}
