package gateway

import (
	"errors"
	"strings"
	"testing"

	"culvert/numa"
)

// topology reads one of numa's trees: "two" has CPUs 0-1,4-5 on node 0 and 2-3,6 on node 1.
func topology(t *testing.T, name string) *numa.Topology {
	t.Helper()
	read, err := numa.Read("../../numa/testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func TestPlanDealsQueuesToTheirNode(t *testing.T) {
	plan, err := NewPlan(Placement{
		Topology: topology(t, "two"), Allowed: []int{0, 1, 2, 3, 4, 5, 6}, Node: -1,
		Ports: []Port{{Name: "eth1", Node: 1, Queues: []int{0, 1, 2, 3}},
			{Name: "eth0", Node: 0, Queues: []int{0}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	// CPU 3 is isolated, so all of node 1's queues are its; CPU 5 is the other thread of CPU 1's core.
	if len(plan.Workers) != 2 || numa.FormatList(plan.Housekeeping) != "0,2,4,6" || plan.IdleList() != "5" {
		t.Fatalf("%+v", plan)
	}
	for _, seat := range plan.Seats {
		w := plan.Workers[seat.Worker]
		if want := map[string]int{"eth0": 0, "eth1": 1}[seat.Interface]; w.Node != want {
			t.Fatalf("%s queue %d is served on node %d", seat.Interface, seat.Queue, w.Node)
		}
	}
	if w := plan.For("eth1", 9); plan.Workers[w].Node != 1 {
		t.Fatalf("a queue that came later is served by worker %d on another node", w)
	}
}

func TestPlanWithTwoCPUsHasOneWorker(t *testing.T) {
	plan, err := NewPlan(Placement{Topology: topology(t, "flat"), Allowed: []int{0, 1}, Node: -1,
		Ports: []Port{{Name: "eth1", Node: -1, Queues: []int{0, 1}}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Workers) != 1 || plan.Workers[0].CPU != 1 || len(plan.Housekeeping) != 1 {
		t.Fatalf("%+v", plan)
	}
}

func TestPlanOnOneCPUPinsNothing(t *testing.T) {
	plan, err := NewPlan(Placement{Topology: topology(t, "flat"), Allowed: []int{0}, Node: -1,
		Ports: []Port{{Name: "eth1", Node: 0, Queues: []int{0, 1}}}})
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Workers) != 1 || plan.Workers[0].CPU != -1 || len(plan.Notes) != 1 {
		t.Fatalf("%+v", plan)
	}
}

func TestPlanRefusesAndNotes(t *testing.T) {
	place := Placement{Topology: topology(t, "two"), Allowed: []int{0, 1, 2, 3, 4, 5, 6}, Node: -1,
		Ports: []Port{{Name: "eth1", Node: 1, Queues: []int{0}}}}
	place.CPUs = []int{1, 9}
	refused := func(want string, absent bool) {
		t.Helper()
		_, err := NewPlan(place)
		var plan *PlanError
		if !errors.As(err, &plan) || plan.Absent != absent || !strings.Contains(err.Error(), want) {
			t.Fatalf("%v, want %q, absent: %t", err, want, absent)
		}
	}
	refused("workers.cpus: CPU 9", true)
	place.CPUs, place.Node = []int{1}, 7
	refused("workers.numa: there is no node 7", true)
	place.Node = -1
	plan, err := NewPlan(place)
	if err != nil || plan.Workers[0].CPU != 1 || len(plan.Notes) != 2 ||
		!strings.Contains(plan.Notes[0].String(), "its packets cross nodes: `workers: {cpus: \"3\"}`") ||
		!strings.Contains(plan.Notes[1].String(), "CPUs 1 of workers.cpus are not isolated, and 3 are") {
		t.Fatalf("%+v, %v", plan, err)
	}
	place.CPUs, place.Allowed = []int{2}, []int{2}
	refused("leave one out", false)
}
