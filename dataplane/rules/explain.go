package rules

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"culvert/dataplane/point"
)

// Explain writes how a Set works: for each rule its program, for each measurement which rules its points
// meet and how they are found, for each cohort what is remembered of a key and how much memory that takes.
func (s *Set) Explain(out io.Writer) {
	for i := range s.rules {
		s.explainRule(out, &s.rules[i])
	}
	for i := range s.cohorts {
		s.explainCohort(out, i)
	}
	for i := range s.measurements.cells {
		if c := &s.measurements.cells[i]; c.text != "" {
			s.explainPlan(out, fmt.Sprintf("measurement %q", c.text), &s.plans[c.to])
		}
	}
	for _, g := range s.globs {
		fmt.Fprintf(out, "measurements like %q\n  also meet %s\n", g.pattern, s.ruleTitle(g.rule))
	}
}

func (s *Set) ruleTitle(number uint32) string {
	r := &s.rules[number]
	if r.isFilter() {
		return fmt.Sprintf("%s in group %q", r.kind, r.group)
	}
	return fmt.Sprintf("%s %q", r.kind, r.name)
}

func (s *Set) stepTitles(steps []step) string {
	var numbers []uint32
	for i := range steps {
		numbers = append(numbers, steps[i].rule)
	}
	return s.ruleTitles(numbers)
}

func (s *Set) ruleTitles(numbers []uint32) string {
	var titles []string
	for _, n := range numbers {
		titles = append(titles, s.ruleTitle(n))
	}
	return strings.Join(titles, ", ")
}

func (s *Set) explainRule(out io.Writer, r *rule) {
	if r.isFilter() {
		fmt.Fprintf(out, "%s of group %q, on %s\n", r.kind, r.group, strings.Join(r.on, ", "))
	} else {
		fmt.Fprintf(out, "%s %q of group %q, on %s, by %s\n", r.kind, r.name, r.group,
			strings.Join(r.on, ", "), s.shapes[r.shape].String())
	}
	for _, t := range []struct {
		what     string
		duration int64
	}{{"for", r.times.hold}, {"keep firing for", r.times.keep}, {"every", r.every}} {
		if t.duration > 0 {
			fmt.Fprintf(out, "  %s %s\n", t.what, time.Duration(t.duration))
		}
	}
	if r.times.absent > 0 {
		fmt.Fprintf(out, "  when there is no point for %s\n", time.Duration(r.times.absent))
	}
	s.explainCode(out, "expr", r.code)
	s.explainCode(out, "clear", r.clear)
	for i := range r.fields {
		s.explainCode(out, "field "+string(r.fields[i].nameBytes), r.fields[i].code)
	}
}

// String says what makes up a key.
func (sh *shape) String() string {
	switch {
	case sh.series:
		return "all tags"
	case len(sh.tags) == 0:
		return "nothing"
	}
	return strings.Join(sh.tags, ", ")
}

func (s *Set) explainCohort(out io.Writer, number int) {
	c := &s.cohorts[number]
	fmt.Fprintf(out, "cohort %d of group %q, on %s, by %s: %d bytes a key\n", number, c.group,
		strings.Join(c.on, ", "), s.shapes[c.shape].String(), keyBytes+8*c.words)
	for i := range c.memos {
		m := &c.memos[i]
		fmt.Fprintf(out, "  memo %d: %s, %d bytes", i, m.text, 8*m.words)
		if m.kind == memoWindow {
			fmt.Fprintf(out, ": %d panes of %s", m.window.panes, time.Duration(m.window.slide))
		}
		fmt.Fprintln(out)
		s.explainCode(out, "argument", m.code)
		s.explainCode(out, "then", m.then)
	}
	s.explainPlan(out, "  its rules", &c.plan)
}

func (s *Set) explainPlan(out io.Writer, title string, p *plan) {
	fmt.Fprintln(out, title)
	line := func(what, text string) {
		if text != "" {
			fmt.Fprintf(out, "  %s: %s\n", what, text)
		}
	}
	line("filters", s.ruleTitles(p.filters))
	line("on every point", s.stepTitles(p.always))
	for i := range p.selects {
		sel := &p.selects[i]
		for j := range sel.values.cells {
			if c := &sel.values.cells[j]; c.text != "" {
				line(fmt.Sprintf("where %s == %q", s.slots[sel.slot], c.text), s.stepTitles(sel.rules[c.to]))
			}
		}
	}
	line("while firing, also elsewhere", s.ruleTitles(p.loose))
	for _, c := range p.cohorts {
		line("cohort", strconv.Itoa(int(c)))
	}
}

