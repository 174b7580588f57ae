package rules

import (
	"slices"
	"strings"
	"time"
)

// recordField is a field of a record: its name, and the program of its value.
type recordField struct {
	nameBytes []byte
	code      []instruction
}

// record compiles a rule that derives points.
func (c *compiler) record(g *Group, in *Rule) {
	before := len(c.errs)
	r := rule{
		kind: KindRecord, group: g.Name.Source, name: in.Record.Source, nameBytes: []byte(in.Record.Source),
		past: true,
	}
	if in.Record.Source == "" {
		c.fail(&in.Record, 0, "", "record has no name")
	}
	c.sayable(&in.Record)
	c.on(&r, in)
	c.by(&r, in)
	c.onlyFor(in, "a record", &in.Expr, &in.For, &in.KeepFor, &in.Stale, &in.Absent, &in.Clear)
	c.duration(&r.every, &in.Every, "every")
	trees := c.fields(&r, in)
	if len(c.errs) > before {
		return
	}
	r.shape = c.set.shapeOf(shape{series: !in.HasBy, tags: textsOf(in.By), local: g.local()})
	r.cohort = c.set.cohortOf(r.group, r.on, r.shape)
	e := emitter{set: c.set, cohort: r.cohort, record: true}
	for i, tree := range trees {
		e.code = nil
		e.value(tree, 0)
		if e.over || len(e.code) > programMax {
			c.fail(&in.Fields[i].Value, 0, "split it", "expression is too long for one program")
			return
		}
		r.fields = append(r.fields, recordField{nameBytes: []byte(in.Fields[i].Name.Source), code: e.code})
		c.asks(r.cohort, tree)
	}
	r.identity = ruleIdentity(g, in)
	c.add(g, in, r)
	h := &c.set.cohorts[r.cohort]
	h.records = append(h.records, uint32(len(c.set.rules)-1))
}

// sayable refuses the name of a record or of a field that Line Protocol has no way to write: no server would
// ever get the points.
func (c *compiler) sayable(name *Text) {
	for i := range len(name.Source) {
		switch b, rest := name.Source[i], name.Source[i+1:]; {
		case b < ' ' || b == 0x7f:
			c.fail(name, i, "", "Line Protocol has no way to write a control character in a name")
			return
		case b == '\\' && (rest == "" || strings.IndexByte(", =", rest[0]) >= 0):
			c.fail(name, i, "", "Line Protocol has no way to write a backslash at the end of a name or "+
				"before a comma, a space or an equals sign")
			return
		}
	}
}

// onlyFor refuses keys that the kind of rule does not have.
func (c *compiler) onlyFor(in *Rule, what string, texts ...*Text) {
	for _, t := range texts {
		if t.isGiven() {
			c.fail(t, 0, "it is for alerts", "%s does not take this", what)
		}
	}
	for _, pairs := range [][]Pair{in.Labels, in.Annotations} {
		if len(pairs) > 0 {
			c.fail(&pairs[0].Name, 0, "labels and annotations are for alerts", "%s does not take this", what)
		}
	}
	if len(in.Actions) > 0 {
		c.fail(&in.Actions[0], 0, "actions are for alerts", "%s does not take this", what)
	}
}

// fields reads the expressions of a record and works out how often it is made.
func (c *compiler) fields(r *rule, in *Rule) (trees []*node) {
	if len(in.Fields) == 0 || len(in.Fields) > fieldsMax {
		c.fail(&in.Record, 0, "", "record %q has %d fields, want 1 to %d", r.name, len(in.Fields), fieldsMax)
		return nil
	}
	for i := range in.Fields {
		f := &in.Fields[i]
		if f.Name.Source == "" || f.Name.Source == partialName {
			c.fail(&f.Name, 0, "", "bad field name %q", f.Name.Source)
		}
		c.sayable(&f.Name)
		if slices.ContainsFunc(in.Fields[:i], func(p Pair) bool { return p.Name.Source == f.Name.Source }) {
			c.fail(&f.Name, 0, "", "field %q is given twice", f.Name.Source)
		}
		tree, err := parse(f.Value.Source)
		if err != nil {
			c.failSyntax(&f.Value, err)
			continue
		}
		check := checker{}
		tree = check.check(tree)
		if t := tree.valueType(); t == typeString {
			check.fail(tree.start, "", "a record holds numbers and bools, not %s", t)
		}
		check.ofRecord(tree)
		for _, err := range check.errs {
			c.failSyntax(&f.Value, err)
		}
		if len(check.errs) > 0 {
			continue
		}
		c.slides(r, in, tree, &f.Value)
		trees = append(trees, tree)
	}
	if r.every == 0 && !in.Every.isGiven() && len(trees) == len(in.Fields) {
		c.fail(&in.Record, 0, "add every: 10s, or slides to the windows",
			"record %q does not say how often", r.name)
	}
	return trees
}

