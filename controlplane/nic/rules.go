package nic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// struct ethtool_rx_flow_spec of linux/ethtool.h on 64 bits: the offsets of flow_type, h_u, m_u, ring_cookie
// and location from where it begins.
const (
	specFlow     = 0
	specFields   = 4
	specMasks    = 76
	specQueue    = 152
	specLocation = 160

	specFieldsBytes = 52 // of union ethtool_flow_union
)

const (
	portPlace4 = 10 // offsetof(struct ethtool_tcpip4_spec, pdst)
	portPlace6 = 34 // offsetof(struct ethtool_tcpip6_spec, pdst)

	wholePort = 0xffff // masks have a bit for each that must be equal

	// locationSpecial is RX_CLS_LOC_SPECIAL: the driver takes words such as "any" for a location.
	locationSpecial = 1 << 31
)

// rulesMax bounds how many rules of a card are looked at.
const rulesMax = 1 << 14

// Rule sends what comes to a UDP port to one queue. One without a flow stands for a rule of any other kind.
type Rule struct {
	Flow  Flow
	Port  uint16
	Queue int
}

// NoRule is how a location without a rule is written.
const NoRule = "none"

// String is as `ethtool -N` takes it.
func (r Rule) String() string {
	if r.Flow == 0 {
		return "a rule of another kind"
	}
	return fmt.Sprintf("%s dst-port %d action %d", r.Flow, r.Port, r.Queue)
}

// ParseRule reads what String writes of a rule for a port.
func ParseRule(text string) (Rule, error) {
	var r Rule
	var word string
	_, err := fmt.Sscanf(text, "%s dst-port %d action %d", &word, &r.Port, &r.Queue)
	if err == nil {
		r.Flow, err = ParseFlow(word)
	}
	if err == nil && r.String() != text {
		err = errors.New("something is left over")
	}
	if err != nil {
		return Rule{}, fmt.Errorf("read the rule %q: %w", text, err)
	}
	return r, nil
}

// RuleTable are a card's rules (ntuple filters). A packet meets them by their locations, lowest first.
type RuleTable struct {
	// Locations is how many there are; 0 where the driver does not tell.
	Locations int
	// Elsewhere tells that the driver chooses a rule's location itself.
	Elsewhere bool
	Rules     map[int]Rule // by location
}

// Holds tells whether a rule is among them.
func (t *RuleTable) Holds(r Rule) bool {
	for _, there := range t.Rules {
		if there == r {
			return true
		}
	}
	return false
}

// Free are so many locations without a rule, the last first: there a new rule comes after all that are there
// already. It is nil where there are not as many, or where nobody may choose.
func (t *RuleTable) Free(n int) []int {
	if t.Elsewhere {
		return nil
	}
	var free []int
	for location := t.Locations - 1; location >= 0 && len(free) < n; location-- {
		if _, taken := t.Rules[location]; !taken {
			free = append(free, location)
		}
	}
	if len(free) < n {
		return nil
	}
	return free
}

// At is the rule at a location as it is written, "none" without one.
func (t *RuleTable) At(location int) string {
	if r, there := t.Rules[location]; there {
		return r.String()
	}
	return NoRule
}

// AskRules reads a card's rules. The error is ErrNotOffered where its driver has none.
func AskRules(iface string) (RuleTable, error) {
	table, err := askRules(at(iface))
	if err != nil {
		return RuleTable{}, fmt.Errorf("ask for the rules of %q: %w", iface, err)
	}
	return table, nil
}

