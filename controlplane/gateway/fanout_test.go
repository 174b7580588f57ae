package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// Goal: CPUs that no queue has go to further sockets, the same number for each queue of an interface, and
// interfaces share them. Method: what each plan's seats say, as queue.member→CPU.
func TestPlanFansOut(t *testing.T) {
	f := func(cpus string, nodes int, want string, ports ...Port) {
		t.Helper()
		list := []string{cpus}
		if nodes == 2 {
			list = strings.Split(cpus, "/")
		}
		topology := machine(t, list, nil, "", "")
		plan, err := NewPlan(Placement{Topology: topology, Allowed: topology.Online, Node: -1, Ports: ports})
		if err != nil {
			t.Fatal(err)
		}
		var seats []string
		for _, s := range plan.Seats {
			seats = append(seats, fmt.Sprintf("%s:%d.%d→%d", s.Interface, s.Queue, s.Member,
				plan.Workers[s.Worker].CPU))
		}
		if got := strings.Join(seats, " "); got != want {
			t.Fatalf("%s: %s, want %s", cpus, got, want)
		}
	}
	one := Port{Name: "a", Node: 0, Queues: queues(1), Fanout: true}
	two := Port{Name: "a", Node: 0, Queues: queues(2), Fanout: true}
	plain := Port{Name: "b", Node: 0, Queues: queues(1)}
	other := Port{Name: "b", Node: 0, Queues: queues(1), Fanout: true}
	away := Port{Name: "c", Node: 1, Queues: queues(1), Fanout: true}
	f("0-3", 1, "a:0.0→1 a:0.1→2 a:0.2→3", one)
	// One CPU is left over, and two queues cannot share it.
	f("0-5", 1, "a:0.0→1 a:0.1→3 a:1.0→2 a:1.1→4", two)
	f("0-3", 1, "a:0.0→1 a:0.1→3 b:0.0→2", one, plain)
	f("0-4", 1, "a:0.0→1 a:0.1→3 b:0.0→2 b:0.1→4", one, other)
	f("0-2/3-5", 2, "a:0.0→1 a:0.1→2 c:0.0→4 c:0.1→5", one, away)
	f("0-1", 1, "a:0.0→1", one)
}

// Goal: a fan-out without CPUs is said, with what would mend it, and none that was not asked for.
func TestPlanCannotFanOut(t *testing.T) {
	topology := machine(t, []string{"0-1"}, nil, "", "")
	f := func(fanout bool, want int) {
		t.Helper()
		plan, err := NewPlan(Placement{Topology: topology, Allowed: topology.Online, Node: -1,
			Ports: []Port{{Name: "a", Node: 0, Queues: queues(1), Fanout: fanout}}})
		if err != nil {
			t.Fatal(err)
		}
		notes := 0
		for _, n := range plan.Notes {
			if strings.Contains(n.String(), "queues_fanout changes nothing") {
				notes++
			}
		}
		if notes != want || plan.Fanout("a") != 1 {
			t.Fatalf("%d notes, want %d: %v", notes, want, plan.Notes)
		}
	}
	f(true, 1)
	f(false, 0)
}

// Goal: a queue that came after the plan was made has as many sockets as the others.
func TestPlanFansOutLateQueues(t *testing.T) {
	plan := &Plan{Workers: make([]WorkerSeat, 4), Seats: []Seat{
		{Interface: "a", Queue: 0, Member: 0, Worker: 0}, {Interface: "a", Queue: 0, Member: 1, Worker: 1},
		{Interface: "a", Queue: 1, Member: 0, Worker: 2}, {Interface: "a", Queue: 1, Member: 1, Worker: 3},
		{Interface: "b", Queue: 0, Member: 0, Worker: 3},
	}}
	f := func(iface string, queue, first int, members ...int) {
		t.Helper()
		if got := plan.For(iface, queue); got != first {
			t.Fatalf("queue %d of %s: worker %d, want %d", queue, iface, got, first)
		}
		if got := plan.members(iface, queue); !slices.Equal(got, members) {
			t.Fatalf("queue %d of %s: further workers %v, want %v", queue, iface, got, members)
		}
	}
	f("a", 0, 0, 1)
	f("a", 1, 2, 3)
	f("a", 2, 0, 1)
	f("a", 3, 2, 3)
	f("b", 0, 3)
	f("b", 1, 3)
}
