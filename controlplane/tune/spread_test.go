package tune

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"testing"

	"culvert/controlplane/config"
	"culvert/controlplane/doctor"
	"culvert/controlplane/nic"
)

// spreading is a host whose card, in memory, hashes, has a table and takes rules at 64 locations.
type spreading struct {
	h      *host
	card   doctor.Card
	hash   map[string]string
	table  string
	rules  map[int]string // by location
	refuse nic.Flow       // it takes no rule of this flow
}

func (s *spreading) Read(of Setting) (string, error) {
	switch of.Kind {
	case File:
		return Machine{Root: s.h.root}.Read(of)
	case Hash:
		return s.hash[of.Name], nil
	case Indirection:
		return s.table, nil
	case Rule:
		location, err := strconv.Atoi(of.Name)
		if rule, there := s.rules[location]; there {
			return rule, err
		}
		return nic.NoRule, err
	}
	return "", nic.ErrNotOffered
}

func (s *spreading) Write(of Setting, value string) error {
	switch of.Kind {
	case Hash:
		s.hash[of.Name] = value
	case Indirection:
		s.table = value
	case Rule:
		location, err := strconv.Atoi(of.Name)
		if _, there := s.rules[location]; err != nil || there == (value != nic.NoRule) {
			return fmt.Errorf("location %s: %w", of.Name, errors.ErrUnsupported)
		}
		delete(s.rules, location)
		if value == nic.NoRule {
			return nil
		}
		if rule, err := nic.ParseRule(value); err != nil || rule.Flow == s.refuse {
			return errors.ErrUnsupported
		}
		s.rules[location] = value
	default:
		return nic.ErrNotOffered
	}
	return nil
}

// look plans for the card as it is.
func (s *spreading) look() ([]Change, error) {
	card := s.card
	card.Spread = doctor.Spread{Hash: map[nic.Flow]nic.HashFields{},
		Rules: nic.RuleTable{Locations: 64, Rules: map[int]nic.Rule{}}}
	var err error
	for name, text := range s.hash {
		flow, wrong := nic.ParseFlow(name)
		fields, alsoWrong := nic.ParseHashFields(text)
		card.Spread.Hash[flow], err = fields, errors.Join(err, wrong, alsoWrong)
	}
	for location, text := range s.rules {
		// What cannot be read is a rule of another kind.
		card.Spread.Rules.Rules[location], _ = nic.ParseRule(text)
	}
	table, wrong := nic.ParseIndirection(s.table)
	if err = errors.Join(err, wrong); err != nil {
		return nil, err
	}
	card.Spread.Indirection = table
	workers := config.Default().Workers
	workers.HugePages = "off"
	return Plan(doctor.Host{Root: s.h.root, Mask: []int{0, 1, 2, 3}, Workers: workers,
		Cards: []doctor.Card{card}}, s)
}

func (s *spreading) session() *Session {
	return &Session{Knobs: s, Root: s.h.root, StateDir: s.h.state, Interface: "eth1", Look: s.look}
}

// state is all that can be set.
func (s *spreading) state() string {
	text := fmt.Sprintf("%s %s; %s", s.hash["udp4"], s.hash["udp6"], s.table)
	for _, location := range slices.Sorted(maps.Keys(s.rules)) {
		text += fmt.Sprintf("; %d %s", location, s.rules[location])
	}
	return text
}

func newSpreading(t *testing.T, served ...int) *spreading {
	s := &spreading{
		h: newHost(t, map[string]string{
			"sys/devices/system/cpu/online":         "0-3",
			"sys/devices/system/node/online":        "0",
			"sys/devices/system/node/has_memory":    "0",
			"sys/devices/system/node/node0/cpulist": "0-3", "sys/devices/system/node/node0/distance": "10",
			"proc/sys/net/core/bpf_jit_enable": "1",
		}),
		hash:  map[string]string{"udp4": "sd", "udp6": "sdfn"},
		table: "0 1 2 3 / 128",
		rules: map[int]string{63: "somebody's", 3: "udp4 dst-port 514 action 3"},
	}
	s.card = doctor.Card{Name: "eth1", Present: true, Queues: 4, Driver: "ice", Mode: "auto", Served: served,
		Flows:    nic.Flows(),
		Listens:  []doctor.Listen{{Flow: nic.UDP4, Port: 8089}, {Flow: nic.UDP6, Port: 8089}},
		Features: map[string]nic.Feature{"rx-ntuple-filter": {Active: true}}}
	return s
}

