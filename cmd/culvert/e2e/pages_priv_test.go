package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"culvert/controlplane/doctor"
	"culvert/controlplane/fakesink"
	"culvert/controlplane/loadgen"
	"culvert/controlplane/telemetry"
	"culvert/numa"
	"culvert/scripts/testenv"
)

// workingNodes are the nodes with memory and with a CPU for a worker beside one that keeps house.
func workingNodes(t *testing.T) (nodes []int) {
	t.Helper()
	topology, err := numa.Read("/")
	if err != nil {
		t.Fatal(err)
	}
	allowed, err := numa.Allowed()
	if err != nil {
		t.Fatal(err)
	}
	for _, node := range topology.Nodes {
		away := func(cpu int) bool { return !slices.Contains(node.CPUs, cpu) }
		if node.HasMemory && len(slices.DeleteFunc(slices.Clone(allowed), away)) > 1 {
			nodes = append(nodes, node.ID)
		}
	}
	return nodes
}

// boundMappings reads numa_maps: the pages of each mapping that is bound to a node, by that node and the one
// that they lie on.
func boundMappings(t *testing.T, pid int) map[int]map[int]int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/numa_maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	bound := map[int]map[int]int{}
	policy := regexp.MustCompile(`^[0-9a-f]+ bind:([0-9]+) `)
	for line := range strings.Lines(string(text)) {
		match := policy.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		to, _ := strconv.Atoi(match[1])
		if bound[to] == nil {
			bound[to] = map[int]int{}
		}
		for _, field := range regexp.MustCompile(` N([0-9]+)=([0-9]+)`).FindAllStringSubmatch(line, -1) {
			on, _ := strconv.Atoi(field[1])
			pages, _ := strconv.Atoi(field[2])
			bound[to][on] += pages
		}
	}
	return bound
}

// placedRight checks that all pages of each pinned worker are on its node, and which kinds there are; and
// that numa_maps says the same of all memory that is bound.
func placedRight(s *telemetry.Status, bound map[int]map[int]int, frames int, kinds ...string) error {
	for _, w := range s.Workers {
		if w.CPU < 0 {
			continue
		}
		for kind, counts := range w.Pages {
			for on, n := range counts {
				if on >= 0 && on != w.Node {
					return fmt.Errorf("worker %s on node %d: %d pages of its %s on node %d", w.Name,
						w.Node, n, kind, on)
				}
			}
		}
		for _, kind := range kinds {
			if w.Pages[kind][w.Node] == 0 {
				return fmt.Errorf("worker %s on node %d: no page of its %s there: %v", w.Name, w.Node, kind,
					w.Pages)
			}
		}
		queues := 0
		for _, q := range s.Interfaces[0].Queues {
			if q.Worker == w.Name {
				queues++
			}
		}
		if want := queues * frames * 2048 / os.Getpagesize(); w.Pages["frames"][w.Node] != want {
			return fmt.Errorf("worker %s: %d pages of frames, want %d", w.Name,
				w.Pages["frames"][w.Node], want)
		}
	}
	for to, counts := range bound {
		for on, n := range counts {
			if on != to {
				return fmt.Errorf("numa_maps: %d pages bound to node %d are on node %d", n, to, on)
			}
		}
	}
	if len(s.Deviations) > 0 {
		return fmt.Errorf("%q", s.Deviations)
	}
	return nil
}

