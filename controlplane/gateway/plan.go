package gateway

import (
	"fmt"
	"slices"

	"culvert/controlplane/attach"
	"culvert/numa"
)

// Seat is where one receive queue is served.
type Seat struct {
	Interface string
	Queue     int
	Worker    int // index into Plan.Workers
}

// WorkerSeat is one worker's place.
type WorkerSeat struct {
	CPU  int // −1: not pinned
	Node int // −1: unknown
}

// Plan says which worker serves which queue, on which CPU, and which CPUs are left for everything else.
type Plan struct {
	Workers      []WorkerSeat
	Seats        []Seat
	Housekeeping []int
	// Offers is what the interfaces' drivers say of themselves, by interface.
	Offers map[string]attach.Offer
	// Notes are deviations from what was asked or from what is best, in plain words.
	Notes []string
}

// Port is what the plan must know of an interface.
type Port struct {
	Name   string
	Node   int // of the card; −1: unknown
	Queues []int
}

// Placement is what a plan is made from.
type Placement struct {
	Topology *numa.Topology
	Allowed  []int // CPUs this process may use
	CPUs     []int // asked for; nil: auto
	Node     int   // asked for; −1: each card's own
	Ports    []Port
}

// PlanError is a demand of the configuration that this machine cannot meet.
type PlanError struct {
	Key     string // of the configuration
	Problem string
	Absent  bool // what is demanded is not there; else the demand itself is wrong
}

func (e *PlanError) Error() string { return e.Key + ": " + e.Problem }

// NewPlan deals the queues out. With CPUs on auto a worker is made for each queue, on its card's node, as
// long as that node keeps one CPU for housekeeping; further queues share. Errors are PlanErrors.
func NewPlan(p Placement) (*Plan, error) {
	plan := &Plan{}
	for _, cpu := range p.CPUs {
		if !slices.Contains(p.Allowed, cpu) {
			return nil, &PlanError{Key: "workers.cpus", Absent: true,
				Problem: fmt.Sprintf("CPU %d is not among those this process may use (%s)",
					cpu, numa.FormatList(p.Allowed))}
		}
	}
	if p.Node >= 0 && p.Topology.Node(p.Node) == nil {
		return nil, &PlanError{Key: "workers.numa", Absent: true,
			Problem: fmt.Sprintf("there is no node %d", p.Node)}
	}
	taken := map[int]int{} // CPU → worker
	for _, port := range p.Ports {
		node := port.Node
		if p.Node >= 0 {
			node = p.Node
		}
		candidates := p.candidates(node)
		if len(candidates) == 0 && len(p.CPUs) > 0 {
			candidates = p.CPUs
			plan.Notes = append(plan.Notes, fmt.Sprintf(
				"workers.cpus has no CPU of node %d, where %s is: its packets cross nodes", node, port.Name))
		}
		for i, queue := range port.Queues {
			worker := plan.seat(candidates, taken, i, p.Topology)
			plan.Seats = append(plan.Seats, Seat{Interface: port.Name, Queue: queue, Worker: worker})
		}
	}
	if len(plan.Workers) == 0 {
		plan.Workers = []WorkerSeat{{CPU: -1, Node: -1}}
	}
	for _, cpu := range p.Allowed {
		if _, ok := taken[cpu]; !ok {
			plan.Housekeeping = append(plan.Housekeeping, cpu)
		}
	}
	if len(plan.Housekeeping) == 0 {
		return nil, &PlanError{Key: "workers.cpus",
			Problem: fmt.Sprintf("no CPU is left for the rest of the gateway, of %s: leave one out",
				numa.FormatList(p.Allowed))}
	}
	return plan, nil
}

// candidates are the CPUs whose workers may serve a card of a node.
func (p *Placement) candidates(node int) []int {
	if p.CPUs != nil {
		var near []int
		for _, cpu := range p.CPUs {
			if node < 0 || p.Topology.NodeOf(cpu) == node {
				near = append(near, cpu)
			}
		}
		return near
	}
	// The first CPU of each node is for housekeeping: interrupts gather there.
	byNode := map[int][]int{}
	for _, cpu := range p.Allowed {
		n := p.Topology.NodeOf(cpu)
		byNode[n] = append(byNode[n], cpu)
	}
	if cpus := byNode[node]; len(cpus) > 0 {
		return cpus[1:]
	}
	var all []int
	for _, n := range p.Topology.Nodes {
		if cpus := byNode[n.ID]; len(cpus) > 1 {
			all = append(all, cpus[1:]...)
		}
	}
	return all
}

// seat finds the worker for the i-th queue of a port: a new one while there are free candidates, else they
// share in turn. Without any candidate the worker is not pinned.
func (plan *Plan) seat(candidates []int, taken map[int]int, i int, topology *numa.Topology) int {
	if len(candidates) == 0 {
		if worker, ok := taken[-1]; ok {
			return worker
		}
		plan.Notes = append(plan.Notes,
			"there is one CPU only: the worker shares it with all else, not pinned")
		return plan.add(taken, -1, -1)
	}
	for _, cpu := range candidates {
		if _, ok := taken[cpu]; !ok {
			return plan.add(taken, cpu, topology.NodeOf(cpu))
		}
	}
	return taken[candidates[i%len(candidates)]]
}

func (plan *Plan) add(taken map[int]int, cpu, node int) int {
	taken[cpu] = len(plan.Workers)
	plan.Workers = append(plan.Workers, WorkerSeat{CPU: cpu, Node: node})
	return len(plan.Workers) - 1
}

// HousekeepingList is the housekeeping CPUs as lists of CPUs are written.
func (plan *Plan) HousekeepingList() string { return numa.FormatList(plan.Housekeeping) }

// For is the worker of a queue; a queue that came after the plan was made joins those of its interface in
// turn.
func (plan *Plan) For(iface string, queue int) int {
	var workers []int
	for _, seat := range plan.Seats {
		if seat.Interface != iface {
			continue
		}
		if seat.Queue == queue {
			return seat.Worker
		}
		workers = append(workers, seat.Worker)
	}
	if len(workers) == 0 {
		return queue % len(plan.Workers)
	}
	return workers[queue%len(workers)]
}

// Mode is the mode that an interface will run in, as far as its driver tells before anything is attached;
// asked is what the configuration says.
func (plan *Plan) Mode(iface, asked string) string {
	offer := plan.Offers[iface]
	switch {
	case asked != modeAuto || !offer.Known:
		return asked
	case offer.ZeroCopy:
		return modeZeroCopy
	case offer.Native:
		return modeNative
	}
	return modeGeneric
}