func askRules(k kernel) (RuleTable, error) {
	counted := requestOf(commandRuleCount, classifyBytes)
	if err := k(counted); err != nil {
		return RuleTable{}, err
	}
	count, size := get32(counted, classifyCount), binary.NativeEndian.Uint64(counted[classifyNumber:])
	if count > rulesMax {
		return RuleTable{}, fmt.Errorf("it has %d, and no more than %d are looked at", count, rulesMax)
	}
	listed := requestOf(commandRules, classifyBytes+4*int(count))
	put32(listed, classifyCount, count)
	if err := k(listed); err != nil {
		return RuleTable{}, err
	}
	table := RuleTable{Elsewhere: size&locationSpecial != 0, Rules: map[int]Rule{}}
	if size &^= locationSpecial; size == 0 {
		// Some drivers tell it with the list only.
		size = binary.NativeEndian.Uint64(listed[classifyNumber:]) &^ locationSpecial
	}
	table.Locations = int(min(size, 1<<31-1))
	for i := range int(min(count, get32(listed, classifyCount))) {
		location := get32(listed, classifyLocations+4*i)
		one := requestOf(commandRule, classifyBytes)
		put32(one, classifySpec+specLocation, location)
		if err := k(one); err != nil {
			return RuleTable{}, fmt.Errorf("read the rule at location %d: %w", location, err)
		}
		table.Rules[int(location)] = ruleOf(one[classifySpec:])
	}
	return table, nil
}

// ruleOf reads a rule as the kernel writes it. One that asks for more than a port is of another kind.
func ruleOf(spec []byte) Rule {
	flow := Flow(get32(spec, specFlow))
	place, known := portPlace(flow)
	queue := binary.NativeEndian.Uint64(spec[specQueue:])
	if !known || queue > 1<<31 {
		return Rule{}
	}
	masks := slices.Clone(spec[specMasks : specMasks+specFieldsBytes])
	if binary.BigEndian.Uint16(masks[place:]) != wholePort {
		return Rule{}
	}
	masks[place], masks[place+1] = 0, 0
	if slices.ContainsFunc(masks, func(mask byte) bool { return mask != 0 }) {
		return Rule{}
	}
	port := binary.BigEndian.Uint16(spec[specFields+place:])
	return Rule{Flow: flow, Port: port, Queue: int(queue)}
}

// portPlace is where the port that a packet goes to stands among a flow's fields.
func portPlace(flow Flow) (place int, known bool) {
	switch flow {
	case UDP4:
		return portPlace4, true
	case UDP6:
		return portPlace6, true
	}
	return 0, false
}

// InsertRule puts a rule at a location that is free: drivers replace one that is there without a word.
func InsertRule(iface string, location int, r Rule) error {
	if err := insertRule(at(iface), location, r); err != nil {
		return fmt.Errorf("insert a rule into %q at location %d: %w", iface, location, err)
	}
	return nil
}

func insertRule(k kernel, location int, r Rule) error {
	table, err := askRules(k)
	if err != nil {
		return err
	}
	if there := table.At(location); there != NoRule {
		return fmt.Errorf("%s is there", there)
	}
	request, err := ruleRequest(location, r)
	if err != nil {
		return err
	}
	return k(request)
}

func ruleRequest(location int, r Rule) ([]byte, error) {
	place, known := portPlace(r.Flow)
	if !known || r.Queue < 0 {
		return nil, fmt.Errorf("%s cannot be told to a card", r)
	}
	request := requestOf(commandRuleInsert, classifyBytes)
	spec := request[classifySpec:]
	put32(spec, specFlow, uint32(r.Flow))
	binary.BigEndian.PutUint16(spec[specFields+place:], r.Port)
	binary.BigEndian.PutUint16(spec[specMasks+place:], wholePort)
	binary.NativeEndian.PutUint64(spec[specQueue:], uint64(r.Queue))
	put32(spec, specLocation, uint32(location))
	return request, nil
}

// DeleteRule takes the rule at a location away.
func DeleteRule(iface string, location int) error {
	if err := deleteRule(at(iface), location); err != nil {
		return fmt.Errorf("delete the rule of %q at location %d: %w", iface, location, err)
	}
	return nil
}

func deleteRule(k kernel, location int) error {
	request := requestOf(commandRuleDelete, classifyBytes)
	put32(request, classifySpec+specLocation, uint32(location))
	return k(request)
}
