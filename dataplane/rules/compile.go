package rules

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"culvert/dataplane/point"
)

const (
	// rulesMax bounds a Set: a rule is named by 32 bits, and its state takes memory in every evaluator.
	rulesMax = 100_000
	// capturesMax bounds the values that go with a state change: as many as anyone reads in one message.
	capturesMax = 24
	// shapesMax bounds the different `by` lists of a Set.
	shapesMax = 1<<16 - 1
)

// Compile checks and compiles groups of rules. It returns either a Set or every error that it found, in the
// order of the files.
func Compile(groups []Group) (*Set, []*Error) {
	c := newCompiler()
	c.countUses(groups)
	for g := range groups {
		c.group(&groups[g])
		for r := range groups[g].Rules {
			switch rule := &groups[g].Rules[r]; rule.Kind {
			case KindRecord:
				c.record(&groups[g], rule)
			case KindKeep, KindDrop:
				c.filter(&groups[g], rule)
			default:
				c.alert(&groups[g], rule)
			}
		}
	}
	if len(c.errs) == 0 {
		c.layCohorts(groups)
		c.limits(groups)
	}
	if len(c.errs) > 0 {
		SortErrors(c.errs)
		return nil, c.errs
	}
	c.plan()
	c.set.id = contentHash(groups)
	return c.set, nil
}

func newCompiler() compiler {
	return compiler{identities: map[uint64]bool{}, set: &Set{
		slotOf: map[name]uint16{}, textOf: map[string]point.Span{}, uses: map[string]int{},
		sharedOf: map[string]uint16{},
	}}
}

// compiler collects a Set and what is wrong with it.
type compiler struct {
	set    *Set
	textOf []*Text // the name of each rule, for what is found wrong later
	// identities are those of the rules so far.
	identities map[uint64]bool
	errs       []*Error
}

func (c *compiler) fail(text *Text, offset int, hint, format string, args ...any) {
	c.errs = append(c.errs, ErrorAt(text, offset, fmt.Sprintf(format, args...), hint))
}

func (c *compiler) failSyntax(text *Text, err *syntaxError) {
	c.fail(text, err.offset, err.hint, "%s", err.message)
}

// limits refuses what no instruction could name.
func (c *compiler) limits(groups []Group) {
	s := c.set
	if len(s.rules) > rulesMax || len(s.slots) > slotsMax || len(s.shapes) > shapesMax {
		c.fail(&groups[0].Name, 0, "",
			"%d rules with %d names and %d kinds of keys are more than %d, %d and %d",
			len(s.rules), len(s.slots), len(s.shapes), rulesMax, slotsMax, shapesMax)
	}
}

// groupTimes is what a group says about the lateness of its points.
type groupTimes struct {
	name     string
	lateness int64 // nanoseconds
}

// group reads what a group says for all of its rules.
func (c *compiler) group(g *Group) {
	times := groupTimes{name: g.Name.Source, lateness: latenessMinDefault}
	c.duration(&times.lateness, &g.LatenessMin, "lateness_min")
	if g.Affinity.isGiven() && !g.local() {
		c.fail(&g.Affinity, 0, `"sender" is the only one`, "unknown affinity %q", g.Affinity.Source)
	}
	c.set.groups = append(c.set.groups, times)
}

// local tells whether all points of a key come to one worker.
func (g *Group) local() bool { return g.Affinity.Source == "sender" }

// add makes a rule a member of the Set.
func (c *compiler) add(g *Group, in *Rule, r rule) {
	r.hash, r.local = ruleHash(g, in), g.local()
	if r.kind == KindAlert && c.identities[r.identity] {
		// Another rule of the group has this name and these labels. Their alerts are to be told apart all the
		// same: else the end of one would be taken for that of the other.
		r.identity = textHash(strconv.FormatUint(r.identity, 16), strconv.FormatUint(r.hash, 16))
	}
	c.identities[r.identity] = c.identities[r.identity] || r.kind == KindAlert
	c.textOf = append(c.textOf, in.name())
	c.set.rules = append(c.set.rules, r)
}

