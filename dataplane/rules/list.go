package rules

import (
	"culvert/dataplane/point"
)

// StatePending is the state of an alert whose condition holds, but not yet for long enough.
const StatePending = "pending"

// Alerts lists the alerts of the keys that this evaluator owns and that are pending or firing, in no
// order. It is for questions, not for every turn: it looks at all records and allocates.
func (e *Evaluator) Alerts() []Alert {
	var all []Alert
	for i := range e.records.cut {
		rec := e.records.at(i)
		if !rec.used || !rec.owned || rec.phase == phaseOK {
			continue
		}
		t := Transition{
			Set: e.set.id, Rule: rec.rule, Firing: true, Time: rec.changed, Since: rec.since,
			Arrival: rec.changeArrival, keyBytes: rec.keyBytes, valuesBytes: rec.valuesBytes,
		}
		if rec.phase == phasePending {
			t.Time, t.Since = rec.begun, rec.begun
		}
		if rec.text != 0 {
			copy(t.text[:], e.texts.bytes(rec.text)[:rec.keyBytes+rec.valuesBytes])
		}
		a := e.set.Render(&t)
		if rec.phase == phasePending {
			a.State = StatePending
		}
		all = append(all, a)
	}
	return all
}

// Subject is the first field that the condition of an alert asks for, by the name it has in Alert.Values;
// empty if there is none.
func (s *Set) Subject(alert string) string {
	for i := range s.rules {
		if r := &s.rules[i]; r.kind == KindAlert && r.name == alert {
			return r.subject
		}
	}
	return ""
}

// Evaluate is what an expression comes to on one point: float64, int64, uint64, bool, string or, where
// something is missing, nil. A condition that does not hold is false.
func Evaluate(expr *Text, p *point.Point) (any, []*Error) {
	c := newCompiler()
	tree, syntax := parse(expr.Source)
	if syntax != nil {
		c.failSyntax(expr, syntax)
		return nil, c.errs
	}
	var check checker
	tree = check.check(tree)
	if at := tree.find(nodePast); at != nil && len(check.errs) == 0 {
		check.fail(at.start, "replay points instead", "%s looks at the past, and one point has none", at.past)
	}
	for _, err := range check.errs {
		c.failSyntax(expr, err)
	}
	e := emitter{set: c.set}
	if len(c.errs) == 0 {
		if e.value(tree, 0); e.over || len(e.code) > programMax {
			c.fail(expr, 0, "", "expression is too long for one program")
		}
	}
	if len(c.errs) > 0 {
		return nil, c.errs
	}
	c.plan()
	m := machine{set: c.set, slots: make([]slot, len(c.set.slots)), shared: make([]slot, c.set.shared),
		mark: markStep, point: p}
	m.guess = make([]uint8, len(c.set.slots))
	for i := range m.guess {
		m.guess[i] = noGuess
	}
	v := m.argument(e.code)
	switch v.kind {
	case point.Missing:
		return nil, nil
	case point.String:
		return string(m.text(v.bits)), nil
	}
	return numberOf(v.kind, v.bits), nil
}

// Made is a derived point in words, for tests of rules and replays.
type Made struct {
	Record  string
	Time    int64
	Tags    map[string]string
	Fields  map[string]any
	Partial bool
}

// Describe says in words what a derived point holds.
func (e *Evaluator) Describe(d *Derived) Made {
	var p point.Point
	e.Fill(d, &p)
	m := Made{
		Record: string(p.Bytes(p.Measurement)), Time: p.Time, Partial: d.Partial, Tags: map[string]string{},
		Fields: map[string]any{},
	}
	for _, tag := range p.Tags {
		m.Tags[string(p.Bytes(tag.Name))] = string(p.Bytes(tag.Value))
	}
	for i := range p.Fields {
		f := &p.Fields[i]
		m.Fields[string(p.Bytes(f.Name))] = numberOf(f.Kind, p.Number(f))
	}
	return m
}