// Goal: what is planned by queues and by what the card has.
func TestPlanSpread(t *testing.T) {
	f := func(want string, change func(*spreading), served ...int) {
		t.Helper()
		s := newSpreading(t, served...)
		if change != nil {
			change(s)
		}
		changes, err := s.look()
		var got []string
		for _, c := range changes {
			got = append(got, fmt.Sprintf("%s: %s → %s", c.Setting, c.Now, c.Becomes))
			if c.Why == "" {
				t.Errorf("%s has no reason", c.Setting)
			}
		}
		if text := strings.Join(got, "; "); err != nil || text != want {
			t.Errorf("queues %v: the plan is\n%s\nwant\n%s\n%v", served, text, want, err)
		}
	}
	const hash = "eth1 hash udp4: sd → sdfn"
	const table = "eth1 indirection: 0 1 2 3 / 128 → "
	f(hash, nil)
	f(hash+"; "+table+"0 1 / 128", nil, 0, 1)
	f(hash+"; "+table+"1 3 / 128", nil, 1, 3)
	f("eth1 rule 62: none → udp4 dst-port 8089 action 2; "+
		"eth1 rule 61: none → udp6 dst-port 8089 action 2", nil, 2)
	// One that is there already is not made again.
	f("eth1 rule 62: none → udp6 dst-port 8089 action 2", func(s *spreading) {
		s.rules[5] = "udp4 dst-port 8089 action 2"
	}, 2)
	f("", func(s *spreading) {
		s.rules[5], s.rules[6] = "udp4 dst-port 8089 action 2", "udp6 dst-port 8089 action 2"
	}, 2)
	// Without rules, or without room for all of them, the table has to do.
	f(table+"2 / 128", func(s *spreading) { s.card.Features = nil }, 2)
	f(table+"2 / 128", func(s *spreading) {
		for location := range 63 {
			s.rules[location] = "full"
		}
	}, 2)
	// All is well, or others decide.
	f("", func(s *spreading) { s.table = "2 / 128" }, 2)
	f(hash, func(s *spreading) { s.table = "0*64 1*64 / 128" }, 0, 1)
	f(hash, func(s *spreading) { s.card.Mode = "socket" }, 0, 1)
	f(hash, nil, 0, 4)
	// A card that hashes by nothing does not hash, and one table entry needs no hash.
	f("", func(s *spreading) { s.hash["udp4"] = "none" })
	f("eth1 indirection: 0 / 128 → 0 1 2 3 / 128", func(s *spreading) { s.table = "0 / 128" })
	f("", func(s *spreading) { s.table, s.card.Queues = "0 / 128", 1 })
	f("", func(s *spreading) { s.card.Listens = s.card.Listens[1:] })
}

// Goal: rules are put in, found there by a second apply, and revert takes away these and no other.
func TestApplyAndRevertRules(t *testing.T) {
	s := newSpreading(t, 2)
	before := s.state()
	s.h.apply(s.session(), 2)
	if s.rules[62] != "udp4 dst-port 8089 action 2" || s.rules[61] != "udp6 dst-port 8089 action 2" ||
		len(s.rules) != 4 {
		t.Fatalf("after apply: %s", s.state())
	}
	s.h.apply(s.session(), 0)
	s.rules[60] = "one that came later"
	s.h.revert(s.session(), "")
	if s.rules[60] != "one that came later" {
		t.Errorf("another's rule is gone: %s", s.state())
	}
	delete(s.rules, 60)
	if got := s.state(); got != before {
		t.Fatalf("after revert: %s\nbefore: %s", got, before)
	}
	if s.h.journal() != "" {
		t.Errorf("the journal is not gone: %s", s.h.journal())
	}
}

