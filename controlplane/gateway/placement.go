package gateway

import (
	"fmt"
	"slices"

	"culvert/numa"
)

// check finds what is demanded and cannot be had.
func (p *Placement) check() error {
	for _, cpu := range p.CPUs {
		if slices.Contains(p.Allowed, cpu) {
			continue
		}
		problem := fmt.Sprintf("CPU %d is not among those this process may use (%s)", cpu,
			numa.FormatList(p.Allowed))
		switch {
		case slices.Contains(p.Topology.Offline, cpu):
			problem += fmt.Sprintf(
				": it is offline; `echo 1 > /sys/devices/system/cpu/cpu%d/online` starts it", cpu)
		case p.Cpuset.CPUs != nil && !slices.Contains(p.Cpuset.CPUs, cpu):
			problem += fmt.Sprintf(": the cpuset %s leaves %s", p.Cpuset.Group,
				numa.FormatList(p.Cpuset.CPUs))
		case slices.Contains(p.Topology.Online, cpu):
			problem += ": the mask it was started with (taskset, CPUAffinity=) leaves it out"
		}
		return &PlanError{Key: "workers.cpus", Absent: true, Problem: problem}
	}
	if p.Node < 0 {
		return nil
	}
	if p.Topology.Node(p.Node) == nil {
		return &PlanError{Key: "workers.numa", Absent: true,
			Problem: fmt.Sprintf("there is no node %d", p.Node)}
	}
	if p.Cpuset.Nodes != nil && !slices.Contains(p.Cpuset.Nodes, p.Node) {
		return &PlanError{Key: "workers.numa", Absent: true,
			Problem: fmt.Sprintf("memory of node %d is not for this process: the cpuset %s leaves nodes %s",
				p.Node, p.Cpuset.Group, numa.FormatList(p.Cpuset.Nodes))}
	}
	return nil
}

// candidates are the CPUs whose workers may serve a port, best first, and what is to be said of them.
func (p *Placement) candidates(port Port) ([]int, Note) {
	node := port.Node
	var note Note
	if p.Node >= 0 {
		if node >= 0 && node != p.Node {
			note = Note{Text: fmt.Sprintf("workers.numa is %d, and %s is on node %d: its packets cross nodes",
				p.Node, port.Name, node), Remedy: "`workers: {numa: local}`"}
		}
		node = p.Node
	}
	if p.CPUs != nil {
		near := p.onNode(p.CPUs, node)
		if len(near) > 0 {
			return near, note
		}
		return p.CPUs, p.crossing("workers.cpus has no CPU", node, port.Name, p.free(node))
	}
	if node < 0 || p.Topology.Node(node) == nil {
		var all []int
		for _, n := range p.Topology.Nodes {
			all = append(all, p.free(n.ID)...)
		}
		if len(all) == 0 {
			all = p.spare()
		}
		return all, note
	}
	for _, near := range p.Topology.Nearest(node) {
		free := p.free(near)
		switch {
		case len(free) == 0:
			continue
		case near != node:
			note = p.crossing("this process may use no CPU for a worker", node, port.Name, nil)
		}
		return free, note
	}
	spare := p.spare()
	if near := p.onNode(spare, node); len(near) > 0 {
		return near, note
	}
	if len(spare) > 0 {
		note = p.crossing("this process may use no CPU for a worker", node, port.Name, nil)
	}
	return spare, note
}

// spare are the CPUs for workers where no node has more than one: the first that is not on the node of the
// first card keeps house for all.
func (p *Placement) spare() []int {
	if len(p.Allowed) < 2 {
		return nil
	}
	served, house := p.Node, 0
	if served < 0 {
		served = p.Ports[0].Node
	}
	for i, cpu := range p.Allowed {
		if p.Topology.NodeOf(cpu) != served {
			house = i
			break
		}
	}
	return slices.Delete(slices.Clone(p.Allowed), house, house+1)
}

