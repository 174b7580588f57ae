package rules

import (
	"slices"
	"strconv"

	"culvert/dataplane/point"
)

// Set is compiled rules. It is immutable: all workers share one, and a reload makes another.
type Set struct {
	id    uint64 // of the rules' whole text: evaluators of different Sets ignore each other
	rules []rule

	slots      []name
	spellings  []slotName      // by slot
	slotOf     map[name]uint16 // written while compiling only
	tagSlots   table
	fieldSlots table

	texts    []byte                // the strings of all programs
	textOf   map[string]point.Span // written while compiling only
	uses     map[string]int        // written while compiling only: how often costly nodes are written
	sharedOf map[string]uint16     // likewise: the numbers of those that are shared
	shared   int
	lists    []list
	patterns []pattern

	shapes       []shape
	cohorts      []cohort
	plans        []plan // of the measurements that rules name
	measurements table
	globs        []glob
	groups       []groupTimes
}

// rule is one compiled alert.
type rule struct {
	kind        Kind
	group, name string
	nameBytes   []byte // of a record
	fields      []recordField
	every       int64  // how often a record is made, nanoseconds
	length      int64  // of a record's longest window
	hash        uint64 // of all that the rule and its group say: unchanged rules keep their state
	local       bool   // its keys are this worker's
	on          []string
	expr        string
	subject     string // the first field that expr asks for
	code        []instruction
	past        bool // a member of a cohort
	cohort      uint16
	clear       []instruction // of the condition that ends the alert; nil: its begin's opposite
	times       times
	shape       uint16
	choice      choice
	captures    []capture
	labels      []labelTemplate
	annotations []labelTemplate
	actions     []string
	actionTexts []Text
	identity    uint64 // of what tells this rule from others, the same in every run
	many        bool   // the rule sees more than one measurement, so alerts name it
}

// capture is a name whose value goes with a state change.
type capture struct {
	slot uint16
	name name
}

type labelTemplate struct {
	name string
	text template
}

// shape is what makes up a key: the measurement and the values of these tags, or all tags. Rules of one shape
// share the key of a point.
type shape struct {
	// identity tells it from other shapes, the same in every Set: a key has one hash, and so one owner,
	// before and after a reload.
	identity uint64
	series   bool
	local    bool // every worker owns the keys of its own points
	tags     []string
	tagBytes [][]byte
	slots    []uint16
}

// choice is a top-level condition on a tag, such as tags.machine == "m7": without it the rule is false.
type choice struct {
	slot   uint16
	values []string // empty: the rule has none
}

// glob is a rule for measurements that match a pattern.
type glob struct {
	pattern string
	rule    uint32
}

// plan is what to do with the points of one measurement.
type plan struct {
	members []uint32 // all its rules, in order
	filters []uint32
	cohorts []uint16 // of those that look at the past
	always  []step   // rules to run on every point
	shapes  []uint16 // of the keys of those without a past
	selects []selection
	// loose are chosen by a tag that their keys lack: a point that is not chosen may belong to a key that is
	// firing and makes the condition false.
	loose       []uint32
	looseShapes []uint16
}

// selection finds rules by the value of one tag.
type selection struct {
	place  textPlace // of the tag's name
	slot   uint16
	values table
	rules  [][]step
}

// step is one rule of a plan, with what most points need of it.
type step struct {
	code []instruction
	rule uint32
	// quiet tells that a result of no changes nothing where the rule has no record.
	quiet bool
	// glances are of quiet rules alone, and glance is the first of them, or one that says nothing. If
	// complete, the rule asks for no more than they.
	glance   glance
	glances  []glance
	complete bool
}

// RuleSummary says what a rule is.
type RuleSummary struct {
	Kind        Kind
	Group, Name string
	On          []string
	Expr        string
	By          []string // nil: every series for itself
	// KeyBytes is the memory for each key that is remembered, beside its text; 0 for rules without a past.
	KeyBytes int
	// Steps is the length of the rule's programs, in instructions: what a point that meets it costs at most,
	// beside the memos that its cohort shares.
	Steps   int
	Actions []string
	// Labels are the names of the labels that its alerts have beside those of the key.
	Labels []string
}

// Rules lists the rules in the order in which RuleStats count them.
func (s *Set) Rules() []RuleSummary {
	out := make([]RuleSummary, len(s.rules))
	for i := range s.rules {
		r := &s.rules[i]
		out[i] = RuleSummary{
			Kind:  r.kind,
			Group: r.group, Name: r.name, On: slices.Clone(r.on), Expr: r.expr,
			Steps:   len(r.code) + len(r.clear),
			Actions: slices.Clone(r.actions),
		}
		for j := range r.labels {
			out[i].Labels = append(out[i].Labels, r.labels[j].name)
		}
		for j := range r.fields {
			out[i].Steps += len(r.fields[j].code)
		}
		if r.past {
			out[i].KeyBytes = keyBytes + 8*s.cohorts[r.cohort].words
		}
		if r.isFilter() {
			continue // it has no key
		}
		if shape := &s.shapes[r.shape]; !shape.series {
			out[i].By = append([]string{}, shape.tags...)
		}
	}
	return out
}

func (r *rule) isFilter() bool { return r.kind == KindKeep || r.kind == KindDrop }

