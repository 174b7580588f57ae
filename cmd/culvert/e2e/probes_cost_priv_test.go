package e2e

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"culvert/controlplane/fakesink"
	"culvert/controlplane/loadgen"
	"culvert/scripts/testenv"
)

var (
	costRounds = flag.Int("probe-rounds", 1, "rounds of TestPrivProbesCost, each with and without probes")
	costTime   = flag.Duration("probe-time", 500*time.Millisecond, "time of one load of TestPrivProbesCost")
	costRate   = flag.Float64("probe-rate", 100_000, "points a second of TestPrivProbesCost's paced load")
	costSearch = flag.Bool("probe-search", true, "whether TestPrivProbesCost looks for the highest rate, too")
)

// cost is what one gateway took for a paced load, and how far it got.
type cost struct {
	nanosecondsPerPoint float64 // the gateway's CPU time at the pace
	pointsPerSecond     float64 // the highest rate that was tried and lost nothing
}

const (
	// searchSteps halve the range of rates so often: the result is one part of 2⁶ of it, 1.1 % of its top.
	searchSteps = 6
	// searchFloor is where the range begins, as a part of what came in as fast as the sender goes.
	searchFloor = 0.3
)

// cpuTime is how long all threads of a process have run, in nanoseconds.
func cpuTime(t *testing.T, pid int) (sum int64) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || files == nil {
		t.Fatalf("no threads of %d: %v", pid, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue
		}
		first, _, _ := strings.Cut(string(text), " ")
		n, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}

// settleDown waits until a process is idle: reading the kernel's types, which probes need once at the start,
// leaves memory behind that is collected and given back for a while, and is no cost of points.
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

// losses are packets and points so far that were sent and are not in the sink.
func (g *gateway) losses() uint64 {
	g.t.Helper()
	s, err := g.status()
	if err != nil {
		g.t.Fatal(err)
	}
	return g.lab.WireDrops(g.t) + sum(s.Packets.Drops) + s.Packets.KernelDrops + sum(s.Ledger.Dropped)
}

// lossFree is the highest of the rates below what comes in as fast as the sender goes at which nothing is
// lost, by halving. A rate that the sender does not hold counts as lost: it says nothing of the gateway.
func lossFree(t *testing.T, lab *testenv.Lab, g *gateway) float64 {
	t.Helper()
	run := *costTime / 4
	received := func() uint64 {
		s, err := g.status()
		if err != nil {
			t.Fatal(err)
		}
		return s.Ledger.Received
	}
	before := received()
	fast := load(t, lab, loadgen.Config{Duration: run, PointsPerPacket: 10})
	settleDown(t, g.command.Process.Pid)
	high := float64(received()-before) / fast.Seconds
	low := searchFloor * high
	best := 0.0
	for range searchSteps {
		rate, lost := (low+high)/2, g.losses()
		sent := load(t, lab, loadgen.Config{Rate: rate, Duration: run, PointsPerPacket: 10})
		settleDown(t, g.command.Process.Pid)
		if sent.Held && g.losses() == lost {
			low, best = rate, max(best, sent.Rate)
		} else {
			high = rate
		}
	}
	return best
}

// measureCost runs one gateway. With probes it waits until all are on. The highest rate is looked for if it
// is asked for.
func measureCost(t *testing.T, on, search bool) (c cost) {
	t.Helper()
	lab := testenv.NewLab(t, 1)
	url, _ := checkingSink(t, lab, fakesink.Config{})
	path := write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: %s, mode: native, stall_after: 10s}]