func (p *Placement) onNode(cpus []int, node int) []int {
	if node < 0 {
		return cpus
	}
	var near []int
	for _, cpu := range cpus {
		if p.Topology.NodeOf(cpu) == node {
			near = append(near, cpu)
		}
	}
	return near
}

// crossing is the note that a card's packets are served on another node; better are the CPUs that would do.
func (p *Placement) crossing(why string, node int, port string, better []int) Note {
	note := Note{Text: fmt.Sprintf("%s of node %d, where %s is: its packets cross nodes", why, node, port)}
	local := p.Topology.Node(node)
	if len(better) > 0 {
		note.Remedy = fmt.Sprintf("`workers: {cpus: %q}`, or auto", numa.FormatList(better))
		return note
	}
	if local == nil || len(local.CPUs) == 0 {
		note.Remedy = "the card in a slot of a node with CPUs"
		return note
	}
	kept := func(cpu int) bool { return p.Cpuset.CPUs != nil && !slices.Contains(p.Cpuset.CPUs, cpu) }
	own := p.onNode(p.Allowed, node)
	switch {
	case slices.ContainsFunc(local.CPUs, kept):
		note.Remedy = p.widerCpuset(local.CPUs)
	case len(own) > 0:
		// It keeps house, since the node has no other; asked for by its number it serves.
		note.Remedy = fmt.Sprintf("`workers: {cpus: %q}`", numa.FormatList(own))
	default:
		note.Remedy = p.widerMask(local.CPUs)
	}
	return note
}

// widerCpuset gives the process these CPUs, too.
func (p *Placement) widerCpuset(cpus []int) string {
	return fmt.Sprintf("`%s` (the cpuset %s leaves %s)", p.Cpuset.WiderCPUs(cpus), p.Cpuset.Group,
		numa.FormatList(p.Cpuset.CPUs))
}

// widerMask has the process started with these CPUs.
func (p *Placement) widerMask(cpus []int) string {
	return fmt.Sprintf("`CPUAffinity=%s` in the unit, or taskset: the mask it was started with leaves %s",
		numa.FormatList(cpus), numa.FormatList(p.Allowed))
}

// more gives the process another CPU than its only one.
func (p *Placement) more() string {
	online, offline := p.Topology.Online, p.Topology.Offline
	switch {
	case p.Cpuset.CPUs != nil && len(p.Cpuset.CPUs) < len(online):
		return p.widerCpuset(online)
	case len(online) > 1:
		return p.widerMask(online)
	case len(offline) > 0:
		return fmt.Sprintf("`echo 1 > /sys/devices/system/cpu/cpu%d/online`", offline[0])
	}
	return "a machine with more CPUs"
}

// free are the CPUs of a node that `auto` takes for workers, best first. What isolcpus= set aside was meant
// for this, and then nothing else is taken. Otherwise the node's first CPU keeps house, since interrupts
// gather there, and its core's other threads come last. No two share a core.
func (p *Placement) free(node int) []int {
	var isolated, plain []int
	for _, cpu := range p.onNode(p.Allowed, node) {
		if slices.Contains(p.Topology.Isolated, cpu) {
			isolated = append(isolated, cpu)
		} else {
			plain = append(plain, cpu)
		}
	}
	if len(isolated) > 0 {
		if len(isolated) == len(p.Allowed) {
			isolated = isolated[1:] // All CPUs are isolated: one must keep house all the same.
		}
		return p.onePerCore(isolated)
	}
	if len(plain) == 0 {
		return nil
	}
	house := p.Topology.Siblings(plain[0])
	var first, last []int
	for _, cpu := range plain[1:] {
		if slices.Contains(house, cpu) {
			last = append(last, cpu)
		} else {
			first = append(first, cpu)
		}
	}
	return p.onePerCore(append(first, last...))
}

