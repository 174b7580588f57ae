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

// Retire ends the firing alerts of rules that the Set of a successor does not have as they are: nobody would
// end them later. It returns false while there is more to tell than there is room for: then the Transitions
// are to be taken and Retire called again. They are this Set's, which renders them.
func (e *Evaluator) Retire(successor *Evaluator) bool {
	for r, stays := range successor.successionOf(e).stays {
		if stays {
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
// Alerts, and keys whose layout stays as it is, are taken over whole, however many there are. Other keys of
// rules that are still there are written and read as in a checkpoint, at about a microsecond each.
func (e *Evaluator) Succeed(old *Evaluator, now int64) (restored Restored, err error) {
	s := e.successionOf(old)
	e.wall = old.wall
	e.texts = old.texts
	e.takeRooms(old)
	e.takeGroups(old, s)
	e.takeKeys(old, s)
	if without, some := e.leaveOut(old, s); some {
		old.CheckpointBegin(nil, now)
		old.saving.without, old.saving.withoutAlerts = without, true
		data, _ := old.CheckpointStep(1 << 62)
		restored, err = e.Restore(data, now, true)
	}
	e.takeRecords(old, s, &restored)
	for j, i := range s.cohorts {
		switch {
		case i < 0:
			restored.Changed += old.pasts[j].list.length
		case s.moves[j]:
			restored.Keys += e.pasts[i].list.length
		default:
			e.pasts[i].countOn(&old.pasts[j])
		}
	}
	e.releaseTexts(old, s.moves)
	e.succession = nil // It holds the older Set.
	return restored, err
}

// leaveOut tells which cohorts' keys need not be written and read: those that move, and those that no rule
// asks for any more. some tells that there is another one that has keys.
func (e *Evaluator) leaveOut(old *Evaluator, s *succession) (without []bool, some bool) {
	without = make([]bool, len(s.cohorts))
	for j, i := range s.cohorts {
		if without[j] = i < 0 || s.moves[j]; !without[j] {
			some = some || old.pasts[j].list.length > 0
			e.pasts[i].lost = max(e.pasts[i].lost, old.pasts[j].lost)
		}
	}
	return without, some
}

// takeRecords takes over the records of the rules that stay as they are, with their timers and what was
// counted, those of keys that others own as well: what they were told, and what was seen here. The records of
// other rules end.
func (e *Evaluator) takeRecords(old *Evaluator, s *succession, restored *Restored) {
	e.records, e.timers = old.records, old.timers
	e.reminded, e.remindDue, e.remindNext = old.reminded, old.remindDue, old.remindNext
	queued := e.records.takeQueue()
	for r, n := range s.numbers {
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
	}
	e.records.renumber(s.numbers, len(e.set.rules), s.same)
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

// takeKeys takes over the keys of cohorts whose layout stays as it is, with their timers.
func (e *Evaluator) takeKeys(old *Evaluator, s *succession) {
	same := true
	for j, i := range s.cohorts {
		if s.moves[j] {
			e.pasts[i] = old.pasts[j]
			same = same && i == j
			continue
		}
		for k := range old.pasts[j].cut {
			if key := old.pasts[j].at(k); key.used {
				old.keyTimers.drop(key)
			}
		}
	}
	if len(s.cohorts) == 0 {
		return // Whatever timers there were once are free.
	}
	e.keyTimers = old.keyTimers
	if same {
		return
	}
	for i := range e.keyTimers.cut {
		if owner := e.keyTimers.owner(i); owner.cohort != ownerFree {
			owner.cohort = uint16(s.cohorts[owner.cohort])
		}
	}
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
