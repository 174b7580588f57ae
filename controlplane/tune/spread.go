package tune

import (
	"fmt"
	"slices"
	"strconv"

	"culvert/controlplane/doctor"
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
	// With another number of queues drivers mostly make another table: it is looked at anew after that.
	recounted := slices.ContainsFunc(p.changes, func(c Change) bool { return c.Kind == Channels })
	if table == nil || recounted {
		return
	}
	why := "packets come by the queues that are served alone"
	if len(p.card.Astray()) == 0 {
		why = "packets come by all queues that are served"
	}
	p.want(Setting{Kind: Indirection, Interface: p.card.Name}, table.String(), why)
}

// Forgotten says that a card will forget what was set of its choice of queues as soon as a program is
// attached, since none is yet; "" where all of it is kept.
func Forgotten(card *doctor.Card, settings []Setting) string {
	set := slices.ContainsFunc(settings, func(s Setting) bool {
		return s.Kind == Hash || s.Kind == Indirection || s.Kind == Rule
	})
	if !set || card.Occupied || !doctor.ForgetsSpread(card.Driver) {
		return ""
	}
	return fmt.Sprintf("%s may forget hash, table and rules when a program is attached, and none is: "+
		"`culvert attach -i %s` first, or `culvert tune apply` again once the gateway runs", card.Driver,
		card.Name)
}