// name is the text that stands for a rule in messages.
func (in *Rule) name() *Text {
	switch in.Kind {
	case KindRecord:
		return &in.Record
	case KindAlert:
		return &in.Alert
	}
	if len(in.On) > 0 {
		return &in.On[0]
	}
	return &in.Expr
}

// alert compiles an alert.
func (c *compiler) alert(g *Group, in *Rule) {
	before := len(c.errs)
	r := rule{group: g.Name.Source, name: in.Alert.Source, expr: in.Expr.Source}
	if strings.TrimSpace(in.Alert.Source) == "" {
		c.fail(&in.Alert, 0, "", "alert has no name")
	}
	c.on(&r, in)
	c.by(&r, in)
	var tree, clear *node
	switch {
	case !in.Absent.isGiven():
		tree = c.expression(&in.Expr, "expr")
	case in.Expr.isGiven():
		c.fail(&in.Expr, 0, "write two rules", "an alert has a condition or is for absent points, not both")
	}
	if in.Clear.isGiven() {
		clear = c.expression(&in.Clear, "clear")
	}
	c.times(&r.times, in)
	sh := &shape{series: !in.HasBy, tags: textsOf(in.By)}
	r.labels = c.templates(in.Labels, sh)
	r.annotations = c.templates(in.Annotations, nil)
	for i := range in.Actions {
		action := &in.Actions[i]
		if action.Source == "" {
			c.fail(action, 0, "", "action has no name")
		}
		r.actions, r.actionTexts = append(r.actions, action.Source), append(r.actionTexts, *action)
	}
	if len(c.errs) > before {
		return
	}
	sh.local = g.local()
	r.shape = c.set.shapeOf(*sh)
	r.past = tree == nil || tree.find(nodePast) != nil || clear != nil && clear.find(nodePast) != nil
	e := emitter{set: c.set, scope: scopeOf(g, in)}
	if r.past {
		r.cohort = c.set.cohortOf(r.group, r.on, r.shape)
		e.cohort = r.cohort
	}
	if !c.programs(&e, &r, in, tree, clear) {
		return
	}
	if clear == nil && tree != nil {
		// A rule with a condition of its own for the end has to see the points that its begin excludes.
		r.choice = c.choice(tree)
	}
	c.capture(&r, tree, sh)
	c.capture(&r, clear, sh)
	r.identity = ruleIdentity(g, in)
	if tree != nil {
		r.subject = tree.firstField()
	}
	c.add(g, in, r)
	if r.past {
		c.join(&r, tree, clear)
	}
}

// firstField is the first field that a tree asks for.
func (n *node) firstField() string {
	if n.kind == nodeName && n.name.kind == nameField {
		return n.name.String()
	}
	for _, arg := range n.args {
		if found := arg.firstField(); found != "" {
			return found
		}
	}
	return ""
}

// programs emits the conditions of an alert.
func (c *compiler) programs(e *emitter, r *rule, in *Rule, tree, clear *node) bool {
	ok := true
	if tree != nil {
		if r.code, ok = e.program(tree); !ok {
			c.fail(&in.Expr, 0, "split the rule", "expression is too long for one program")
			return false
		}
	}
	if clear != nil {
		if r.clear, ok = e.program(clear); !ok {
			c.fail(&in.Clear, 0, "split the rule", "expression is too long for one program")
		}
	}
	return ok
}

// join makes the rule that was compiled last a member of its cohort.
func (c *compiler) join(r *rule, tree, clear *node) {
	h, number := &c.set.cohorts[r.cohort], uint32(len(c.set.rules)-1)
	h.alerts = append(h.alerts, number)
	if r.times.absent > 0 {
		h.absent = append(h.absent, number)
		slices.SortStableFunc(h.absent, func(a, b uint32) int {
			return cmp.Compare(c.set.rules[a].times.absent, c.set.rules[b].times.absent)
		})
		h.values = h.values || len(r.captures) > 0
	}
	c.asks(r.cohort, tree)
	c.asks(r.cohort, clear)
	for _, capture := range r.captures {
		c.asksSlot(r.cohort, capture.slot)
	}
}