// Goal: another's rule at a location where ours was is kept and named, also where a crash came between.
func TestRevertKeepsOthersRules(t *testing.T) {
	for _, crashed := range []bool{false, true} {
		s := newSpreading(t, 2)
		session := s.session()
		if crashed {
			session.Knobs = &crash{Knobs: s, writes: 0}
			dies(t, session.Apply)
		} else {
			s.h.apply(session, 2)
		}
		s.rules[62] = "udp4 dst-port 53 action 1"
		s.h.revert(s.session(), `eth1 rule 62: it is "udp4 dst-port 53 action 1", and was set to `+
			`"udp4 dst-port 8089 action 2": `+ErrChangedSince.Error())
		if s.rules[62] != "udp4 dst-port 53 action 1" || len(s.rules) != 3 || s.h.journal() != "" {
			t.Errorf("crashed %t: after revert: %s, journal %q", crashed, s.state(), s.h.journal())
		}
	}
}

// Goal: after a crash at any write of apply or of revert, before it or after it, revert restores everything.
func TestRevertSpreadAfterCrash(t *testing.T) {
	for _, served := range [][]int{{2}, {0, 1}} {
		for _, after := range []bool{false, true} {
			for n := range 2 {
				for _, undoing := range []bool{false, true} {
					s := newSpreading(t, served...)
					before := s.state()
					if undoing {
						s.h.apply(s.session(), 2)
					}
					broken := s.session()
					broken.Knobs = &crash{Knobs: s, writes: n, after: after}
					if undoing {
						dies(t, broken.Revert)
					} else {
						dies(t, broken.Apply)
					}
					s.h.revert(s.session(), "")
					if got := s.state(); got != before || s.h.journal() != "" {
						t.Fatalf("queues %v, write %d, after it: %t, undoing: %t:\n%s, want\n%s\njournal %q",
							served, n, after, undoing, got, before, s.h.journal())
					}
				}
			}
		}
	}
}

// Goal: a card that takes rules of one flow only is told of as such, once; what it took is reverted.
func TestApplyReportsRefusedRule(t *testing.T) {
	for _, flow := range nic.Flows() {
		s := newSpreading(t, 2)
		s.refuse = flow
		before := s.state()
		outcomes, err := s.session().Apply()
		said := problems(outcomes)
		if err != nil || len(outcomes) != 2 || len(s.rules) != 3 ||
			strings.Count(said, errors.ErrUnsupported.Error()) != 1 {
			t.Fatalf("%s refused: %d outcomes, %q, %v: %s", flow, len(outcomes), said, err, s.state())
		}
		s.h.revert(s.session(), "")
		if got := s.state(); got != before || s.h.journal() != "" {
			t.Errorf("%s refused: after revert %s, journal %q", flow, got, s.h.journal())
		}
	}
}

// Goal: where more queues are served than an earlier apply set the table for, apply widens it, and revert
// still restores what was before both.
func TestApplyWidens(t *testing.T) {
	s := newSpreading(t, 0, 1)
	s.table = "3 2 1 0 / 128"
	before := s.state()
	s.h.apply(s.session(), 2) // the hash, and the table
	if s.table != "0 1 / 128" {
		t.Fatalf("after apply: %s", s.state())
	}
	s.card.Served = nil
	s.h.apply(s.session(), 1)
	if s.table != "0 1 2 3 / 128" {
		t.Fatalf("after the second apply: %s", s.state())
	}
	s.h.apply(s.session(), 0)
	s.h.revert(s.session(), "")
	if got := s.state(); got != before {
		t.Fatalf("after revert: %s\nbefore: %s", got, before)
	}
}

// Goal: whoever sets what a card forgets is told so, unless a program is on it already.
func TestForgotten(t *testing.T) {
	f := func(driver string, occupied bool, kind Kind, want string) {
		t.Helper()
		card := doctor.Card{Name: "eth1", Driver: driver, Occupied: occupied}
		got := Forgotten(&card, []Setting{{Kind: File}, {Kind: kind}})
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s, occupied %t, %s: %q, want %q", driver, occupied, kind, got, want)
		}
	}
	f("virtio_net", false, Indirection, "`culvert attach -i eth1` first")
	f("virtio_net", false, Hash, "virtio_net may forget")
	f("virtio_net", false, Rule, "virtio_net may forget")
	f("virtio_net", false, Offload, "")
	f("virtio_net", true, Indirection, "")
	f("ice", false, Indirection, "")
}
