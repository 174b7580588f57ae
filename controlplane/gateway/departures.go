package gateway

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"

	"culvert/controlplane/config"
	"culvert/dataplane"
	"culvert/dataplane/rules"
	"culvert/dataplane/wire"
)

// viaXDP is how a notifier asks for TX rings.
const viaXDP = "xdp"

// openWays makes a way, and a departure of it on every worker, for each notifier via xdp.
func (g *Gateway) openWays() error {
	for i := range g.options.Config.Notifiers {
		n := &g.options.Config.Notifiers[i]
		if n.Via != viaXDP || g.rules.current() == nil {
			continue
		}
		w, err := newWay(n.Name, n.Address, g.log)
		if err != nil {
			return err
		}
		w.config = *n
		g.ways = append(g.ways, w)
		d := dataplane.Departure{
			Rules: namedBy(g.rules.current(), n.Name), Way: w.current, Waiting: g.notifiers.Waiting(n.Name),
		}
		if n.Format == "line" {
			d.Format = wire.Line
		}
		if n.Limit > 0 {
			// A rule's keys are dealt out evenly, and so is its limit.
			d.Limit = max(n.Limit/len(g.plan.Workers), 1)
		}
		g.departures = append(g.departures, d)
	}
	return nil
}

// namedBy tells of each rule whether its actions name a notifier.
func namedBy(set *rules.Set, notifier string) []bool {
	summaries := set.Rules()
	named := make([]bool, len(summaries))
	for i := range summaries {
		named[i] = slices.Contains(summaries[i].Actions, notifier)
	}
	return named
}

// departed are the names of the notifiers that a worker told of a change by its TX ring.
func (g *Gateway) departed(t *rules.Transition) (names []string) {
	if t.Departed == 0 {
		return nil
	}
	for i, w := range g.ways {
		if t.Departed&(1<<i) != 0 {
			names = append(names, w.notifier)
			g.latency.record(t.DepartedAt - t.Arrival)
		}
	}
	return names
}

// DepartureOf says how the alerts of a notifier leave on this machine, in plain words, and what of it may not
// be what was meant.
func DepartureOf(ctx context.Context, c *config.Config, n *config.Notifier, plan *Plan) (
	how, warning string) {
	if n.Via != viaXDP {
		return "-", ""
	}
	byKernel := func(format string, arguments ...any) (string, string) {
		return "kernel", fmt.Sprintf("notifier %q is via xdp, but its alerts leave by the kernel's socket: ",
			n.Name) + fmt.Sprintf(format, arguments...)
	}
	host, _, err := net.SplitHostPort(n.Address)
	if err != nil {
		return byKernel("%v", err)
	}
	address, err := resolveHost(ctx, host)
	if err != nil {
		return byKernel("%v", err)
	}
	h, err := lookUpHop(address)
	if err != nil {
		return byKernel("%v", err)
	}
	serving := map[int]bool{}
	for _, seat := range plan.Seats {
		if seat.Interface == h.name && seat.Member == 0 && modeOf(c, h.name) != modeSocket {
			serving[seat.Worker] = true
		}
	}
	if len(serving) == 0 {
		return byKernel("the route to %s goes by %s, where no worker has a TX ring", address, h.name)
	}
	how = "TX rings of " + h.name
	var without []string
	for i := range plan.Workers {
		if !serving[i] {
			without = append(without, fmt.Sprint(i))
		}
	}
	if len(without) > 0 {
		warning = fmt.Sprintf("notifier %q is via xdp: alerts of worker %s, without a TX ring on %s, "+
			"leave by the kernel's socket", n.Name, strings.Join(without, ", "), h.name)
	}
	return how, warning
}

func modeOf(c *config.Config, name string) string {
	for i := range c.Interfaces {
		if c.Interfaces[i].Name == name {
			return c.Interfaces[i].Mode
		}
	}
	return modeSocket
}