func textsOf(texts []Text) []string {
	var out []string
	for i := range texts {
		out = append(out, texts[i].Source)
	}
	return out
}

// onMax bounds the measurements that a rule names one by one.
const onMax = 1000

// on checks the measurements of a rule.
func (c *compiler) on(r *rule, in *Rule) {
	if len(in.On) == 0 {
		c.fail(in.name(), 0, "write on: and the name of a measurement",
			"rule %q has no measurement", in.name().Source)
	}
	if len(in.On) > onMax {
		c.fail(&in.On[onMax], 0, `a pattern such as "plant_*" stands for many`,
			"more than %d measurements in one rule", onMax)
		return
	}
	for i := range in.On {
		on := &in.On[i]
		switch {
		case on.Source == "":
			c.fail(on, 0, "", "measurement has no name")
		case slices.Contains(r.on, on.Source):
			c.fail(on, 0, "", "measurement %q is named twice", on.Source)
		}
		r.on = append(r.on, on.Source)
	}
	r.many = len(r.on) > 1 || len(r.on) == 1 && isGlob(r.on[0])
}

func isGlob(on string) bool { return strings.ContainsAny(on, "*?") }

// by checks the tags of a rule's key.
func (c *compiler) by(_ *rule, in *Rule) {
	if len(in.By) > keyTagsMax {
		c.fail(&in.By[keyTagsMax], 0, "leave by out for the whole series", "more than %d tags in a key",
			keyTagsMax)
		return
	}
	for i := range in.By {
		by := &in.By[i]
		if by.Source == "" {
			c.fail(by, 0, "", "tag has no name")
		}
		for j := range i {
			if in.By[j].Source == by.Source {
				c.fail(by, 0, "", "tag %q is named twice", by.Source)
				break
			}
		}
		if rest, ok := strings.CutPrefix(by.Source, "tags."); ok {
			c.fail(by, 0, fmt.Sprintf("did you mean %q?", rest), "by takes the names of tags alone")
		}
	}
}

// expression reads and checks a condition, the value of a rule's key.
func (c *compiler) expression(text *Text, key string) *node {
	if strings.TrimSpace(text.Source) == "" {
		c.fail(text, 0, "", "%s is empty", key)
		return nil
	}
	tree, err := parse(text.Source)
	if err != nil {
		c.failSyntax(text, err)
		return nil
	}
	var check checker
	tree = check.condition(tree, key)
	for _, err := range check.errs {
		c.failSyntax(text, err)
	}
	return tree
}

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// templates checks labels, which name an alert and so may only hold what is of its key, or annotations, for
// which key is nil.
func (c *compiler) templates(pairs []Pair, key *shape) []labelTemplate {
	var out []labelTemplate
	for i := range pairs {
		p := &pairs[i]
		if !labelName.MatchString(p.Name.Source) {
			c.fail(&p.Name, 0, "letters, digits and _ are allowed, no digit first",
				"bad name %q", p.Name.Source)
		}
		if key != nil && p.Name.Source == "alertname" {
			c.fail(&p.Name, 0, "", "label alertname is set by the alert itself")
		}
		for j := range i {
			if pairs[j].Name.Source == p.Name.Source {
				c.fail(&p.Name, 0, "", "%q is given twice", p.Name.Source)
				break
			}
		}
		t, err := parseTemplate(p.Value.Source)
		if err != nil {
			c.failSyntax(&p.Value, err)
			continue
		}
		if key != nil {
			c.ofKey(t, &p.Value, key)
		}
		out = append(out, labelTemplate{name: p.Name.Source, text: t})
	}
	return out
}

// ofKey refuses labels that could change while the alert is firing: the receivers would take it for another.
func (c *compiler) ofKey(t template, text *Text, key *shape) {
	for _, n := range t.names() {
		switch {
		case n.kind == nameMeasurement:
		case n.kind == nameTag && (key.series || slices.Contains(key.tags, n.text)):
		case n.kind == nameField && slices.Contains(key.tags, n.text):
			c.fail(text, 0, "did you mean {{ tags."+n.text+" }}?",
				"label uses the field %q, which may change from point to point", n.text)
		case n.kind == nameTag:
			c.fail(text, 0, fmt.Sprintf("add %q to by, or use an annotation", n.text),
				"label uses the tag %q, which is not in by", n.text)
		default:
			c.fail(text, 0, "use an annotation",
				"label uses a value that changes from point to point")
		}
	}
}

