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
	for r := range e.set.rules {
		if kept[e.set.rules[r].hash] {
			continue
		}
		next := none
		for i := e.records.list(uint32(r), true).first; i != none; i = next {
			rec := e.records.at(i)
			next = rec.next
			if !rec.announced {
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
	}
	return true
}

// Succeed takes over from an evaluator of older rules, on the same thread and between two points: the state
// of the rules that are as they were, what they counted, and how late points are. Nothing may be on its way
// between evaluators, and Retire has ended what ends. The old evaluator is of no use afterwards.
//
// Alerts, and keys whose layout stays as it is, are taken over whole, however many there are. Other keys are
// written and read as in a checkpoint, at about a microsecond each.
func (e *Evaluator) Succeed(old *Evaluator, now int64) (Restored, error) {
	e.wall = old.wall
	e.texts = old.texts
	moved := e.takeKeys(old)
	old.CheckpointBegin(nil, now)
	old.saving.without, old.saving.withoutAlerts = moved, true
	data, _ := old.CheckpointStep(1 << 62)
	restored, err := e.Restore(data, now, true)
	e.takeRecords(old, &restored)
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

// takeRecords takes over the records of the rules that stay as they are, with their timers and what was
// counted, those of keys that others own as well: what they were told, and what was seen here. The records of
// other rules end.
func (e *Evaluator) takeRecords(old *Evaluator, restored *Restored) {
	e.records, e.timers = old.records, old.timers
	e.reminded, e.remindDue, e.remindNext = old.reminded, old.remindDue, old.remindNext
	numbers := e.set.numbersOf(old.set)
	queued := e.records.takeQueue()
	same := true
	for r, n := range numbers {
		before := &old.stats[r]
		if n < 0 {
			restored.Changed += before.Firing + before.Pending
			for _, owned := range []bool{true, false} {
				for l := e.records.list(uint32(r), owned); l.first != none; {
					e.drop(l.first)
				}
			}
			continue
		}
		here := &e.stats[n]
		evicted := here.Evicted
		*here = *before
		here.Evicted += evicted
		restored.Alerts += here.Firing + here.Pending
		same = same && int(n) == r
	}
	e.records.renumber(numbers, len(e.set.rules), same)
	for _, i := range queued {
		if rec := e.records.at(i); rec.used {
			e.records.enqueue(i, rec.dirty)
		}
	}
}

// numbersOf gives for each rule of another Set the number of the one here that is as it was, −1 for none. Of
// rules that are alike, the first is the first.
func (s *Set) numbersOf(other *Set) []int32 {
	here := make(map[uint64][]int32, len(s.rules))
	for i := range s.rules {
		here[s.rules[i].hash] = append(here[s.rules[i].hash], int32(i))
	}
	numbers := make([]int32, len(other.rules))
	for i := range other.rules {
		numbers[i] = none
		if hash := other.rules[i].hash; len(here[hash]) > 0 {
			numbers[i], here[hash] = here[hash][0], here[hash][1:]
		}
	}
	return numbers
}

// takeQueue empties the queue of dirty records and returns them in order.
func (r *records) takeQueue() (queued []int32) {
	for i := r.dequeue(); i != none; i = r.dequeue() {
		queued = append(queued, i)
	}
	return queued
}

// renumber gives the rules of all records their numbers in another Set. same tells that no number changes.
// There are no records of rules that have none.
func (r *records) renumber(numbers []int32, rules int, same bool) {
	lists := r.lists
	*r = records{
		chunks: r.chunks, free: r.free, cut: r.cut, used: r.used, numbers: r.numbers, lists: newLists(rules),
		queueFirst: none, queueLast: none,
	}
	if !same {
		r.numbers.clear()
	}
	for was, n := range numbers {
		if n < 0 {
			continue
		}
		for i, l := range lists[2*was : 2*was+2] {
			r.lists[2*int(n)+i] = l
			for at := l.first; !same && at != none; at = r.at(at).next {
				rec := r.at(at)
				rec.rule = uint32(n)
				r.numbers.add(tagOf(cellHash(rec.rule, rec.hash)), at)
			}
		}
	}
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
	if len(numbers) == 0 {
		return moved // Whatever timers there were once are free.
	}
	e.keyTimers = old.keyTimers
	for i := range e.keyTimers.cut {
		if owner := e.keyTimers.owner(i); owner.cohort != ownerFree {
			owner.cohort = numbers[owner.cohort]
		}
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

// releaseTexts gives back what the keys that were not taken over whole held in the arena that both use.
func (e *Evaluator) releaseTexts(old *Evaluator, moved []bool) {
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

// Settled tells whether there is nothing that this evaluator is still to say to others, or to make.
func (e *Evaluator) Settled() bool {
	return e.records.queueLength == 0 && len(e.derived.waiting()) == 0
}
