package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"culvert/controlplane/config"
	"culvert/controlplane/nic"
	"culvert/numa"
)

// ntuple is the kernel's name of ethtool's ntuple-filters: the card takes rules.
const ntuple = "rx-ntuple-filter"

// Spread is by what a card chooses a packet's queue. What its driver does not tell is empty.
type Spread struct {
	Hash        map[nic.Flow]nic.HashFields
	Indirection nic.Indirection
	Rules       nic.RuleTable
}

// Listen is what comes to a listener at a card.
type Listen struct {
	Flow nic.Flow
	Port uint16
}

// askSpread reads a card's. Drivers that lack a thing say so by many errors, not by EOPNOTSUPP alone; to each
// of them there is nothing to be said of the card.
func askSpread(name string) Spread {
	s := Spread{Hash: map[nic.Flow]nic.HashFields{}}
	for _, flow := range nic.Flows() {
		if fields, err := nic.AskHash(name, flow); err == nil {
			s.Hash[flow] = fields
		}
	}
	if table, err := nic.AskIndirection(name); err == nil {
		s.Indirection = table
	}
	if rules, err := nic.AskRules(name); err == nil {
		s.Rules = rules
	}
	return s
}

// flowsTo are the flows that come to these addresses. Telemetry is not sent to link-local ones; without any
// other address it may be either flow.
func flowsTo(addresses []netip.Addr) []nic.Flow {
	var v4, v6 bool
	for _, address := range addresses {
		v4 = v4 || address.Is4() || address.Is4In6()
		v6 = v6 || address.Is6() && !address.Is4In6() && !address.IsLinkLocalUnicast()
	}
	switch {
	case v4 && !v6:
		return []nic.Flow{nic.UDP4}
	case v6 && !v4:
		return []nic.Flow{nic.UDP6}
	}
	return nic.Flows()
}

// listen notes what comes to a configuration's listeners at the card, once for each flow and port.
func (card *Card) listen(listeners []config.Listener) {
	for i := range listeners {
		flows := card.Flows
		if listeners[i].Address != nil {
			flows = flowsTo(listeners[i].Address)
		}
		for _, flow := range flows {
			one := Listen{Flow: flow, Port: uint16(listeners[i].Port)}
			if !slices.Contains(card.Listens, one) {
				card.Listens = append(card.Listens, one)
			}
		}
	}
}

// Receives are the flows of what comes to the listeners, or may come to those of a gateway.
func (card *Card) Receives() []nic.Flow {
	var flows []nic.Flow
	for _, one := range card.Listens {
		if !slices.Contains(flows, one.Flow) {
			flows = append(flows, one.Flow)
		}
	}
	if flows == nil {
		return card.Flows
	}
	return flows
}

// Rehash finds a flow that the card spreads over several served queues by addresses alone: whatever one
// sender's address sends comes by one of them.
func (card *Card) Rehash(flow nic.Flow) (now, better nic.HashFields, found bool) {
	now = card.Spread.Hash[flow]
	table := card.Spread.Indirection
	if len(card.served()) < 2 || table != nil && len(table.Queues()) < 2 || !now.ByAddresses() {
		return now, now, false
	}
	return now, now.WithPorts(), true
}

// Astray are the queues that the card gives packets to, and that have no socket.
func (card *Card) Astray() []int {
	if card.Served == nil || card.Mode == "socket" {
		return nil
	}
	beyond := func(queue int) bool { return queue >= card.Queues }
	if slices.ContainsFunc(card.Served, beyond) {
		return nil // That is a finding of its own, and goes first.
	}
	return slices.DeleteFunc(card.Spread.Indirection.Queues(), func(queue int) bool {
		return slices.Contains(card.Served, queue)
	})
}