// onePerCore keeps the first CPU of each core.
func (p *Placement) onePerCore(cpus []int) []int {
	var kept []int
	for _, cpu := range cpus {
		shares := func(other int) bool { return slices.Contains(p.Topology.Siblings(other), cpu) }
		if !slices.ContainsFunc(kept, shares) {
			kept = append(kept, cpu)
		}
	}
	return kept
}

// keepHouse deals out the CPUs that no worker has. Threads of a worker's core, and isolated CPUs, are left
// alone as long as another one is there to keep house.
func (p *Placement) keepHouse(plan *Plan, taken map[int]int) {
	var plain, siblings, isolated []int
	for _, cpu := range p.Allowed {
		_, isTaken := taken[cpu]
		worker := func(other int) bool { _, ok := taken[other]; return ok }
		switch {
		case isTaken:
		case slices.Contains(p.Topology.Isolated, cpu):
			isolated = append(isolated, cpu)
		case slices.ContainsFunc(p.Topology.Siblings(cpu), worker):
			siblings = append(siblings, cpu)
		default:
			plain = append(plain, cpu)
		}
	}
	plan.Housekeeping = plain
	for _, choice := range [][]int{siblings, isolated} {
		if len(plan.Housekeeping) > 0 {
			plan.Idle = append(plan.Idle, choice...)
			continue
		}
		// One of each node: the fewer, the fewer workers are disturbed.
		used := map[int]bool{}
		for _, cpu := range choice {
			if node := p.Topology.NodeOf(cpu); !used[node] {
				used[node] = true
				plan.Housekeeping = append(plan.Housekeeping, cpu)
			} else {
				plan.Idle = append(plan.Idle, cpu)
			}
		}
	}
	slices.Sort(plan.Idle)
}

// explain says what is not best about a list of CPUs that was asked for, and about any plan what its workers
// have to share.
func (p *Placement) explain(plan *Plan, taken map[int]int) []Note {
	var notes []Note
	var workers, unused, shared []int
	for _, cpu := range p.Allowed {
		if _, ok := taken[cpu]; ok {
			workers = append(workers, cpu)
		} else if slices.Contains(p.CPUs, cpu) {
			unused = append(unused, cpu)
		}
	}
	if better := p.onePerCore(workers); len(better) < len(workers) {
		for _, cpu := range workers {
			if !slices.Contains(better, cpu) {
				shared = append(shared, cpu)
			}
		}
		notes = append(notes, Note{Text: fmt.Sprintf("CPUs %s of workers.cpus are second threads of cores "+
			"that have a worker already: two workers share one core's units", numa.FormatList(shared)),
			Remedy: fmt.Sprintf("`workers: {cpus: %q}`", numa.FormatList(better))})
	}
	if len(unused) > 0 {
		notes = append(notes, Note{Text: fmt.Sprintf("CPUs %s of workers.cpus serve no queue: the "+
			"interfaces have %d of them in all", numa.FormatList(unused), len(plan.Seats)),
			Remedy: fmt.Sprintf("`workers: {cpus: %q}`, or more queues (`ethtool -L`)",
				numa.FormatList(workers))})
	}
	var busy []int
	for _, cpu := range workers {
		if p.CPUs != nil && len(p.Topology.Isolated) > 0 && !slices.Contains(p.Topology.Isolated, cpu) {
			busy = append(busy, cpu)
		}
	}
	if len(busy) > 0 {
		notes = append(notes, Note{Text: fmt.Sprintf("CPUs %s of workers.cpus are not isolated, and %s are: "+
			"other programs run on the workers' CPUs", numa.FormatList(busy),
			numa.FormatList(p.Topology.Isolated)),
			Remedy: fmt.Sprintf("`workers: {cpus: %q}`, or auto", numa.FormatList(p.Topology.Isolated))})
	}
	return notes
}

// IdleList is the CPUs left alone as lists of CPUs are written.
func (plan *Plan) IdleList() string { return numa.FormatList(plan.Idle) }
