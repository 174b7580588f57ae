package rules

// succession is what a Set has of an older one. It is worked out before an evaluator takes over, on another
// thread: all workers stand still meanwhile, and with thousands of rules it takes some milliseconds.
type succession struct {
	from *Set // the older one

	// By the older Set's rules.
	stays   []bool  // the new one has it as it is
	numbers []int32 // its number there, −1 for none; of rules that are alike, the first is the first
	same    bool    // whether all that have a number have the same as before

	// By the older Set's cohorts.
	cohorts []int  // the number of the one of the same group, measurements and keys, −1 for none
	moves   []bool // whether its keys are laid out as they were
	// groups are the numbers of the older groups of the same names, −1 for none, by the new Set's groups.
	groups []int
}

// newSuccession compares two Sets.
func newSuccession(set, old *Set) *succession {
	s := &succession{
		from: old, stays: make([]bool, len(old.rules)), numbers: set.numbersOf(old), same: true,
		cohorts: make([]int, len(old.cohorts)), moves: make([]bool, len(old.cohorts)),
		groups: make([]int, len(set.groups)),
	}
	kept := make(map[uint64]bool, len(set.rules))
	for i := range set.rules {
		kept[set.rules[i].hash] = true
	}
	for i := range old.rules {
		s.stays[i] = kept[old.rules[i].hash]
		s.same = s.same && (s.numbers[i] < 0 || int(s.numbers[i]) == i)
	}
	byIdentity := firsts(set.cohorts, func(c *cohort) uint64 { return c.identity })
	for j := range old.cohorts {
		s.cohorts[j] = -1
		if i, known := byIdentity[old.cohorts[j].identity]; known {
			delete(byIdentity, old.cohorts[j].identity)
			s.cohorts[j], s.moves[j] = i, set.laysAs(&set.cohorts[i], old, &old.cohorts[j])
		}
	}
	byName := firsts(old.groups, func(g *groupTimes) string { return g.name })
	for i := range set.groups {
		s.groups[i] = -1
		if j, known := byName[set.groups[i].name]; known {
			s.groups[i] = j
		}
	}
	return s
}

// firsts are the places of elements by what names them; of several of one name it is that of the first.
func firsts[E any, N comparable](all []E, name func(*E) N) map[N]int {
	places := make(map[N]int, len(all))
	for i := range all {
		n := name(&all[i])
		if _, twice := places[n]; !twice {
			places[n] = i
		}
	}
	return places
}

// NewSuccessor makes an evaluator that is to take over from one of older rules by Succeed, as NewEvaluator
// with the same configuration does; but what the two Sets have in common is known then, and the memory that
// evaluators take however few keys they have, some megabytes, is that of the older one. Any thread may call
// it.
func NewSuccessor(set, old *Set, config Config) *Evaluator {
	e := newEvaluator(set, config)
	e.succession = newSuccession(set, old)
	return e
}

// successionOf is what this evaluator's Set has of that of another one, from which it is to take over.
func (e *Evaluator) successionOf(old *Evaluator) *succession {
	if e.succession == nil || e.succession.from != old.set {
		e.succession = newSuccession(e.set, old.set)
	}
	return e.succession
}

// takeRooms takes over what waits to be handed on, which is nothing, and what was seen lately.
func (e *Evaluator) takeRooms(old *Evaluator) {
	e.outboxes, e.transitions, e.derived = old.outboxes, old.transitions, old.derived
	for i := range e.outboxes {
		e.outboxes[i].taken(len(e.outboxes[i].waiting()))
	}
	e.transitions.taken(len(e.transitions.waiting()))
	e.derived.taken(len(e.derived.waiting()))
	// Points that wait in the kernel's rings may be older than some that were seen.
	e.recents = old.recents
	e.planCache = old.planCache
	if len(old.set.globs) > 0 {
		clear(e.planCache)
	}
}

// takeGroups takes over how late points were, and since when they are seen.
func (e *Evaluator) takeGroups(old *Evaluator, s *succession) {
	e.started = old.started
	for i, j := range s.groups {
		if j >= 0 {
			l := old.groups[j]
			l.minimum = e.groups[i].minimum
			e.groups[i] = l
		}
	}
}
