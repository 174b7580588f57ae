package doctor

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"culvert/controlplane/attach"
	"culvert/controlplane/config"
	"culvert/controlplane/nic"
	"culvert/controlplane/telemetry"
	"culvert/numa"
)

// Goal: what the configuration or the machine makes harmless is no finding.
func TestExamineContent(t *testing.T) {
	root := goodFiles().write(t)
	f := func(name string, changed files, change func(*Host), text string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			changed.provoke(t, root)
			host := goodHost(root)
			if change != nil {
				change(&host)
			}
			report := Examine(host)
			if got := bad(report); got != "" {
				t.Fatalf("findings:\n%s", got)
			}
			for _, found := range report.Findings {
				if strings.Contains(found.Text, text) {
					return
				}
			}
			t.Errorf("nothing says %q: %+v", text, report.Findings)
		})
	}
	f("deep states of CPUs that never sleep", files{cpus + "cpu5/cpuidle/state2/disable": "0"},
		func(h *Host) { h.Workers.Wait = "busy" }, "do not let their CPUs sleep")
	f("a bond that is meant so", files{card1 + "net/eth1/bonding/slaves": "eth3 eth4"}, func(h *Host) {
		h.Cards[0].Driver, h.Cards[0].Mode = "bonding", "generic"
		h.Cards[0].Offer = attach.Offer{Known: true}
	}, "its packets take the way through the kernel")
	f("huge pages of the gateway", files{nodes + "node1" + pages + "free_hugepages": "0"}, func(h *Host) {
		h.Running = &telemetry.Status{Interfaces: []telemetry.InterfaceStatus{{Name: "eth1",
			Queues: []telemetry.QueueStatus{{Node: 1, HugePages: "explicit"},
				{Queue: 1, Node: 1, HugePages: "explicit"},
				{Queue: 1, Socket: 1, Node: 1, HugePages: "explicit"}}}}}
	}, "the gateway that runs has 16 of 2 MiB, and 0 are free")
	clock := func(times nic.CardTimes, more func(*Card)) func(*Host) {
		return func(h *Host) {
			times.Clock = "/dev/ptp3"
			h.Cards[0].Times = times
			if more != nil {
				more(&h.Cards[0])
			}
		}
	}
	all := nic.CardTimes{Every: true, On: true}
	f("a card that tells its times", nil, clock(all, nil), "see the stage nic_to_steer")
	f("one that is not asked to", nil, clock(nic.CardTimes{Every: true}, nil), "is not asked to")
	f("one that tells some alone", nil, clock(nic.CardTimes{}, nil), "not every packet's time")
	untold := nic.CardTimes{Every: true, On: true, Untold: true}
	f("one whose driver keeps them to itself", nil, clock(untold, nil), "not every packet's time")
	f("one in generic mode", nil, clock(all, func(c *Card) { c.Mode = "generic" }), "not every packet's time")
	f("huge pages of another size", files{nodes + "node1" + pages + "nr_hugepages": gone,
		nodes + "node1" + pages + "free_hugepages": gone}, nil, "none of 2 MiB")
}

// Goal: a card on a node that is memory alone has its interrupts where the nearest CPUs are, and the plan
// says why its packets cross nodes.
func TestExamineNodeWithoutCPUs(t *testing.T) {
	root := goodFiles().write(t)
	files{nodes + "online": "0-2", nodes + "has_memory": "0-2", card1 + "numa_node": "2",
		nodes + "node0/distance": "10 21 40", nodes + "node1/distance": "21 10 20",
		nodes + "node2/distance": "40 20 10", nodes + "node2/cpulist": ""}.provoke(t, root)
	report := Examine(goodHost(root))
	if got := bad(report); strings.Contains(got, "\n") ||
		!strings.HasPrefix(got, "WARN|placement||this process may use no CPU for a worker of node 2") ||
		!strings.HasSuffix(got, "|the card in a slot of a node with CPUs") {
		t.Fatalf("findings:\n%s", got)
	}
	const text = "it is on node 2, which has no CPU; the nearest are 4-7"
	if !slices.ContainsFunc(report.Findings, func(f Finding) bool { return f.Text == text }) {
		t.Errorf("nothing says %q: %+v", text, report.Findings)
	}
}

