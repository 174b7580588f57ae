package gateway

import (
	"cmp"
	"fmt"
	"slices"

	"culvert/bpf"
	"culvert/controlplane/config"
)

// The ways in which packets are dealt out to the sockets of a queue.
const (
	fanoutNone   = "none"
	fanoutPacket = "packet"
)

// fanOut gives the CPUs that no queue has to further sockets of queues that fan out, as many to each queue of
// an interface: the program has one number for all of them. Interfaces that could use the same CPUs share
// them by their queues.
func (p *Placement) fanOut(plan *Plan, taken map[int]int) {
	for i, port := range p.Ports {
		if !port.Fanout || len(port.Queues) == 0 {
			continue
		}
		free := p.untaken(port, taken)
		waiting := 0 // queues that could use them
		for _, other := range p.Ports[i:] {
			if other.Fanout && (len(free) == 0 || slices.Contains(p.untaken(other, taken), free[0])) {
				waiting += len(other.Queues)
			}
		}
		members := min(len(free)/waiting, bpf.FanoutMax-1)
		if members == 0 {
			plan.Notes = append(plan.Notes, Note{Text: fmt.Sprintf("%s has a worker for each queue and no "+
				"CPU for more of them: queues_fanout changes nothing", port.Name),
				Remedy: "`queues_fanout: none`, or more CPUs (`workers.cpus`)"})
		}
		for i, queue := range port.Queues {
			for member := range members {
				cpu := free[i*members+member]
				worker := plan.add(taken, cpu, p.Topology.NodeOf(cpu))
				plan.Seats = append(plan.Seats, Seat{Interface: port.Name, Queue: queue, Member: member + 1,
					Worker: worker})
			}
		}
	}
	order := map[string]int{}
	for i, port := range p.Ports {
		order[port.Name] = i
	}
	slices.SortStableFunc(plan.Seats, func(a, b Seat) int {
		return cmp.Or(cmp.Compare(order[a.Interface], order[b.Interface]), cmp.Compare(a.Queue, b.Queue),
			cmp.Compare(a.Member, b.Member))
	})
}

// untaken are the CPUs whose workers may serve a port and that have none yet.
func (p *Placement) untaken(port Port, taken map[int]int) []int {
	candidates, _ := p.candidates(port)
	return slices.DeleteFunc(slices.Clone(candidates), func(cpu int) bool {
		_, is := taken[cpu]
		return is
	})
}

// Fanout is how many sockets each queue of an interface has.
func (plan *Plan) Fanout(iface string) int {
	most := 0
	for _, seat := range plan.Seats {
		if seat.Interface == iface {
			most = max(most, seat.Member)
		}
	}
	return most + 1
}

// members are the workers of a queue's further sockets; a queue that came after the plan was made has those
// of another one, after the same manner as Plan.For.
func (plan *Plan) members(iface string, queue int) []int {
	var queues []int
	for _, seat := range plan.Seats {
		if seat.Interface == iface && seat.Member == 0 {
			queues = append(queues, seat.Queue)
		}
	}
	if len(queues) > 0 && !slices.Contains(queues, queue) {
		queue = queues[queue%len(queues)]
	}
	var workers []int
	for _, seat := range plan.Seats {
		if seat.Interface == iface && seat.Queue == queue && seat.Member > 0 {
			workers = append(workers, seat.Worker)
		}
	}
	return workers
}

// fansOut tells whether several sockets on each queue are asked for.
func fansOut(c *config.Interface) bool { return c.QueuesFanout != fanoutNone }