// Len is how many rules there are.
func (s *Set) Len() int { return len(s.rules) }

// Groups are the names of the groups, in their order.
func (s *Set) Groups() []string {
	names := make([]string, len(s.groups))
	for i := range s.groups {
		names[i] = s.groups[i].name
	}
	return names
}

// Names are the names of the alerts, in the order of Rules.
func (s *Set) Names() []string {
	names := make([]string, len(s.rules))
	for i := range s.rules {
		names[i] = s.rules[i].name
	}
	return names
}

// ID is a hash of all that the rules say. Handover and Transition carry it.
func (s *Set) ID() uint64 { return s.id }

// CheckActions returns an error for every action that is not among the known notifiers.
func (s *Set) CheckActions(known []string) []*Error {
	var errs []*Error
	for i := range s.rules {
		for j, action := range s.rules[i].actions {
			if !slices.Contains(known, action) {
				errs = append(errs, ErrorAt(&s.rules[i].actionTexts[j], 0,
					"unknown notifier \""+action+"\"", DidYouMean(action, known)))
			}
		}
	}
	SortErrors(errs)
	return errs
}

// slot is the number of a name's slot, given at its first use.
func (s *Set) slot(n name) uint16 {
	if i, ok := s.slotOf[n]; ok {
		return i
	}
	i := uint16(min(len(s.slots), slotsMax))
	s.slots = append(s.slots, n)
	s.slotOf[n] = i
	return i
}

// text is the span of a string of the Set.
func (s *Set) text(t string) point.Span {
	if span, ok := s.textOf[t]; ok {
		return span
	}
	span := point.MakeSpan(constantArena, len(s.texts), len(t))
	s.texts = append(s.texts, t...)
	s.textOf[t] = span
	return span
}

// shapeOf is the number of a key's shape, given at its first use.
func (s *Set) shapeOf(sh shape) uint16 {
	for i := range s.shapes {
		other := &s.shapes[i]
		if other.series == sh.series && other.local == sh.local && slices.Equal(other.tags, sh.tags) {
			return uint16(i)
		}
	}
	for _, tag := range sh.tags {
		sh.tagBytes = append(sh.tagBytes, []byte(tag))
		sh.slots = append(sh.slots, s.slot(name{kind: nameTag, text: tag}))
	}
	sh.identity = textHash(append([]string{strconv.FormatBool(sh.series), strconv.FormatBool(sh.local)},
		sh.tags...)...)
	s.shapes = append(s.shapes, sh)
	return uint16(len(s.shapes) - 1)
}

// newPlan makes the plan of these rules.
func (s *Set) newPlan(members []uint32) plan {
	p := plan{members: members}
	var alone []uint32
	for _, m := range members {
		switch r := &s.rules[m]; {
		case r.isFilter():
			p.filters = append(p.filters, m)
		case !r.past:
			alone = append(alone, m)
		case !slices.Contains(p.cohorts, r.cohort):
			p.cohorts = append(p.cohorts, r.cohort)
		}
	}
	s.dispatch(&p, alone)
	return p
}

// dispatch sorts rules into those to run on every point and those to be found by a tag.
func (s *Set) dispatch(p *plan, members []uint32) {
	chosen := map[uint16]map[string][]step{}
	var order []uint16
	for _, m := range members {
		r := &s.rules[m]
		next := step{code: r.code, rule: m, quiet: !r.past && r.clear == nil}
		if next.quiet {
			next.glances, next.complete = s.newGlances(r.code, r.choice)
			if len(next.glances) > 0 {
				next.glance = next.glances[0]
			}
		}
		if len(r.choice.values) == 0 {
			p.always = append(p.always, next)
			if !r.past && !slices.Contains(p.shapes, r.shape) {
				p.shapes = append(p.shapes, r.shape)
			}
			continue
		}
		byValue := chosen[r.choice.slot]
		if byValue == nil {
			byValue = map[string][]step{}
			chosen[r.choice.slot] = byValue
			order = append(order, r.choice.slot)
		}
		for _, v := range r.choice.values {
			byValue[v] = append(byValue[v], next)
		}
		sh := &s.shapes[r.shape]
		if !sh.series && !slices.Contains(sh.slots, r.choice.slot) {
			p.loose = append(p.loose, m)
			if !slices.Contains(p.looseShapes, r.shape) {
				p.looseShapes = append(p.looseShapes, r.shape)
			}
		}
	}
	for _, slot := range order {
		sel := selection{slot: slot, place: newTextPlace([]byte(s.slots[slot].text))}
		var texts []string
		var numbers []int32
		for v, rules := range chosen[slot] {
			texts, numbers = append(texts, v), append(numbers, int32(len(sel.rules)))
			sel.rules = append(sel.rules, rules)
		}
		sel.values = newTable(texts, numbers)
		p.selects = append(p.selects, sel)
	}
}

// matchGlob tells whether a measurement matches a pattern, in which * stands for any characters and ? for one
// byte. It never looks at a byte of the pattern's last * twice over, so its cost is at most the product of
// the lengths.
func matchGlob(pattern string, text []byte) bool {
	p, t, star, back := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, back = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			back++
			p, t = star+1, back
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}