listeners: [{name: plant, port: %d}]
workers: {wait: sleep}
probes: {enabled: %t}
sinks: [{name: main, urls: [%s], database: telemetry}]
`, lab.GatewayInterface, port, on, url))
	g := start(t, lab, "run", "-c", path)
	g.ready()
	want := 0.0
	if on {
		want = 1
	}
	eventually(t, "probes", func() error {
		if got := g.figures()[`culvert_probe_up{probe="packet_drops"}`]; got != want {
			return fmt.Errorf("on: %v, want %v", got, want)
		}
		return nil
	})
	received := func() uint64 {
		s, err := g.status()
		if err != nil {
			t.Fatal(err)
		}
		return s.Ledger.Received
	}
	settleDown(t, g.command.Process.Pid)
	programs := account(t)
	before := cpuTime(t, g.command.Process.Pid)
	load(t, lab, loadgen.Config{Rate: *costRate, Duration: *costTime, PointsPerPacket: 10})
	paced := received()
	if paced == 0 {
		t.Fatal("no point came in")
	}
	c.nanosecondsPerPoint = float64(cpuTime(t, g.command.Process.Pid)-before) / float64(paced)
	if after := account(t); len(after) > 0 {
		logAccount(t, programs, after, paced, c.nanosecondsPerPoint)
	}
	if search {
		c.pointsPerSecond = lossFree(t, lab, g)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	return c
}

// emptyProgram does nothing. At the tracepoint that fires most it shows what the account itself takes.
const emptyProgram = "does_nothing"

// probePrograms are the names of the probes' programs.
func probePrograms() []string {
	return []string{"thread_leaves", "net_rx_begins", "napi_polled", "net_rx_ends", "redirect_failed",
		"xdp_excepted", "request_begins", "request_ends", "tcp_changes", "segment_comes", "segment_again",
		"packet_dropped"}
}

// attachEmpty lets a program that does nothing run at each switch of threads until the test ends.
func attachEmpty(t *testing.T) {
	t.Helper()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Name: emptyProgram, Type: ebpf.RawTracepoint,
		License: "GPL", Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 0), asm.Return()}})
	if err != nil {
		t.Fatalf("load a program that does nothing: %v", err)
	}
	t.Cleanup(func() { program.Close() })
	at, err := link.AttachRawTracepoint(link.RawTracepointOptions{Name: "sched_switch", Program: program})
	if err != nil {
		t.Fatalf("attach a program that does nothing: %v", err)
	}
	t.Cleanup(func() { at.Close() })
}

// account is what the probes' programs ran since they were loaded, where the kernel was asked to count.
func account(t *testing.T) map[string]ebpf.ProgramStats {
	t.Helper()
	stats, names := map[string]ebpf.ProgramStats{}, append(probePrograms(), emptyProgram)
	for id, err := ebpf.ProgramGetNextID(0); err == nil; id, err = ebpf.ProgramGetNextID(id) {
		program, err := ebpf.NewProgramFromID(id)
		if err != nil {
			continue // It has gone.
		}
		if info, err := program.Info(); err == nil && slices.Contains(names, info.Name) {
			if s, err := program.Stats(); err == nil && s.RunCount > 0 {
				stats[info.Name] = *s
			}
		}
		program.Close()
	}
	return stats
}

// logAccount says how often the programs ran during the paced load, and what that is for each point. The
// kernel reads its clock around each run: what a program that does nothing takes by that account is what the
// account adds to each, and is taken off for the last figure. The runs for other processes' switches and
// packets, which the programs pass over, are all in it.
func logAccount(t *testing.T, before, after map[string]ebpf.ProgramStats, points uint64, perPoint float64) {
	t.Helper()
	since := func(name string) (runs uint64, took time.Duration) {
		return after[name].RunCount - before[name].RunCount, after[name].Runtime - before[name].Runtime
	}
	var runs uint64
	var sum time.Duration
	for _, name := range probePrograms() {
		n, took := since(name)
		if n == 0 || before[name].RunCount > after[name].RunCount { // the one before has just gone
			continue
		}
		runs, sum = runs+n, sum+took
		t.Logf("%-16s %9d runs, %5d ns each, %7.3f ms together", name, n, int64(took)/int64(n),
			took.Seconds()*1000)
	}
	nothing, took := since(emptyProgram)
	if nothing == 0 {
		t.Fatal("no thread switched")
	}
	each := float64(took) / float64(nothing)
	t.Logf("%-16s %9d runs, %5.0f ns each: the account's own cost", emptyProgram, nothing, each)
	with := float64(sum) / float64(points)
	own := max(with-each*float64(runs)/float64(points), 0)
	t.Logf("all programs     %9d runs, %.0f ns a point of the gateway's %.0f with the account's own cost, "+
		"%.0f ns (%.1f %%) without", runs, with, perPoint, own, 100*own/perPoint)
}

func middle(values []float64) (median, low, high float64) {
	slices.Sort(values)
	return values[len(values)/2], values[0], values[len(values)-1]
}

// extra says by how much the second of each pair is more than the first, in parts of a hundred: median, least
// and most. Pairs that lack a figure are left out.
func extra(pairs [][2]float64) string {
	var all []float64
	for _, p := range pairs {
		if p[0] > 0 && p[1] > 0 {
			all = append(all, 100*(p[1]/p[0]-1))
		}
	}
	if len(all) == 0 {
		return "no pair has both figures"
	}
	median, low, high := middle(all)
	return fmt.Sprintf("%+.1f %% (%+.1f to %+.1f, %d pairs)", median, low, high, len(all))
}

// Goal: what the probes cost, with figures that a person reads (make bench-probes); no time is asserted here.
// Method: pairs of gateways with and without probes, one after the other and the first in turn, under the
// same loads; then one more with the kernel's own account of its programs' time, which costs time itself.
func TestPrivProbesCost(t *testing.T) {
	need(t)
	testenv.Need(t, unix.CAP_PERFMON)
	cpu, rate := make([][2]float64, *costRounds), make([][2]float64, *costRounds)
	for round := range *costRounds {
		for _, i := range [2]int{round % 2, 1 - round%2} {
			c := measureCost(t, i == 1, *costSearch)
			cpu[round][i], rate[round][i] = c.nanosecondsPerPoint, c.pointsPerSecond
		}
	}
	for i, name := range []string{"off", "on"} {
		var ofCPU, ofRate []float64
		for round := range *costRounds {
			ofCPU, ofRate = append(ofCPU, cpu[round][i]), append(ofRate, rate[round][i])
		}
		median, low, high := middle(ofCPU)
		t.Logf("probes %-3s CPU per point at %.0f points/s: median %.0f ns (%.0f to %.0f)", name, *costRate,
			median, low, high)
		if !*costSearch {
			continue
		}
		median, low, high = middle(ofRate)
		t.Logf("probes %-3s highest loss-free rate: median %.0f points/s (%.0f to %.0f)", name, median, low,
			high)
	}
	t.Logf("probes cost CPU per point: %s", extra(cpu))
	if *costSearch {
		t.Logf("probes change the highest loss-free rate by %s", extra(rate))
	}
	counting, err := ebpf.EnableStats(uint32(unix.BPF_STATS_RUN_TIME))
	if err != nil {
		t.Fatalf("let the kernel account for programs: %v", err)
	}
	defer counting.Close()
	attachEmpty(t)
	measureCost(t, true, false)
}
