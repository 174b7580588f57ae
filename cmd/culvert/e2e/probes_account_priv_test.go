package e2e

import (
	"slices"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

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
	verdict := "within the goal"
	if own > perPoint*costGoal/100 {
		verdict = "more than the goal"
	}
	t.Logf("all programs     %9d runs, %.0f ns a point of the gateway's %.0f with the account's own cost, "+
		"%.0f ns (%.1f %%) without: %s", runs, with, perPoint, own, 100*own/perPoint, verdict)
}
