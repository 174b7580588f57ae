package rules

// Changes is what a reload changes: the names of rules, with their groups.
type Changes struct {
	Added, Changed, Removed, Kept []string
}

// Compare tells how this Set differs from an older one. A rule is kept, with its state, if nothing of it
// and of its group's settings has changed; it is the same rule if group, kind and name are.
func (s *Set) Compare(old *Set) Changes {
	var c Changes
	title := func(r *rule) string { return r.group + "/" + r.kind.String() + "/" + r.name }
	count := map[uint64]int{}
	before := map[string]int{}
	for i := range old.rules {
		count[old.rules[i].hash]++
	}
	var unmatched []string
	for i := range s.rules {
		r := &s.rules[i]
		if count[r.hash] > 0 {
			count[r.hash]--
			c.Kept = append(c.Kept, title(r))
			continue
		}
		unmatched = append(unmatched, title(r))
	}
	for i := range old.rules {
		if r := &old.rules[i]; count[r.hash] > 0 {
			count[r.hash]--
			before[title(r)]++
		}
	}
	for _, name := range unmatched {
		if before[name] > 0 {
			before[name]--
			c.Changed = append(c.Changed, name)
		} else {
			c.Added = append(c.Added, name)
		}
	}
	for i := range old.rules {
		if name := title(&old.rules[i]); before[name] > 0 {
			before[name]--
			c.Removed = append(c.Removed, name)
		}
	}
	return c
}

// Retire ends the firing alerts of rules that a new Set does not have as they are: nobody would end them
// later. It returns false while there is more to tell than there is room for: then the Transitions are to be
// taken and Retire called again. They are the old Set's, which renders them.
func (e *Evaluator) Retire(next *Set) bool {
	kept := map[uint64]bool{}
	for i := range next.rules {
		kept[next.rules[i].hash] = true
	}
	for i := range e.records.cut {
		rec := e.records.at(i)
		if !rec.used || !rec.owned || !rec.announced || kept[e.set.rules[rec.rule].hash] {
			continue
		}
		if !e.transitions.room() {
			return false
		}
		rec.state, rec.reason = verdictNo, ReasonReloaded
		rec.changed, rec.changeArrival = rec.eventTime, rec.stateArrival
		e.enter(i, phaseOK)
		e.announce(i)
		e.settle(i)
	}
	return true
}
