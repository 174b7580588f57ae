package gateway

import (
	"fmt"
	"slices"
	"time"

	"culvert/controlplane/nic"
	"culvert/dataplane"
	"culvert/numa"
)

// placedFor is how long a look at the placement is good for: it reads files, and they rarely change.
const placedFor = 2 * time.Second

// placed is what the last look at the placement found. The gateway's mutex guards it.
type placed struct {
	at    time.Time
	found []string
}

// placement is what is compared with a plan: how it came out.
type placement struct {
	plan *Plan
	// masks are the CPUs that each worker's thread may run on; nil where it cannot be read.
	masks [][]int
	// pages are the workers', as they were found last; nil before.
	pages []dataplane.Pages
	// modes are the effective ones by interface, without those that are down.
	modes map[string]string
	// asked are the configured ones.
	asked map[string]string
	// interrupts are the cards', by interface, and nodes the CPUs of their nodes, none where it is not known.
	interrupts map[string][]nic.Interrupt
	nodes      map[string][]int
}

// deviations says where the placement is not what was planned, or what is best. The mutex is held.
func (g *Gateway) deviations() []string {
	if time.Since(g.placed.at) < placedFor {
		return g.placed.found
	}
	p := placement{plan: g.plan, modes: map[string]string{}, asked: map[string]string{},
		interrupts: map[string][]nic.Interrupt{}, nodes: map[string][]int{}, pages: g.pages}
	for i := range g.plan.Workers {
		mask, _ := numa.AllowedTo(g.workers[i].Thread())
		p.masks = append(p.masks, mask)
	}
	topology, err := numa.Read(sysfsRoot)
	for _, port := range g.interfaces {
		name := port.config.Name
		p.asked[name] = port.config.Mode
		if port.mode != "" {
			p.modes[name] = port.mode
		}
		// What cannot be read is no deviation; `culvert doctor` says that it cannot.
		p.interrupts[name], _ = nic.Interrupts(sysfsRoot, name)
		// Those of queues that are not in use never come.
		p.interrupts[name] = slices.DeleteFunc(p.interrupts[name], func(i nic.Interrupt) bool {
			return i.Queue >= port.state.RXQueues
		})
		if node := numa.NICNode(sysfsRoot, name); err == nil && topology.Node(node) != nil {
			p.nodes[name] = topology.CPUsNear(node)
		}
	}
	found := p.deviations()
	for _, port := range g.interfaces {
		if _, why := port.polled(); why != "" {
			found = append(found, why)
		}
	}
	g.placed = placed{at: time.Now(), found: found}
	return g.placed.found
}

// deviations compares, in the order plan, workers, interfaces.
func (p *placement) deviations() []string {
	var found []string
	for _, note := range p.plan.Notes {
		found = append(found, note.String())
	}
	for i, worker := range p.plan.Workers {
		if mask := p.masks[i]; worker.CPU >= 0 && mask != nil && !slices.Equal(mask, []int{worker.CPU}) {
			found = append(found,
				fmt.Sprintf("worker %d was pinned to CPU %d, and somebody has moved it to %s: "+
					"restart the gateway, and look for a cpuset that changed", i, worker.CPU,
					numa.FormatList(mask)))
		}
		if i < len(p.pages) {
			found = append(found, strayPages(i, worker.Node, &p.pages[i])...)
		}
	}
	var names []string
	for _, seat := range p.plan.Seats {
		if !slices.Contains(names, seat.Interface) {
			names = append(names, seat.Interface)
		}
	}
	for _, name := range names {
		planned := p.plan.Mode(name, p.asked[name])
		if mode,
			up := p.modes[name]; up && p.asked[name] == modeAuto && planned != modeAuto && mode != planned {
			found = append(found,
				fmt.Sprintf("%s runs in mode %s, and its driver offers %s: the log says why",
					name, mode, planned))
		}
		for _, i := range p.interrupts[name] {
			if stray := p.stray(name, i); stray != "" {
				found = append(found, stray)
			}
		}
	}
	return found
}

// stray says where a queue's interrupt goes if that is off the card's node, or to another worker's CPU.
func (p *placement) stray(iface string, i nic.Interrupt) string {
	goes := i.Effective
	if len(goes) == 0 {
		goes = i.CPUs
	}
	if i.Queue < 0 || len(goes) == 0 {
		return ""
	}
	local := p.nodes[iface]
	away := func(cpu int) bool { return !slices.Contains(local, cpu) }
	if len(local) > 0 && slices.ContainsFunc(goes, away) {
		return fmt.Sprintf("interrupt %d of %s's queue %d goes to CPUs %s, off the card's node: "+
			"`culvert tune apply -i %s`", i.Number, iface, i.Queue, numa.FormatList(goes), iface)
	}
	own := p.plan.For(iface, i.Queue)
	for index, worker := range p.plan.Workers {
		if index != own && len(goes) == 1 && worker.CPU == goes[0] {
			return fmt.Sprintf("interrupt %d of %s's queue %d goes to CPU %d, which is worker %d's: "+
				"`culvert tune apply -i %s`", i.Number, iface, i.Queue, goes[0], index, iface)
		}
	}
	return ""
}
