package rules

import "culvert/dataplane/point"

// Meet is one rule that a point met.
type Meet struct {
	Rule  int  // its place in Set.Rules
	Holds bool // its condition is true, or it has none
	// Past tells that the condition looks at more than this point: then Holds says nothing.
	Past bool
}

// Meets appends the rules that a point meets, in their order. It is for a person who watches: it changes no
// key and counts nothing. It allocates, and belongs to an evaluator that evaluates nothing else.
func (e *Evaluator) Meets(p *point.Point, into []Meet) []Meet {
	at := e.planOf(p.Bytes(p.Measurement))
	if at < 0 {
		return into
	}
	m := &e.machine
	m.mark += markStep
	m.point, m.guess = p, e.guesses[at]
	for _, r := range e.plans[at].members {
		rule := &e.set.rules[r]
		meet := Meet{Rule: int(r), Past: rule.past || rule.times.absent > 0}
		meet.Holds = !meet.Past && (rule.code == nil || m.run(rule.code))
		into = append(into, meet)
	}
	return into
}
