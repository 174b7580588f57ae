package gateway

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"culvert/bpf"
	"culvert/controlplane/attach"
	"culvert/dataplane"
)

// retryInterval is how often an interface that could not be bound is tried again.
const retryInterval = time.Second

// watch follows one interface until the context ends: it goes and comes back, changes its addresses, its link
// or its queues, and each time the gateway makes good what that broke.
func (g *Gateway) watch(ctx context.Context, p *port) {
	events := make(chan attach.Event)
	done, err := attach.Watch(ctx, p.config.Name, func(e attach.Event) {
		select {
		case events <- e:
		case <-ctx.Done():
		}
	})
	if err != nil {
		p.log.Error("interface changes are not seen", "error", err)
		return
	}
	retry := time.NewTicker(retryInterval)
	defer retry.Stop()
	for {
		select {
		case <-done:
			return
		case e := <-events:
			g.change(p, e)
		case <-retry.C:
			g.tryAgain(p)
		}
	}
}

// change makes good one change of an interface.
func (g *Gateway) change(p *port, e attach.Event) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	if g.stopping {
		return
	}
	// What Watch saw first may differ from what Start saw, so the difference to that is what counts.
	changed := attach.Compare(p.state, e.After)
	if changed == 0 {
		return
	}
	p.state = e.After
	switch {
	case !e.After.Present:
		p.log.Warn("interface is gone: waiting for it")
		g.report(p, g.lower(p))
		p.waiting = errGone
	case changed&(attach.ChangedPresence|attach.ChangedIndex) != 0:
		p.log.Info("interface is back")
		g.report(p, g.lower(p))
		g.report(p, g.raise(p))
	case changed&attach.ChangedQueues != 0:
		// Attached anew, since some drivers (veth in 6.18) run the program on the queues alone that there
		// were when it was attached.
		p.log.Info("number of queues changed", "queues", e.After.RXQueues)
		g.report(p, g.lower(p))
		g.report(p, g.raise(p))
	case changed&attach.ChangedBelow != 0:
		p.log.Info("its packets come by another interface: attaching anew", "mode", p.mode)
		g.report(p, g.lower(p))
		g.report(p, g.raise(p))
	case changed&attach.ChangedLink != 0 && e.After.Up:
		g.report(p, g.rebind(p))
	case changed&attach.ChangedLink != 0:
		p.log.Warn("link is down")
	case changed&attach.ChangedProgram != 0 && g.lost(p):
		p.log.Warn("somebody took the XDP program off: attaching anew")
		g.report(p, g.lower(p))
		g.report(p, g.raise(p))
	}
	if p.attachment != nil && changed&attach.ChangedMAC != 0 {
		g.report(p, p.attachment.Steer().SetMAC(e.After.MAC))
	}
	if changed&attach.ChangedAddresses != 0 {
		g.report(p, g.setListeners(p))
	}
	if e.After.Present && changed&attach.ChangedMTU != 0 {
		p.log.Warn("MTU changed", "mtu", e.After.MTU)
		switch {
		case p.wantsPieces():
			g.report(p, g.lower(p))
			g.report(p, g.raise(p))
		case p.attachment != nil && p.whole != p.fitsZeroCopy():
			g.report(p, g.rebind(p))
		}
	}
}

// lost asks anew whether the interface lacks our program: the state that Watch saw may be from before the
// gateway attached.
func (g *Gateway) lost(p *port) bool {
	if p.attachment == nil {
		return false
	}
	lost, err := p.attachment.Lost()
	g.report(p, err)
	return lost
}

// tryAgain binds an interface that is there but could not be bound before, and puts back what busy polling
// that has ended needed.
func (g *Gateway) tryAgain(p *port) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	p.restoreUseless()
	if g.stopping || p.waiting == nil || !p.state.Present || !p.state.Up {
		return
	}
	again := g.rebind
	if p.attachment == nil {
		again = g.raise
	}
	// The same obstacle is told once, however often it is met.
	before := p.waiting.Error()
	if err := again(p); err != nil && err.Error() != before {
		g.report(p, err)
	}
}

func (g *Gateway) report(p *port, err error) {
	if err != nil {
		p.log.Error("interface", "error", err)
	}
}

// setListeners gives the program and the kernel-socket path the addresses that listeners have now.
func (g *Gateway) setListeners(p *port) error {
	g.publishAddresses()
	if err := g.joinGroups(p); err != nil {
		return err
	}
	if p.attachment == nil {
		return nil
	}
	listeners := make([]bpf.Listener, len(g.listeners))
	for i := range g.listeners {
		l := &g.listeners[i]
		listeners[i] = bpf.Listener{
			ID: uint16(i), Port: l.Port, Addresses: g.listenerAddresses(i, p.state.Addresses),
			Sources: l.Sources,
		}
		for _, t := range l.Tenants {
			listeners[i].Tenants = append(listeners[i].Tenants, bpf.TenantPrefix(t))
		}
	}
	return p.attachment.Steer().SetListeners(listeners, packetLimitsOf(g.options.Config)...)
}

// joinGroups makes the slow path's sockets members of the listed multicast groups on an interface: that tells
// the card and the switches to let them in, for AF_XDP too.
func (g *Gateway) joinGroups(p *port) error {
	for _, d := range g.doors {
		for i := range g.listeners {
			if g.listeners[i].Port != g.listeners[d.listener].Port {
				continue
			}
			listener := &g.options.Config.Listeners[i]
			for _, address := range listener.Address {
				if !address.IsMulticast() {
					continue
				}
				if err := d.door.Join(address, p.state.Index); err != nil {
					return fmt.Errorf("listener %q: %w", listener.Name, err)
				}
			}
		}
	}
	return nil
}

// listenerAddresses are the addresses of one listener on an interface that has these of its own.
func (g *Gateway) listenerAddresses(listener int, own []netip.Addr) []netip.Addr {
	if listed := g.options.Config.Listeners[listener].Address; len(listed) > 0 {
		return listed
	}
	return own
}

// publishAddresses shows the workers what each listener's addresses are over all interfaces.
func (g *Gateway) publishAddresses() {
	all := make(dataplane.Addresses, len(g.listeners))
	for i := range all {
		for _, p := range g.interfaces {
			all[i] = append(all[i], g.listenerAddresses(i, p.state.Addresses)...)
		}
	}
	g.addresses.Store(&all)
}