var codeNames = [...]string{
	codeResult: "result", codeJump: "jump", codeTestFloat: "test", codeTestInt: "test", codeTestText: "test",
	codeTestTextOrder: "test", codeTestTruth: "test", codeTestHas: "test has", codeTest: "test",
	codeTestNumber: "test",
	codeTestSame:   "test", codeTestRegister: "test", codeTestList: "test in", codeTestMatch: "test match",
	codeTestStart: "test starts_with", codeTestEnd: "test ends_with", codeTestContains: "test contains",
	codeSlot: "load", codeConstant: "load", codeCompute: "compute", codePast: "recall",
	codeShared: "shared", codeShare: "share",
}

func (s *Set) explainCode(out io.Writer, title string, code []instruction) {
	if code == nil {
		return
	}
	fmt.Fprintf(out, "  %s\n", title)
	for at := range code {
		fmt.Fprintf(out, "    %3d  %s\n", at, s.instructionText(&code[at]))
	}
}

// instructionText is an instruction in words: names for slots, r and a number for registers.
func (s *Set) instructionText(i *instruction) string {
	a, b, name := fmt.Sprintf("r%d", i.a), fmt.Sprintf("r%d", i.b), codeNames[i.code]
	slot := func() string { return s.slots[i.a].String() }
	number := func(kind point.Kind) string { return constant{kind: kind, number: i.imm}.String() }
	text := func() string {
		span := point.Span(i.imm)
		return strconv.Quote(string(s.texts[span.Offset():span.End()]))
	}
	jump := func(operands string) string {
		return fmt.Sprintf("%s %s: if %s go to %d", name, operands, relations(i.jumps), i.to)
	}
	switch i.code {
	case codeResult:
		return fmt.Sprintf("%s %t", name, i.a != 0)
	case codeJump:
		return fmt.Sprintf("%s to %d", name, i.to)
	case codeTestFloat:
		return jump(slot() + " with " + number(point.Float))
	case codeTestInt:
		return jump(slot() + " with " + number(point.Int))
	case codeTestNumber:
		return jump(a + " with " + number(point.Kind(i.b)))
	case codeTestText, codeTestTextOrder:
		return jump(slot() + " with " + text())
	case codeTestTruth, codeTestHas:
		return jump(slot())
	case codeTestRegister:
		return jump(a)
	case codeTestList:
		return jump(a + " with " + s.lists[i.imm].String())
	case codeTestMatch:
		if i.b != 0 {
			name = "test no match"
		}
		return jump(a + " with " + strconv.Quote(s.patterns[i.imm].expression.String()))
	case codeSlot:
		return fmt.Sprintf("%s r%d = %s", name, i.to, slot())
	case codeConstant:
		if point.Kind(i.a) == point.String {
			return fmt.Sprintf("%s r%d = %s", name, i.to, text())
		}
		return fmt.Sprintf("%s r%d = %s", name, i.to, number(point.Kind(i.a)))
	case codeCompute:
		if op := operation(i.imm); op >= opNegate && op != opMin && op != opMax && op != opPow {
			return fmt.Sprintf("%s r%d = %s(%s)", name, i.to, op, a)
		}
		return fmt.Sprintf("%s r%d = %s(%s, %s)", name, i.to, operation(i.imm), a, b)
	case codeShared:
		return fmt.Sprintf("shared r%d = value %d: if it is known go to %d", i.b, i.a, i.to)
	case codeShare:
		return fmt.Sprintf("share value %d = r%d", i.a, i.b)
	case codePast:
		f := pastFunction(i.b)
		if f == pastQuantile {
			return fmt.Sprintf("%s r%d = quantile(%g) of memo %d", name, i.to, math.Float64frombits(i.imm),
				i.a)
		}
		return fmt.Sprintf("%s r%d = %s of memo %d", name, i.to, f, i.a)
	}
	return jump(a + " with " + b)
}

// listShown bounds how many literals of a list are shown.
const listShown = 16

// String is the literals of a list, in the order in which they are looked for.
func (l *list) String() string {
	var literals []string
	for _, t := range l.texts {
		literals = append(literals, strconv.Quote(t))
	}
	for _, v := range l.numbers {
		literals = append(literals, constant{kind: v.kind, number: v.bits}.String())
	}
	for i, there := range l.bools {
		if there {
			literals = append(literals, strconv.FormatBool(i == 1))
		}
	}
	if more := len(literals) - listShown; more > 0 {
		literals = append(literals[:listShown], fmt.Sprintf("and %d more", more))
	}
	return "[" + strings.Join(literals, ", ") + "]"
}

// relations says for which outcomes a test jumps.
func relations(r relation) string {
	var names []string
	for i, n := range [...]string{"less", "equal", "greater", "none of these"} {
		if r>>i&1 == 1 {
			names = append(names, n)
		}
	}
	return strings.Join(names, " or ")
}
