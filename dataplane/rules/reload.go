package rules

import "slices"

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

// Succeed takes over from an evaluator of older rules, on the same thread and between two points: the state
// of the rules that are as they were, what they counted, and how late points are. Nothing may be on its way
// between evaluators, and Retire has ended what ends. The old evaluator is of no use afterwards.
//
// Keys whose layout stays as it is are taken over whole, however many there are. Others, and alerts, are
// written and read as in a checkpoint, at about a microsecond each.
func (e *Evaluator) Succeed(old *Evaluator, now int64) (Restored, error) {
	e.wall = old.wall
	e.texts = old.texts
	moved := e.takeKeys(old)
	old.CheckpointBegin(nil, now)
	old.saving.without = moved
	data, _ := old.CheckpointStep(1 << 62)
	restored, err := e.Restore(data, now, true)
	numbers := make(map[uint64]int, len(old.set.rules))
	for i := range old.set.rules {
		numbers[old.set.rules[i].hash] = i
	}
	for i := range e.set.rules {
		if was, ok := numbers[e.set.rules[i].hash]; ok {
			before, here := &old.stats[was], &e.stats[i]
			here.Transitions, here.Derived = before.Transitions, before.Derived
			here.Filtered = before.Filtered
			here.Evicted, here.TooLong = here.Evicted+before.Evicted, before.TooLong
			e.recall(uint32(i), old, uint32(was))
		}
	}
	for i := range e.set.cohorts {
		if j := old.set.cohortLike(&e.set.cohorts[i]); j >= 0 {
			if moved[j] {
				restored.Keys += e.pasts[i].list.length
			} else {
				e.pasts[i].countOn(&old.pasts[j])
			}
		}
	}
	e.releaseTexts(old, moved)
	// Points that wait in the kernel's rings may be older than some that were seen.
	e.recents = old.recents
	return restored, err
}

// cohortLike is the number of the cohort of the same group, measurements and keys, or -1.
func (s *Set) cohortLike(c *cohort) int {
	return slices.IndexFunc(s.cohorts, func(other cohort) bool { return other.identity == c.identity })
}

// takeKeys takes over the keys of cohorts whose layout stays as it is, with their timers, and tells which of
// the old ones these are.
func (e *Evaluator) takeKeys(old *Evaluator) (moved []bool) {
	moved = make([]bool, len(old.set.cohorts))
	numbers := make([]uint16, len(old.set.cohorts))
	for i := range e.set.cohorts {
		j := old.set.cohortLike(&e.set.cohorts[i])
		if j >= 0 && e.set.laysAs(&e.set.cohorts[i], old.set, &old.set.cohorts[j]) {
			e.pasts[i] = old.pasts[j]
			moved[j], numbers[j] = true, uint16(i)
		}
	}
	for j := range old.pasts {
		if keys := &old.pasts[j]; !moved[j] {
			for i := range keys.cut {
				if key := keys.at(i); key.used {
					old.keyTimers.drop(key)
				}
			}
		}
	}
	e.keyTimers = old.keyTimers
	for i := range e.keyTimers.owners {
		owner := &e.keyTimers.owners[i]
		owner.cohort = numbers[owner.cohort]
	}
	return moved
}

// laysAs tells whether the keys of a cohort have the same words, for the same purposes, and the same timers
// as those of another Set's.
func (s *Set) laysAs(c *cohort, set *Set, other *cohort) bool {
	sameRule := func(a, b uint32) bool { return s.rules[a].hash == set.rules[b].hash }
	return c.words == other.words && c.values == other.values &&
		slices.EqualFunc(c.records, other.records, sameRule) &&
		slices.EqualFunc(c.absent, other.absent, sameRule) &&
		slices.EqualFunc(c.memos, other.memos, func(a, b memo) bool {
			return a.identity == b.identity && a.at == b.at && a.words == b.words
		})
}

// releaseTexts gives back what the old evaluator's alerts, and the keys that were not taken over whole, held
// in the arena that both use.
func (e *Evaluator) releaseTexts(old *Evaluator, moved []bool) {
	for i := range old.records.cut {
		if rec := old.records.at(i); rec.used {
			e.texts.release(rec.text)
		}
	}
	for j := range old.pasts {
		if moved[j] {
			continue
		}
		for i := range old.pasts[j].cut {
			if key := old.pasts[j].at(i); key.used {
				e.texts.release(key.text)
			}
		}
	}
}

// recall takes over what an older evaluator knew of the keys of a rule that others own: what they were told,
// and what was seen here.
func (e *Evaluator) recall(r uint32, old *Evaluator, was uint32) {
	for from := old.records.list(was, false).last; from != none; from = old.records.at(from).prev {
		before := old.records.at(from)
		at := e.take(r, before.hash, before.check, false)
		if at == none {
			continue
		}
		rec := e.records.at(at)
		rec.state, rec.stateArrival = before.state, before.stateArrival
		rec.local, rec.localArrival = before.local, before.localArrival
		rec.eventTime, rec.sent = before.eventTime, before.sent
		rec.neither, rec.forgotten = before.neither, before.forgotten
		if before.text != 0 {
			e.keep(rec, old.texts.bytes(before.text)[:before.keyBytes+before.valuesBytes],
				int(before.keyBytes))
		}
	}
}

// Settled tells whether there is nothing that this evaluator is still to say to others, or to make.
func (e *Evaluator) Settled() bool {
	return e.records.queueLength == 0 && len(e.derived.waiting()) == 0
}
