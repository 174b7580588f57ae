package tune

import (
	"fmt"
	"strconv"

	"culvert/controlplane/nic"
)

// readSpread is what a setting of a card's choice of queues is now.
func readSpread(s Setting) (string, error) {
	switch s.Kind {
	case Hash:
		flow, err := nic.ParseFlow(s.Name)
		if err != nil {
			return "", fmt.Errorf("read %s: %w", s, err)
		}
		fields, err := nic.AskHash(s.Interface, flow)
		return fields.String(), err
	case Indirection:
		table, err := nic.AskIndirection(s.Interface)
		if err != nil {
			return "", err
		}
		return table.String(), nil
	case Rule:
		location, err := strconv.Atoi(s.Name)
		if err != nil {
			return "", fmt.Errorf("read %s: %w", s, err)
		}
		table, err := nic.AskRules(s.Interface)
		return table.At(location), err
	}
	return "", fmt.Errorf("read %s: there is no kind %q", s, s.Kind)
}

// writeSpread sets it.
func writeSpread(s Setting, value string) error {
	switch s.Kind {
	case Hash:
		flow, err := nic.ParseFlow(s.Name)
		if err != nil {
			return fmt.Errorf("set %s: %w", s, err)
		}
		fields, err := nic.ParseHashFields(value)
		if err != nil {
			return fmt.Errorf("set %s: %w", s, err)
		}
		return nic.SetHash(s.Interface, flow, fields)
	case Indirection:
		table, err := nic.ParseIndirection(value)
		if err != nil {
			return fmt.Errorf("set %s: %w", s, err)
		}
		return nic.SetIndirection(s.Interface, table)
	case Rule:
		location, err := strconv.Atoi(s.Name)
		if err != nil {
			return fmt.Errorf("set %s: %w", s, err)
		}
		if value == nic.NoRule {
			return nic.DeleteRule(s.Interface, location)
		}
		rule, err := nic.ParseRule(value)
		if err != nil {
			return fmt.Errorf("set %s: %w", s, err)
		}
		return nic.InsertRule(s.Interface, location, rule)
	}
	return fmt.Errorf("set %s: there is no kind %q", s, s.Kind)
}

// steering has one sender's packets come by several queues, and packets by queues that have a socket. Rules
// take locations that are free, so that what is to be restored of each is that it is not there.
func (p *planner) steering() {
	for _, flow := range p.card.Receives() {
		if _, better, found := p.card.Rehash(flow); found {
			p.want(Setting{Kind: Hash, Interface: p.card.Name, Name: flow.String()}, better.String(),
				"the sockets of one sender are spread over the queues, too")
		}
	}
	rules, locations, table := p.card.Steer()
	for i, rule := range rules {
		p.want(Setting{Kind: Rule, Interface: p.card.Name, Name: strconv.Itoa(locations[i])}, rule.String(),
			"what comes to a listener comes by the queue that is served")
	}
	if table != nil {
		p.want(Setting{Kind: Indirection, Interface: p.card.Name}, table.String(),
			"packets come by the queues that are served alone")
	}
}
