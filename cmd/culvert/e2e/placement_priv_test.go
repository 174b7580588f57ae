package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"culvert/numa"
	"culvert/scripts/testenv"
)

// Goal: a worker that somebody moves off its CPU shows in status, and is gone when it is moved back. Method:
// the gateway's thread whose mask is the worker's CPU alone is given another one.
func TestPrivMovedWorkerShows(t *testing.T) {
	need(t)
	if cpus, err := numa.Allowed(); err != nil || len(cpus) < 2 {
		testenv.Skip(t, fmt.Sprintf("a second CPU is missing: %v, %v", cpus, err))
	}
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	config := write(t, publicDir(t), "culvert.yaml", minimal(lab.GatewayInterface, sink.url))
	g := start(t, lab, "run", "-c", config)
	g.ready()
	s, err := g.status()
	if err != nil || len(s.Deviations) != 0 || s.Workers[0].CPU < 0 {
		t.Fatalf("%v, %q, %+v", err, s.Deviations, s.Workers)
	}
	cpu := s.Workers[0].CPU
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", g.command.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	var moved []int
	for _, task := range tasks {
		text, err := os.ReadFile(filepath.Join("/proc", task.Name(), "status"))
		if err != nil || !strings.Contains(string(text), fmt.Sprintf("Cpus_allowed_list:\t%d\n", cpu)) {
			continue
		}
		thread, err := strconv.Atoi(task.Name())
		if err != nil {
			t.Fatal(err)
		}
		moved = append(moved, thread)
	}
	if len(moved) != 1 {
		t.Fatalf("threads %v have CPU %d to themselves", moved, cpu)
	}
	move := func(to int) {
		t.Helper()
		var set unix.CPUSet
		set.Set(to)
		if err := unix.SchedSetaffinity(moved[0], &set); err != nil {
			t.Fatal(err)
		}
	}
	move(0)
	want := fmt.Sprintf("worker 0 was pinned to CPU %d, and somebody has moved it to 0", cpu)
	eventually(t, "the move shows", func() error {
		s, err := g.status()
		if err != nil || len(s.Deviations) != 1 || !strings.Contains(s.Deviations[0], want) {
			return fmt.Errorf("%w, %q", err, s.Deviations)
		}
		return nil
	})
	if _, output := once(t, lab, "status"); !strings.Contains(output, "warning: "+want) {
		t.Errorf("status does not say %q:\n%s", want, output)
	}
	move(cpu)
	eventually(t, "the deviation is gone", func() error {
		s, err := g.status()
		if err != nil || len(s.Deviations) != 0 {
			return fmt.Errorf("%w, %q", err, s.Deviations)
		}
		return nil
	})
}