// othersKeepHouse checks that each worker has a thread of its own on its CPU, and that no other thread of the
// process (the collector's, the scheduler's, those of system calls) may run on a worker's CPU.
func othersKeepHouse(t *testing.T, pid int, s *telemetry.Status) {
	t.Helper()
	workers := map[int]int{}
	for _, w := range s.Workers {
		if w.CPU >= 0 {
			workers[w.CPU] = 0
		}
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil || len(tasks) < 3 {
		t.Fatalf("%d threads, %v", len(tasks), err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // The thread has ended.
		}
		_, list, _ := strings.Cut(string(text), "Cpus_allowed_list:\t")
		list, _, _ = strings.Cut(list, "\n")
		cpus, err := numa.ParseList(list)
		if err != nil {
			t.Fatal(err)
		}
		if _, pinned := workers[cpus[0]]; pinned && len(cpus) == 1 {
			workers[cpus[0]]++
			continue
		}
		for _, cpu := range cpus {
			if _, taken := workers[cpu]; taken {
				t.Errorf("%s may run on CPU %d, which is a worker's", task, cpu)
			}
		}
	}
	for cpu, threads := range workers {
		if threads != 1 {
			t.Errorf("%d threads have CPU %d to themselves", threads, cpu)
		}
	}
}

// Goal: the workers run on all nodes, each with its memory on its own node alone, before and after load; a
// placement that goes wrong later shows in status and in doctor, and a restart mends it. Method: a veth,
// whose node nobody knows, so that the plan deals its queues out to all nodes; numa_maps is compared with
// what the gateway says. The kernel is told to move the process's pages to the other node (migrate_pages). On
// a machine with one node all pages are there, and nothing can go wrong.
func TestPrivMemoryOnTheWorkersNode(t *testing.T) {
	need(t)
	nodes := workingNodes(t)
	seconds := 2 * time.Second
	if len(nodes) > 1 {
		seconds = testenv.Sized(10*time.Second, 2*time.Second)
	}
	lab := testenv.NewLab(t, max(len(nodes), 1))
	url, _ := checkingSink(t, lab, fakesink.Config{})
	dir := t.TempDir()
	write(t, dir, "rules.yaml", `groups:
  - name: motors
    rules:
      - {alert: Trend, on: plant, expr: "avg(temperature[10s]) > 1000", by: [sensor]}
`)
	const frames = 1024
	config := write(t, dir, "culvert.yaml", fmt.Sprintf(`interfaces: [{name: gw0, mode: native}]
listeners: [{name: plant, port: %d}]
workers: {frames: %d}
rules: {files: [rules.yaml]}
sinks: [{name: main, urls: [%s], database: telemetry}]
`, port, frames, url))
	g := start(t, lab, "run", "-c", config)
	g.ready()
	pid := g.command.Process.Pid
	right := func(when string, kinds ...string) (s *telemetry.Status) {
		t.Helper()
		eventually(t, when, func() (err error) {
			if s, err = g.status(); err != nil {
				return err
			}
			return placedRight(s, boundMappings(t, pid), frames, kinds...)
		})
		return s
	}
	s := right("before load", "frames", "sends", "stack")
	used := map[int]bool{}
	for _, w := range s.Workers {
		used[w.Node] = true
	}
	for _, node := range nodes {
		if !used[node] {
			t.Errorf("no worker is on node %d: %+v", node, s.Workers)
		}
	}
	othersKeepHouse(t, pid, s)
	load(t, lab, loadgen.Config{Rate: 20_000, Duration: seconds, PointsPerPacket: 10, Series: 2000,
		Flows: 64})
	s = right("after load", "frames", "sends", "stack", "rules")
	othersKeepHouse(t, pid, s)
	for _, w := range s.Workers {
		t.Logf("worker %s, CPU %d, node %d: %v", w.Name, w.CPU, w.Node, w.Pages)
	}
	t.Logf("numa_maps, by bound node: %v", boundMappings(t, pid))
	if f := gatewayFinding(t, lab); f == nil || f.Status != doctor.Pass {
		t.Errorf("doctor says of the gateway: %+v", f)
	}
	if len(nodes) < 2 {
		return
	}
	migrate(t, pid, s.Workers[0].Node, nodes)
	want := fmt.Sprintf("worker 0 is on node %d, and of ", s.Workers[0].Node)
	eventually(t, "the move shows", func() error {
		s, err := g.status()
		if err != nil || len(s.Deviations) == 0 || !strings.Contains(s.Deviations[0], want) {
			return fmt.Errorf("%w, %q", err, s.Deviations)
		}
		t.Logf("%q", s.Deviations)
		return nil
	})
	f := gatewayFinding(t, lab)
	if f == nil || f.Status != doctor.Warn || !strings.Contains(f.Text, want) ||
		!strings.Contains(f.Remedy, "restart the gateway") {
		t.Errorf("doctor says of the gateway: %+v", f)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	g = start(t, lab, "run", "-c", config)
	g.ready()
	pid = g.command.Process.Pid
	right("after the restart", "frames", "sends", "stack")
}

// gatewayFinding is what doctor says of the gateway that runs.
func gatewayFinding(t *testing.T, lab *testenv.Lab) *doctor.Finding {
	t.Helper()
	report, _ := examine(t, lab, nil)
	for i := range report.Findings {
		if report.Findings[i].Check == "gateway" {
			return &report.Findings[i]
		}
	}
	return nil
}

// migrate moves a process's pages from a node to another one.
func migrate(t *testing.T, pid, from int, nodes []int) {
	t.Helper()
	to := nodes[0]
	if to == from {
		to = nodes[1]
	}
	source, target := uint64(1)<<from, uint64(1)<<to
	left, _, errno := unix.Syscall6(unix.SYS_MIGRATE_PAGES, uintptr(pid), 64,
		uintptr(unsafe.Pointer(&source)), uintptr(unsafe.Pointer(&target)), 0, 0)
	if errno != 0 {
		t.Fatalf("move pages from node %d to %d: %v", from, to, errno)
	}
	t.Logf("moved from node %d to %d; %d pages would not", from, to, left)
}
