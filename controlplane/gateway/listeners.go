package gateway

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"

	"culvert/controlplane/config"
	"culvert/dataplane"
	"culvert/dataplane/lineproto"
	"culvert/dataplane/udp"
	"culvert/numa"
)

const (
	// receiveBuffer is asked for each kernel socket: a second of a full slow path at 10 000 packets of 1400
	// bytes, so that a stalled worker's traffic has somewhere to wait.
	receiveBuffer = 16 << 20
	// doorNode: kernel sockets' receive memory may lie anywhere.
	doorNode = -1
)

// listenersOf is the configuration's listeners as the workers take them, in the same order.
func listenersOf(c *config.Config) []dataplane.Listener {
	listeners := make([]dataplane.Listener, len(c.Listeners))
	for i := range c.Listeners {
		l := &c.Listeners[i]
		// The configuration's check has let only known words through.
		precision, _ := lineproto.ParsePrecision(l.Precision)
		listeners[i] = dataplane.Listener{
			Port: uint16(l.Port), Precision: precision, SourceTag: l.SourceTag, MaxAhead: int64(l.MaxAhead),
			Sources: l.Sources, Tenants: tenantsOf(c, l.Name),
		}
		for name, value := range l.Tags {
			listeners[i].Tags = append(listeners[i].Tags, dataplane.Tag{Name: name, Value: value})
		}
		tags := listeners[i].Tags
		sort.Slice(tags, func(a, b int) bool { return tags[a].Name < tags[b].Name })
	}
	return listeners
}

// door is one kernel socket and the worker that reads it. Listeners that share a port share the socket.
type door struct {
	door     *dataplane.Door
	listener int // the first on the port
	worker   int
	memory   *numa.Memory
}

// openDoors opens the kernel's socket of every listener and has the slow path's worker read it. They stay
// open as long as the gateway runs.
func (g *Gateway) openDoors() error {
	for _, i := range firstOnPorts(g.listeners) {
		d, err := g.openDoor(i, "", g.slowWorker())
		if err != nil {
			return err
		}
		g.doors = append(g.doors, d)
	}
	return nil
}

// firstOnPorts are the listeners that are the first on their port.
func firstOnPorts(listeners []dataplane.Listener) (first []int) {
	for i := range listeners {
		same := func(j int) bool { return listeners[j].Port == listeners[i].Port }
		if !slices.ContainsFunc(first, same) {
			first = append(first, i)
		}
	}
	return first
}

// raiseSockets serves an interface by kernel sockets of its own, one for each worker that its queues would
// have, sharing the port's packets among them.
func (g *Gateway) raiseSockets(p *port) error {
	p.mode = modeSocket
	if err := g.setListeners(p); err != nil {
		return err
	}
	var workers []int
	for _, number := range queuesOf(p.config, max(p.state.RXQueues, 1)) {
		if w := g.plan.For(p.config.Name, number); !slices.Contains(workers, w) {
			workers = append(workers, w)
		}
	}
	for _, worker := range workers {
		for _, i := range firstOnPorts(g.listeners) {
			d, err := g.openDoor(i, p.config.Name, worker)
			if err != nil {
				return errors.Join(err, g.closeDoors(&p.doors))
			}
			p.doors = append(p.doors, d)
		}
	}
	p.log.Info("receiving by kernel sockets", "mode", p.mode, "workers", len(workers))
	return nil
}

// openDoor opens a listener's socket on a worker, bound to an interface if one is named. The kernel prefers a
// bound socket to the slow path's unbound one.
func (g *Gateway) openDoor(listener int, iface string, worker int) (door, error) {
	c := &g.options.Config.Listeners[listener]
	memory, err := numa.Alloc(udp.MemorySize(g.options.Config.Workers.Batch), doorNode, numa.HugeOff)
	if err != nil {
		return door{}, fmt.Errorf("listener %q: allocate receive memory: %w", c.Name, err)
	}
	kept := 0
	if iface == "" {
		kept = g.options.Kept[uint16(c.Port)]
	}
	socket, err := udp.Open(udp.Config{
		Port: uint16(c.Port), ReceiveBuffer: receiveBuffer, Memory: memory.Bytes(), Device: iface,
		ReusePort: iface != "", Kept: kept,
	})
	if err != nil {
		memory.Close()
		return door{}, fmt.Errorf("listener %q: %w", c.Name, err)
	}
	d := door{door: dataplane.NewDoor(uint16(c.Port), socket), listener: listener, worker: worker,
		memory: memory}
	if iface == "" && g.options.Keep != nil && g.options.Keep(uint16(c.Port), socket.FD()) {
		d.door.Keep()
	}
	if err := g.workers[worker].AddDoor(d.door); err != nil {
		// The worker may still take the socket when it comes to life, so socket and memory stay.
		return door{}, fmt.Errorf("listener %q: %w", c.Name, err)
	}
	return d, nil
}

// closeDoors takes sockets away from their workers, which read what is left first.
func (g *Gateway) closeDoors(doors *[]door) error {
	var errs []error
	for len(*doors) > 0 {
		d := (*doors)[0]
		err := g.workers[d.worker].RemoveDoor(d.door)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			// The worker still holds the socket and its memory: both stay until it lives again.
			return errors.Join(append(errs, err)...)
		}
		if !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
		errs = append(errs, d.memory.Close())
		g.kernelDrops[d.listener] += d.door.KernelDrops()
		*doors = (*doors)[1:]
	}
	*doors = nil
	return errors.Join(errs...)
}