// ofRecord refuses what a record cannot look at: it has no point at hand.
func (c *checker) ofRecord(n *node) {
	switch {
	case n.kind == nodeName || n.kind == nodeHas:
		c.fail(n.start, "such as avg(x[10s])", "a record looks at windows, not at one point")
	case n.kind == nodePast && !n.past.isOfWindow():
		c.fail(n.start, "such as avg(x[10s])", "a record looks at windows, %s is of single points", n.past)
	case n.kind != nodePast:
		for _, arg := range n.args {
			c.ofRecord(arg)
		}
	}
}

// slides gives all windows of a record its interval, and takes it from them where it is not written.
func (c *compiler) slides(r *rule, in *Rule, n *node, text *Text) {
	if n.kind != nodePast {
		for _, arg := range n.args {
			c.slides(r, in, arg, text)
		}
		return
	}
	if r.every == 0 && !in.Every.isGiven() {
		r.every = n.slide
	}
	switch {
	case r.every == 0:
		return // reported elsewhere
	case n.slide != 0 && n.slide != r.every:
		c.fail(text, n.start, "", "the window slides by %s, the record is made every %s",
			time.Duration(n.slide), time.Duration(r.every))
	case n.length%r.every != 0:
		c.fail(text, n.start, "", "the window of %s is no multiple of the record's %s",
			time.Duration(n.length), time.Duration(r.every))
	case n.length/r.every > panesMax:
		c.fail(text, n.start, "", "the window has %d slides, more than %d", n.length/r.every, panesMax)
	}
	n.slide = r.every
	r.length = max(r.length, n.length)
}

// filter compiles a rule that decides which points go on.
func (c *compiler) filter(g *Group, in *Rule) {
	before := len(c.errs)
	r := rule{kind: in.Kind, group: g.Name.Source, name: in.Kind.String(), expr: in.Expr.Source}
	c.on(&r, in)
	if len(in.By) > 0 {
		c.fail(&in.By[0], 0, "it looks at points one by one", "%s does not take this", in.Kind)
	}
	c.onlyFor(in, in.Kind.String(), &in.For, &in.KeepFor, &in.Stale, &in.Absent, &in.Clear, &in.Every)
	var tree *node
	if in.Expr.isGiven() {
		if tree = c.expression(&in.Expr, "expr"); tree != nil {
			if at := tree.find(nodePast); at != nil {
				c.fail(&in.Expr, at.start, "", "%s looks at points one by one, not at their past", in.Kind)
			}
		}
	}
	if len(c.errs) > before {
		return
	}
	if tree != nil {
		e, ok := emitter{set: c.set}, false
		if r.code, ok = e.program(tree); !ok {
			c.fail(&in.Expr, 0, "split the rule", "expression is too long for one program")
			return
		}
	}
	r.identity = ruleIdentity(g, in)
	c.add(g, in, r)
}

// passes tells whether the filters of a plan let the point at hand go on: the first that matches it decides.
func (e *Evaluator) passes(plan *plan) bool {
	for _, f := range plan.filters {
		r := &e.set.rules[f]
		if r.code != nil && !e.machine.run(r.code) {
			continue
		}
		if r.kind == KindDrop {
			e.stats[f].Filtered++
			return false
		}
		return true
	}
	return true
}