// Goal: what cannot be asked of a card is said, and all else is looked at.
func TestExamineUnread(t *testing.T) {
	host := goodHost(goodFiles().write(t))
	host.Cards[0].Unread = []error{errors.New("ask for the rings of \"eth1\": input/output error")}
	report := Examine(host)
	if got := bad(report); got != `SKIP|interface|eth1|ask for the rings of "eth1": input/output error|` {
		t.Fatalf("findings:\n%s", got)
	}
	if report.Count(Pass) < 20 {
		t.Fatalf("only %d things were looked at", report.Count(Pass))
	}
}

// Goal: on machines of every make each thing that is found has a remedy with everything that belongs into it.
// Method: all combinations of these machines, masks, cards and demands.
func TestEveryFindingHasRemedy(t *testing.T) {
	smt := files{}
	for cpu, list := range []string{"0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7"} {
		smt[fmt.Sprintf("%scpu%d/topology/thread_siblings_list", cpus, cpu)] = list
	}
	machines := map[string]files{
		"two nodes":             {},
		"no NUMA":               {nodes + "online": gone},
		"threads":               smt,
		"one CPU":               {cpus + "online": "0", cpus + "offline": "1-7"},
		"one CPU on each node":  {cpus + "online": "0,4", cpus + "offline": "1-3,5-7"},
		"a node without CPUs":   {cpus + "online": "0-3", cpus + "offline": "4-7"},
		"a node without memory": {nodes + "has_memory": "0"},
		"some isolated":         {cpus + "isolated": "2-3,6-7"},
		"all isolated":          {cpus + "isolated": "0-7"},
		"a cpuset": {"proc/self/cgroup": "0::/a.slice",
			"proc/self/mounts": "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0",
			"sys/fs/cgroup/a.slice/cpuset.cpus.effective": "0-1",
			"sys/fs/cgroup/a.slice/cpuset.mems.effective": "0"},
	}
	examined := 0
	for name, changed := range machines {
		root := goodFiles().write(t)
		changed.into(t, root)
		topology, err := numa.Read(root)
		if err != nil {
			t.Fatal(err)
		}
		for _, demand := range demands() {
			host := goodHost(root)
			demand(&host)
			running := func(cpu int) bool { return slices.Contains(topology.Online, cpu) }
			if !slices.ContainsFunc(host.Mask, running) {
				continue // No process has such a mask.
			}
			complete(t, fmt.Sprintf("%s, mask %v, list %v, node %d, %d queues", name, host.Mask,
				host.Workers.CPUs, host.Workers.NUMA, host.Cards[0].Queues), Examine(host))
			examined++
		}
	}
	t.Logf("%d combinations", examined)
}

// demands are masks, lists of CPUs, nodes and numbers of queues, each with each.
func demands() (all []func(*Host)) {
	for _, mask := range [][]int{{0, 1, 2, 3, 4, 5, 6, 7}, {0}, {0, 4}, {6, 7}} {
		for _, list := range [][]int{nil, {4, 5, 6}, {12}} {
			for _, queues := range []int{1, 128} {
				for node := config.NodeLocal; node < 3; node++ {
					all = append(all, func(h *Host) {
						h.Mask, h.Workers.CPUs, h.Workers.NUMA = mask, list, node
						card := &h.Cards[0]
						card.Queues, card.Channels.Combined, card.Fanout = queues, uint32(queues), node == 0
						card.Spread.Indirection = nic.InTurn([]int{0}, 128)
					})
				}
			}
		}
	}
	return all
}

// complete checks that all that is found has its remedy, and that no text lacks what it was to be given.
func complete(t *testing.T, what string, report Report) {
	t.Helper()
	for _, f := range report.Findings {
		if f.Status >= Warn && f.Remedy == "" {
			t.Errorf("%s: no remedy: %+v", what, f)
		}
		for _, hole := range []string{"%!", "()", "CPUs  ", "CPUs , ", "echo  ", "\"\"", "=`", "node -1"} {
			if strings.Contains(f.Text+" | "+f.Remedy+" ", hole) {
				t.Errorf("%s: %q in %+v", what, hole, f)
			}
		}
	}
}
