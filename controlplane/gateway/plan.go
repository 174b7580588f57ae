package gateway

import (
	"fmt"

	"culvert/controlplane/attach"
	"culvert/numa"
)

// Seat is where one socket of a receive queue is served.
type Seat struct {
	Interface string
	Queue     int
	Member    int // of the queue's sockets: 0 is the first, whose worker gives the kernel frames
	Worker    int // index into Plan.Workers
}

// WorkerSeat is one worker's place.
type WorkerSeat struct {
	CPU  int // −1: not pinned
	Node int // −1: unknown
}

// Note is a deviation from what was asked or from what is best, in plain words, and what would mend it.
type Note struct {
	Text   string
	Remedy string // a command or a line of the configuration; empty where nothing can be done
}

func (n Note) String() string {
	if n.Remedy == "" {
		return n.Text
	}
	return n.Text + ": " + n.Remedy
}

// Plan says which worker serves which queue, on which CPU, and which CPUs are left for everything else.
type Plan struct {
	Workers      []WorkerSeat
	Seats        []Seat
	Housekeeping []int
	// Idle are CPUs that share a core with a worker, or are isolated and not needed: nothing of ours runs
	// there.
	Idle []int
	// Offers is what the interfaces' drivers say of themselves, by interface.
	Offers map[string]attach.Offer
	// Polled are the interfaces whose workers shall poll the card.
	Polled map[string]bool
	Notes  []Note
	// Cautions are what is as it was asked for, and may not be what was meant.
	Cautions []Note
}

// Port is what the plan must know of an interface.
type Port struct {
	Name   string
	Node   int // of the card; −1: unknown
	Queues []int
	Fanout bool // several sockets on each queue are asked for
}

// Placement is what a plan is made from.
type Placement struct {
	Topology *numa.Topology
	Allowed  []int       // CPUs this process may use
	Cpuset   numa.Cpuset // what restricts them, for the explanation
	CPUs     []int       // asked for; nil: auto
	Node     int         // asked for; −1: each card's own
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
	if err := p.check(); err != nil {
		return nil, err
	}
	plan := &Plan{}
	taken := map[int]int{} // CPU → worker
	for _, port := range p.Ports {
		candidates, note := p.candidates(port)
		if note.Text != "" {
			plan.Notes = append(plan.Notes, note)
		}
		for i, queue := range port.Queues {
			worker := plan.seat(candidates, taken, i, &p)
			plan.Seats = append(plan.Seats, Seat{Interface: port.Name, Queue: queue, Worker: worker})
		}
	}
	p.fanOut(plan, taken)
	if len(plan.Workers) == 0 {
		plan.Workers = []WorkerSeat{{CPU: -1, Node: -1}}
	}
	p.keepHouse(plan, taken)
	if len(plan.Housekeeping) == 0 {
		return nil, &PlanError{Key: "workers.cpus",
			Problem: fmt.Sprintf("no CPU is left for the rest of the gateway, of %s: leave one out",
				numa.FormatList(p.Allowed))}
	}
	plan.Notes = append(plan.Notes, p.explain(plan, taken)...)
	return plan, nil
}

// seat finds the worker for the i-th queue of a port: a new one while there are free candidates, else they
// share in turn. Without any candidate the worker is not pinned.
func (plan *Plan) seat(candidates []int, taken map[int]int, i int, p *Placement) int {
	if len(candidates) == 0 {
		if worker, ok := taken[-1]; ok {
			return worker
		}
		plan.Notes = append(plan.Notes, Note{Remedy: p.more(),
			Text: "there is one CPU only: the worker shares it with all else, not pinned"})
		return plan.add(taken, -1, -1)
	}
	for _, cpu := range candidates {
		if _, ok := taken[cpu]; !ok {
			return plan.add(taken, cpu, p.Topology.NodeOf(cpu))
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

// For is the worker of a queue's first socket; a queue that came after the plan was made joins those of its
// interface in turn.
func (plan *Plan) For(iface string, queue int) int {
	var workers []int
	for _, seat := range plan.Seats {
		if seat.Interface != iface || seat.Member > 0 {
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
