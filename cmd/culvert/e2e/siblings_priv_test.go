package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"culvert/controlplane/doctor"
	"culvert/numa"
	"culvert/scripts/testenv"
)

// twoThreads is the machine's topology and the threads of its last core, or false where no core has two. A
// machine that was made to have them (CULVERT_TEST_THREADS, by scripts/vm) must.
func twoThreads(t *testing.T) (*numa.Topology, []int, bool) {
	t.Helper()
	topology, err := numa.Read("/")
	if err != nil {
		t.Fatal(err)
	}
	for _, cpu := range slices.Backward(topology.Online) {
		if threads := topology.Siblings(cpu); len(threads) > 1 {
			return topology, threads, true
		}
	}
	if threads := os.Getenv("CULVERT_TEST_THREADS"); threads != "" && threads != "1" {
		t.Fatalf("no core has %s threads: %+v", threads, topology)
	}
	t.Log("no core of this machine has two threads (scripts/vm/run 6.18+threads)")
	return topology, nil, false
}

// Goal: two workers never share a core; where the configuration forces them to, check, doctor and status say
// so, and what doctor prints mends it, as it does where others may run beside a worker. Method: a machine
// whose cores have two threads, with more queues than cores.
func TestPrivSiblings(t *testing.T) {
	need(t)
	topology, threads, ok := twoThreads(t)
	if !ok || !ownMachine(t) {
		return
	}
	lab, dir := testenv.NewLab(t, 4), t.TempDir()
	sink := newRecorder(t, lab)
	config := func(workers string) string {
		return write(t, dir, "culvert.yaml", minimal(lab.GatewayInterface, sink.url)+workers+"\n")
	}
	path := config("")
	diagnosis := func() doctor.Report {
		return diagnose(t, lab, exec.Command(culvert, "doctor", "--json", "-c", path))
	}
	// What runs gives the workers' CPUs, and the warnings.
	running := func() (cpus []int, warnings string) {
		t.Helper()
		g := start(t, lab, "run", "-c", path)
		g.ready()
		s, err := g.status()
		if err != nil {
			t.Fatal(err)
		}
		for _, worker := range s.Workers {
			if worker.Name != "kernel" {
				cpus = append(cpus, worker.CPU)
			}
		}
		if code := g.stop(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		return cpus, strings.Join(s.Deviations, "\n")
	}
	cpus, warnings := running()
	t.Logf("CPUs %v have workers; the last core's threads are %v", cpus, threads)
	for i, cpu := range cpus {
		for _, other := range cpus[i+1:] {
			if cpu < 0 || slices.Contains(topology.Siblings(cpu), other) {
				t.Errorf("workers on CPUs %d and %d share a core", cpu, other)
			}
		}
	}
	if len(cpus) == 0 || strings.Contains(warnings, "share one core") {
		t.Errorf("workers on %v: %s", cpus, warnings)
	}
	run := func(line string) {
		t.Helper()
		if output, err := exec.Command("sh", "-c", line).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", line, err, output)
		}
	}
	const housekeeping = "housekeeping has but threads of workers' cores"
	if len(cpus) > 1 && wrong(diagnosis(), "smt", housekeeping) != nil {
		mends(t, diagnosis, func(line string) { t.Helper(); config(line) }, "", "smt", housekeeping, "")
	}
	forced := config(fmt.Sprintf("workers: {cpus: %q}", numa.FormatList(threads)))
	const shared = "second threads of cores"
	if _, planned := once(t, lab, "check", "-c", forced); !strings.Contains(planned, shared) {
		t.Errorf("check does not say %q:\n%s", shared, planned)
	}
	if cpus, warnings = running(); len(cpus) != len(threads) || !strings.Contains(warnings, shared) {
		t.Errorf("workers on %v, and status says %q", cpus, warnings)
	}
	mends(t, diagnosis, func(line string) { t.Helper(); config(line) }, "", "placement", shared, "")
	t.Cleanup(func() {
		for _, cpu := range topology.Online {
			// The first has no such file.
			os.WriteFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/online", cpu), []byte("1"), 0o644)
		}
	})
	mends(t, diagnosis, run, "", "smt", "threads of workers' cores", "")
}