// choice finds a condition on a tag without which the rule is false.
func (c *compiler) choice(n *node) choice {
	switch {
	case n.kind == nodeAnd:
		if found := c.choice(n.args[0]); len(found.values) > 0 {
			return found
		}
		return c.choice(n.args[1])
	case n.kind == nodeCompare && n.mask == equal:
		a, b := n.args[0], n.args[1]
		if a.kind == nodeConstant {
			a, b = b, a
		}
		if isTag(a) && b.kind == nodeConstant && b.value.kind == point.String && b.value.text != "" {
			return choice{slot: c.set.slot(a.name), values: []string{b.value.text}}
		}
	case n.kind == nodeIn && isTag(n.args[0]):
		ch := choice{slot: c.set.slot(n.args[0].name)}
		for _, literal := range n.list {
			if literal.text != "" && !slices.Contains(ch.values, literal.text) {
				ch.values = append(ch.values, literal.text)
			}
		}
		return ch
	}
	return choice{}
}

func isTag(n *node) bool { return n.kind == nodeName && n.name.kind == nameTag }

// capture lists what goes with a state change: first what annotations show, then what the condition asks.
func (c *compiler) capture(r *rule, tree *node, sh *shape) {
	add := func(n name) {
		known := n.kind == nameMeasurement || n.kind == nameTime ||
			n.kind == nameTag && (sh.series || slices.Contains(sh.tags, n.text))
		seen := slices.ContainsFunc(r.captures, func(c capture) bool { return c.name == n })
		if !known && !seen && len(r.captures) < capturesMax {
			r.captures = append(r.captures, capture{slot: c.set.slot(n), name: n})
		}
	}
	for _, a := range r.annotations {
		for _, n := range a.text.names() {
			add(n)
		}
	}
	var walk func(n *node)
	walk = func(n *node) {
		if n.kind == nodeName || n.kind == nodeHas {
			add(n.name)
		}
		for _, arg := range n.args {
			walk(arg)
		}
	}
	if tree != nil {
		walk(tree)
	}
}

// plan makes the plans of all measurements that rules name, and the tables that find names.
func (c *compiler) plan() {
	s := c.set
	byName := map[string][]uint32{}
	var order []string
	for i := range s.rules {
		for _, on := range s.rules[i].on {
			if isGlob(on) {
				s.globs = append(s.globs, glob{pattern: on, rule: uint32(i)})
			} else if _, ok := byName[on]; !ok {
				byName[on] = nil
				order = append(order, on)
			}
		}
	}
	numbers := make([]int32, len(order))
	for i, on := range order {
		var members []uint32
		for r := range s.rules {
			if s.rules[r].sees(on) {
				members = append(members, uint32(r))
			}
		}
		s.plans = append(s.plans, s.newPlan(members))
		numbers[i] = int32(i)
	}
	s.measurements = newTable(order, numbers)
	s.tagSlots, s.fieldSlots = c.slotTable(nameTag), c.slotTable(nameField)
	for _, n := range s.slots {
		s.spellings = append(s.spellings, newSlotName(n))
	}
	s.shared = len(s.sharedOf)
	s.slotOf, s.textOf, s.uses, s.sharedOf = nil, nil, nil, nil
}

// sees tells whether a rule is for a measurement.
func (r *rule) sees(measurement string) bool {
	for _, on := range r.on {
		if on == measurement || isGlob(on) && matchGlob(on, []byte(measurement)) {
			return true
		}
	}
	return false
}

func (c *compiler) slotTable(kind nameKind) table {
	var texts []string
	var numbers []int32
	for i, n := range c.set.slots {
		if n.kind == kind {
			texts, numbers = append(texts, n.text), append(numbers, int32(i))
		}
	}
	return newTable(texts, numbers)
}
