package doctor

import (
	"fmt"
	"slices"

	"culvert/controlplane/gateway"
	"culvert/numa"
)

// Place is where the workers of a gateway on this host would run.
type Place struct {
	Topology *numa.Topology // nil where it cannot be read
	Cpuset   numa.Cpuset
	Plan     *gateway.Plan // nil where no interface is served, or none can be made
}

// Place makes the plan that a gateway would make. The error is a *gateway.PlanError where the demand is the
// obstacle.
func (h *Host) Place() (Place, error) {
	var place Place
	var err error
	if place.Topology, err = numa.Read(h.Root); err != nil {
		return Place{}, fmt.Errorf("the topology cannot be read: %w", err)
	}
	if place.Cpuset, err = numa.ReadCpuset(h.Root); err != nil {
		return place, err
	}
	p := gateway.Placement{
		Topology: place.Topology, Allowed: place.Topology.Usable(h.Mask, place.Cpuset), Cpuset: place.Cpuset,
		CPUs: h.Workers.CPUs, Node: int(h.Workers.NUMA),
	}
	for i := range h.Cards {
		card := &h.Cards[i]
		if card.Present {
			p.Ports = append(p.Ports, gateway.Port{
				Name: card.Name, Node: numa.NICNode(h.Root, card.Name), Queues: card.served(),
				Fanout: card.Fanout,
			})
		}
	}
	if len(p.Ports) > 0 {
		place.Plan, err = gateway.NewPlan(p)
	}
	return place, err
}

func (card *Card) served() []int {
	if card.Served != nil {
		return card.Served
	}
	all := make([]int, card.Queues)
	for i := range all {
		all[i] = i
	}
	return all
}

// WorkerCPUs are the CPUs that the plan pins workers to.
func (p *Place) WorkerCPUs() []int {
	if p.Plan == nil {
		return nil
	}
	var cpus []int
	for _, worker := range p.Plan.Workers {
		if worker.CPU >= 0 {
			cpus = append(cpus, worker.CPU)
		}
	}
	return cpus
}

// WorkersOf is how many pinned workers the plan gives an interface.
func (p *Place) WorkersOf(iface string) int {
	if p.Plan == nil {
		return 0
	}
	seen := map[int]bool{}
	for _, seat := range p.Plan.Seats {
		if seat.Interface == iface && p.Plan.Workers[seat.Worker].CPU >= 0 {
			seen[seat.Worker] = true
		}
	}
	return len(seen)
}

// QueuesByNode is how many queues the plan serves on each node.
func (p *Place) QueuesByNode() map[int]int {
	queues := map[int]int{}
	if p.Plan == nil {
		return queues
	}
	for _, seat := range p.Plan.Seats {
		// The other sockets of a queue have no frames of their own.
		if seat.Member == 0 {
			queues[p.Plan.Workers[seat.Worker].Node]++
		}
	}
	return queues
}

// Home is where a queue's interrupt is best, as a list of CPUs: on its worker's CPU, so that the packet is in
// that CPU's cache, or else anywhere on the card's node, whose CPUs are local.
func (p *Place) Home(iface string, queue int, local []int) string {
	if p.Plan != nil {
		for _, seat := range p.Plan.Seats {
			cpu := p.Plan.Workers[seat.Worker].CPU
			if seat.Interface == iface && seat.Queue == queue && slices.Contains(local, cpu) {
				return fmt.Sprint(cpu)
			}
		}
	}
	return numa.FormatList(local)
}
