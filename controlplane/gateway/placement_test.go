package gateway

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"culvert/numa"
)

// machine writes a /sys with these nodes and reads it. Each node is a list of CPUs; threads are the lists of
// CPUs that share a core; every other CPU has a core of its own.
func machine(t *testing.T, nodes, threads []string, isolated, offline string) *numa.Topology {
	t.Helper()
	root := t.TempDir()
	put := func(file, text string) {
		t.Helper()
		file = filepath.Join(root, "sys/devices/system", file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("cpu/online", strings.Join(nodes, ","))
	put("cpu/isolated", isolated)
	put("cpu/offline", offline)
	for _, list := range threads {
		cpus, err := numa.ParseList(list)
		if err != nil {
			t.Fatal(err)
		}
		for _, cpu := range cpus {
			put(fmt.Sprintf("cpu/cpu%d/topology/thread_siblings_list", cpu), list)
		}
	}
	put("node/online", fmt.Sprintf("0-%d", len(nodes)-1))
	put("node/has_memory", fmt.Sprintf("0-%d", len(nodes)-1))
	for i, list := range nodes {
		distances := ""
		for j := range nodes {
			distances += fmt.Sprint(10+10*max(i-j, j-i), " ")
		}
		put(fmt.Sprintf("node/node%d/cpulist", i), list)
		put(fmt.Sprintf("node/node%d/distance", i), distances)
	}
	topology, err := numa.Read(root)
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

func queues(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// Goal: what `auto` makes of machines of every make. Each case says which CPUs have workers, in the order of
// the queues, which keep house and which are left alone.
func TestPlanAuto(t *testing.T) {
	f := func(name string, topology *numa.Topology, allowed string, ports []Port,
		workers, house, idle string, notes ...string) {
		t.Helper()
		cpus, err := numa.ParseList(allowed)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := NewPlan(Placement{Topology: topology, Allowed: cpus, Node: -1, Ports: ports})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			return
		}
		got := ""
		for _, seat := range plan.Seats {
			got += fmt.Sprint(plan.Workers[seat.Worker].CPU, " ")
		}
		if strings.TrimSpace(got) != workers || plan.HousekeepingList() != house || plan.IdleList() != idle {
			t.Errorf("%s: workers %s, house %s, idle %q; want %s, %s, %q", name, got,
				plan.HousekeepingList(), plan.IdleList(), workers, house, idle)
		}
		if len(plan.Notes) != len(notes) {
			t.Errorf("%s: notes %v, want %q", name, plan.Notes, notes)
			return
		}
		for i, want := range notes {
			if !strings.Contains(plan.Notes[i].String(), want) {
				t.Errorf("%s: note %q, want %q", name, plan.Notes[i], want)
			}
		}
	}
	eth := func(node, n int) []Port { return []Port{{Name: "eth0", Node: node, Queues: queues(n)}} }
	smt := []string{"0,4", "1,5", "2,6", "3,7"}
	f("four cores", machine(t, []string{"0-3"}, nil, "", ""), "0-3", eth(0, 2), "1 2", "0,3", "")
	f("more queues than cores share", machine(t, []string{"0-3"}, nil, "", ""), "0-3", eth(0, 5),
		"1 2 3 1 2", "0", "")
	f("two threads to a core", machine(t, []string{"0-7"}, smt, "", ""), "0-7", eth(0, 3), "1 2 3", "0,4",
		"5-7")
	f("housekeeping's own core comes last", machine(t, []string{"0-7"}, smt, "", ""), "0-7", eth(0, 4),
		"1 2 3 4", "0", "5-7")
	f("one core with two threads", machine(t, []string{"0-1"}, []string{"0-1"}, "", ""), "0-1", eth(0, 2),
		"1 1", "0", "")
	f("isolated CPUs are for workers", machine(t, []string{"0-7"}, nil, "4-6", ""), "0-7", eth(0, 2), "4 5",
		"0-3,7", "6")
	f("isolated threads of one core", machine(t, []string{"0-7"}, smt, "2,3,6,7", ""), "0-7", eth(0, 4),
		"2 3 2 3", "0-1,4-5", "6-7")
	f("everything is isolated", machine(t, []string{"0-3"}, nil, "0-3", ""), "0-3", eth(0, 2), "1 2", "0",
		"3")
	two := machine(t, []string{"0-3", "4-7"}, nil, "", "")
	f("the card's node", two, "0-7", eth(1, 2), "5 6", "0-4,7", "")
	f("a card whose node nobody knows", two, "0-7", eth(-1, 2), "1 2", "0,3-7", "")
	f("a mask without the card's node", two, "0-3", eth(1, 2), "1 2", "0,3", "",
		"this process may use no CPU for a worker of node 1, where eth0 is: its packets cross nodes: "+
			"`CPUAffinity=4-7` in the unit, or taskset: the mask it was started with leaves 0-3")
	f("the nearest node with a CPU", machine(t, []string{"0-1", "2-3", "4-5"}, nil, "", ""), "0-3",
		eth(2, 1), "3", "0-2", "", "no CPU for a worker of node 2")
	f("two cards on one node", two, "0-7", []Port{{Name: "eth0", Node: 0, Queues: queues(2)},
		{Name: "eth1", Node: 0, Queues: queues(2)}}, "1 2 3 2", "0,4-7", "")
	one := machine(t, []string{"0", "1"}, nil, "", "")
	f("one CPU on each node", one, "0-1", eth(1, 2), "1 1", "0", "")
	f("one CPU on each node, and nobody knows the card's", one, "0-1", eth(-1, 1), "1", "0", "")
	f("one CPU and a card on each node", one, "0-1", []Port{{Name: "eth0", Node: 0, Queues: queues(1)},
		{Name: "eth1", Node: 1, Queues: queues(1)}}, "0 0", "1", "",
		"no CPU for a worker of node 1, where eth1 is: its packets cross nodes: `workers: {cpus: \"1\"}`")
	f("a mask of one CPU on the card's node", two, "0-4", eth(1, 1), "1", "0,2-4", "",
		"node 1, where eth0 is: its packets cross nodes: `workers: {cpus: \"4\"}`")
	f("one CPU alone", two, "2", eth(0, 1), "-1", "2", "",
		"one CPU only: the worker shares it with all else, not pinned: `CPUAffinity=0-7` in the unit")
	f("a machine of one CPU", machine(t, []string{"0"}, nil, "", "1"), "0", eth(0, 1), "-1", "0", "",
		"not pinned: `echo 1 > /sys/devices/system/cpu/cpu1/online`")
	f("a card on a node without CPUs", topology(t, "expander"), "0-3", eth(4, 1), "1", "0,2-3", "",
		"node 4, where eth0 is: its packets cross nodes: the card in a slot of a node with CPUs")
}

// Goal: a list that was asked for is taken, and what is not best about it is said with what would be.
func TestPlanExplainsList(t *testing.T) {
	topology := machine(t, []string{"0-3,8-11", "4-7"}, []string{"0,8", "1,9", "2,10", "3,11"}, "", "")
	place := Placement{Topology: topology, Allowed: queues(12), Node: -1}
	f := func(cpus string, node, n, numaNode int, notes ...string) {
		t.Helper()
		var err error
		if place.CPUs, err = numa.ParseList(cpus); err != nil {
			t.Fatal(err)
		}
		place.Node, place.Ports = numaNode, []Port{{Name: "eth0", Node: node, Queues: queues(n)}}
		plan, err := NewPlan(place)
		if err != nil {
			t.Errorf("%s: %v", cpus, err)
			return
		}
		if len(plan.Notes) != len(notes) {
			t.Errorf("%s: %v, want %q", cpus, plan.Notes, notes)
			return
		}
		for i, want := range notes {
			if !strings.Contains(plan.Notes[i].String(), want) {
				t.Errorf("%s: %q, want %q", cpus, plan.Notes[i], want)
			}
		}
	}
	f("1-2", 0, 2, -1)
	f("1,9", 0, 2, -1, "CPUs 9 of workers.cpus are second threads of cores that have a worker already: "+
		"two workers share one core's units: `workers: {cpus: \"1\"}`")
	f("1-3", 0, 2, -1, "CPUs 3 of workers.cpus serve no queue: the interfaces have 2 of them")
	f("1", 1, 1, -1, "workers.cpus has no CPU of node 1, where eth0 is: its packets cross nodes: "+
		"`workers: {cpus: \"5-7\"}`, or auto")
	f("5", 0, 1, 1, "workers.numa is 1, and eth0 is on node 0: its packets cross nodes: "+
		"`workers: {numa: local}`")
}

// Goal: a demand that cannot be met says which limit stands against it.
func TestPlanExplainsRefusal(t *testing.T) {
	place := Placement{
		Topology: machine(t, []string{"0-3", "4-5"}, nil, "", "6-7"), Allowed: []int{0, 1}, Node: -1,
		Cpuset: numa.Cpuset{Group: "/sys/fs/cgroup/a.slice", CPUs: []int{0, 1, 2}, Nodes: []int{0}},
		Ports:  []Port{{Name: "eth0", Node: 0, Queues: queues(1)}},
	}
	f := func(cpu, node int, want string) {
		t.Helper()
		place.CPUs, place.Node = []int{cpu}, node
		_, err := NewPlan(place)
		var refused *PlanError
		if !errors.As(err, &refused) || !refused.Absent || !strings.Contains(err.Error(), want) {
			t.Errorf("CPU %d: %v, want %q", cpu, err, want)
		}
	}
	f(6, -1, "CPU 6 is not among those this process may use (0-1): it is offline; `echo 1 >")
	f(3, -1, "the cpuset /sys/fs/cgroup/a.slice leaves 0-2")
	f(2, -1, "the mask it was started with (taskset, CPUAffinity=) leaves it out")
	f(1, 1, "memory of node 1 is not for this process: the cpuset /sys/fs/cgroup/a.slice leaves nodes 0")
	f(1, 7, "there is no node 7")
}