// Unfed are the queues that have a socket and get no packet: the card's table leaves them out, and no rule
// leads to them. A table that is shorter than the queues are many cannot name all.
func (card *Card) Unfed() []int {
	table, served := card.Spread.Indirection, card.served()
	beyond := func(queue int) bool { return queue >= card.Queues }
	if len(table) < len(served) || card.Mode == "socket" || slices.ContainsFunc(served, beyond) {
		return nil
	}
	fed := table.Queues()
	for _, rule := range card.Spread.Rules.Rules {
		fed = append(fed, rule.Queue)
	}
	return slices.DeleteFunc(slices.Clone(served), func(queue int) bool {
		return slices.Contains(fed, queue)
	})
}

// Steer is what brings packets to the queues that have a socket, where others get some, too, or some get
// none: for one queue on a card that takes rules one for each port, each with a free location; else another
// table. A rule leaves all other packets where they are. Nothing is returned where nothing is to be done.
func (card *Card) Steer() (rules []nic.Rule, locations []int, table nic.Indirection) {
	if len(card.Astray()) == 0 {
		if len(card.Unfed()) > 0 {
			return nil, nil, nic.InTurn(card.served(), len(card.Spread.Indirection))
		}
		return nil, nil, nil
	}
	if len(card.Served) == 1 && len(card.Listens) > 0 && card.Features[ntuple].Active {
		for _, one := range card.Listens {
			rule := nic.Rule{Flow: one.Flow, Port: one.Port, Queue: card.Served[0]}
			if !card.Spread.Rules.Holds(rule) {
				rules = append(rules, rule)
			}
		}
		if len(rules) == 0 {
			return nil, nil, nil
		}
		if locations = card.Spread.Rules.Free(len(rules)); locations != nil {
			return rules, locations, nil
		}
	}
	return nil, nil, nic.InTurn(card.served(), len(card.Spread.Indirection))
}

// steering looks at how the card's packets find their queues.
func (e *examination) steering(card *Card) {
	const check = "rss"
	found := false
	for _, flow := range card.Receives() {
		now, better, byAddress := card.Rehash(flow)
		if !byAddress {
			continue
		}
		found = true
		remedy := fmt.Sprintf("`ethtool -N %s rx-flow-hash %s %s`", card.Name, flow, better)
		e.add(Warn, check, card.Name, remedy,
			"%s is spread over the queues by addresses (%s): all that one address sends comes by one queue, "+
				"from however many sockets", flow, now)
	}
	rules, _, table := card.Steer()
	var commands []string
	for _, rule := range rules {
		commands = append(commands, fmt.Sprintf("ethtool -N %s flow-type %s", card.Name, rule))
	}
	if table != nil {
		commands = append(commands, fmt.Sprintf("ethtool -X %s %s", card.Name, inWords(card.served())))
	}
	astray := card.Astray()
	if commands != nil {
		found = true
		remedy := "`" + strings.Join(commands, " && ") + "`"
		if len(astray) > 0 {
			e.add(Warn, check, card.Name, remedy,
				"the card gives packets to queues %s, too, which are not served: these pass to the kernel",
				numa.FormatList(astray))
		} else {
			remedy += fmt.Sprintf(", or fewer queues (`ethtool -L %s`)", card.Name)
			e.add(Warn, check, card.Name, remedy,
				"queues %s are served and get no packets: the card's table leaves them out",
				numa.FormatList(card.Unfed()))
		}
	}
	if !found && card.Spread.Indirection != nil {
		e.add(Pass, check, card.Name, "", "it spreads packets over queues %s",
			numa.FormatList(card.Spread.Indirection.Queues()))
	}
}

// inWords asks `ethtool -X` for a table of these queues, ascending, in turn.
func inWords(queues []int) string {
	first, last := queues[0], queues[len(queues)-1]
	switch {
	case last-first != len(queues)-1:
		weights := make([]string, last+1)
		for queue := range weights {
			weights[queue] = "0"
			if slices.Contains(queues, queue) {
				weights[queue] = "1"
			}
		}
		return "weight " + strings.Join(weights, " ")
	case first > 0:
		return fmt.Sprintf("start %d equal %d", first, len(queues))
	}
	return fmt.Sprintf("equal %d", len(queues))
}
