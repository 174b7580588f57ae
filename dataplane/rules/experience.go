package rules

import "culvert/dataplane/point"

// Rules with a past see every point of their keys, in one evaluator: the key's owner. This file is what the
// owner does with a point; points.go is how a point comes from another worker.

const (
	// timeMax bounds the event times that count, so that no difference of two overflows: 146 years around
	// 1970.
	timeMax = int64(1) << 62
	// aheadDefault is how far in the future a point may lie, in nanoseconds.
	aheadDefault = int64(60e9)
)

// meet lets a cohort see the point at hand.
func (e *Evaluator) meet(number uint16) {
	c := &e.set.cohorts[number]
	k := e.key(c.shape)
	t := e.machine.point.Time
	switch {
	case k.tooLong:
		e.pasts[number].tooLong++
	case t > timeMax || t < -timeMax || e.isAhead(t):
		e.pasts[number].ahead++
		if len(c.absent) > 0 {
			e.meetAhead(number, k)
		}
	case k.owner != e.config.Worker:
		e.pack(number, k, 0)
	default:
		e.experience(number, k.hash, k.check)
	}
}

// meetAhead lets the absent alerts of a cohort see a point whose own time cannot be used. It came, so its key
// is not silent: a sender whose clock is wrong shifts nothing.
func (e *Evaluator) meetAhead(number uint16, k *key) {
	if k.owner != e.config.Worker {
		e.pack(number, k, packedAhead)
	} else {
		e.live(number, k.hash, k.check)
	}
}

// experience takes the point at hand, of an own key, into the memos of a cohort and evaluates its rules.
func (e *Evaluator) experience(number uint16, hash, check uint64) {
	c, keys := &e.set.cohorts[number], &e.pasts[number]
	t := e.machine.point.Time
	if e.started == never {
		e.started = e.arrival
	}
	at := keys.find(hash, check)
	if at == none {
		if at = e.meetNew(number, hash, check, t); at == none {
			return
		}
	}
	keys.touch(at, e.arrival)
	key := keys.at(at)
	e.late = t < key.newest
	key.newest, key.ahead = max(key.newest, t), false
	m := &e.machine
	m.past.memos, m.past.words, m.past.from = c.memos, keys.memory(at), key.from
	takes := len(c.records) == 0 || e.forRecords(number, at, t)
	for i := range c.memos {
		if (takes || !c.memos[i].window.record) && !m.remember(&c.memos[i], t) {
			keys.late++
		}
	}
	e.pastKey = key
	e.evalPlan(&c.plan)
	if len(c.absent) > 0 {
		e.present(number, at)
	}
	e.pastKey = nil
}

// live takes the point at hand, of an own key, for a sign of life and for nothing else. The gateway's clock
// stands for its time.
func (e *Evaluator) live(number uint16, hash, check uint64) {
	if e.started == never {
		e.started = e.arrival
	}
	keys := &e.pasts[number]
	at, now := keys.find(hash, check), e.arrival+e.wall
	if at == none {
		if at = e.meetNew(number, hash, check, now); at == none {
			return
		}
		keys.at(at).newest = now
	}
	keys.touch(at, e.arrival)
	key := keys.at(at)
	key.ahead, e.late = true, false
	e.pastKey = key
	e.present(number, at)
	e.pastKey = nil
}

// isAhead tells a point too far in the future.
func (e *Evaluator) isAhead(t int64) bool { return t > e.arrival+e.wall+e.config.MaxAhead }

// meetNew makes a key at its first point. What came before it is known as far back as this evaluator sees
// points and has not let go of keys: there were none.
func (e *Evaluator) meetNew(number uint16, hash, check uint64, t int64) int32 {
	keys := &e.pasts[number]
	if keys.list.length >= e.ownMax {
		keys.evicted++
		if !e.forget(number, keys.list.last) {
			return none
		}
		keys.lost = max(keys.lost, e.arrival)
	}
	at := keys.add(hash, check)
	key := keys.at(at)
	key.from = t - max(e.arrival-max(e.started, keys.lost), 0)
	var text [TextMax]byte
	n := e.writeKey(&e.set.shapes[e.set.cohorts[number].shape], text[:])
	key.text = e.texts.take(n)
	copy(e.texts.bytes(key.text), text[:n])
	key.keyBytes = uint16(n)
	return at
}

// forget lets go of a key and ends its alerts: what they look at is gone. It returns false where there is no
// room to say so.
func (e *Evaluator) forget(number uint16, at int32) bool {
	keys := &e.pasts[number]
	key := keys.at(at)
	for _, r := range e.set.cohorts[number].alerts {
		if e.records.active(r) == 0 {
			continue
		}
		if rec := e.records.find(r, key.hash, key.check); rec != none && !e.evict(rec) {
			return false
		}
	}
	e.keyTimers.drop(key)
	e.texts.release(key.text)
	keys.remove(at)
	return true
}

// judgePast acts on what the condition of a rule with a past came to, for a key of its own.
func (e *Evaluator) judgePast(r uint32, result bool) {
	if !result && e.records.active(r) == 0 {
		return
	}
	k := e.key(e.set.rules[r].shape)
	at := e.records.find(r, k.hash, k.check)
	if at == none {
		if !result {
			return
		}
		if at = e.take(r, k.hash, k.check, true); at == none {
			return
		}
	}
	// Windows hold all points so far, so every evaluation is the latest word, whatever its point's arrival.
	arrival := max(e.arrival, e.records.at(at).stateArrival)
	e.hear(at, e.verdictOf(r, result), arrival, e.machine.point.Time, true)
}

// present ends the absent alerts of a key that has a point, and sets the timer for when it has none any more.
func (e *Evaluator) present(number uint16, at int32) {
	c, keys := &e.set.cohorts[number], &e.pasts[number]
	key := keys.at(at)
	wasSilent := key.silent
	if wasSilent {
		key.silent = false
		eventTime := e.machine.point.Time
		if key.ahead {
			eventTime = e.arrival + e.wall
		}
		for _, r := range c.absent {
			rec := e.records.find(r, key.hash, key.check)
			if rec != none {
				e.hear(rec, verdictNo, max(e.arrival, e.records.at(rec).stateArrival), eventTime, true)
			}
		}
	}
	if c.values {
		e.keepValues(number, key)
	}
	if wasSilent || key.timer == none || !e.keyTimers.wheel.isSet(key.timer) {
		e.keyTimers.set(number, at, key, key.seen+e.set.rules[c.absent[0]].times.absent)
	}
}

// keepValues keeps the point's values for absent alerts, whose time comes when there is no point.
func (e *Evaluator) keepValues(number uint16, key *pastKey) {
	var text [TextMax]byte
	n := copy(text[:], e.texts.bytes(key.text)[:key.keyBytes])
	for _, r := range e.set.cohorts[number].absent {
		n += e.writeValues(&e.set.rules[r], text[n:])
	}
	if key.text.room() < n {
		e.texts.release(key.text)
		key.text = e.texts.take(n)
	}
	copy(e.texts.bytes(key.text), text[:n])
	key.valuesBytes = uint16(n) - key.keyBytes
}

// expireKeys lets the timers of keys go off.
func (e *Evaluator) expireKeys(now int64) {
	for range timersPerTurn {
		timer := e.keyTimers.wheel.expire(now)
		if timer == none {
			return
		}
		owner := *e.keyTimers.owner(timer)
		c := &e.set.cohorts[owner.cohort]
		if len(c.absent) > 0 {
			e.missKey(owner.cohort, owner.key, now)
		}
		if len(c.records) > 0 {
			e.commit(owner.cohort, owner.key, now)
		}
	}
}

// missKey raises the absent alerts of a key that had no point for long enough, and sets the timer for the
// others. The rules stand in the order of their durations.
func (e *Evaluator) missKey(number uint16, at int32, now int64) {
	c, keys := &e.set.cohorts[number], &e.pasts[number]
	key := keys.at(at)
	values := 0
	for _, r := range c.absent {
		rule := &e.set.rules[r]
		due := key.seen + rule.times.absent
		if due > now {
			e.keyTimers.set(number, at, key, due)
			return
		}
		first := values
		values += valuesLength(rule,
			e.texts.bytes(key.text)[int(key.keyBytes)+values:key.keyBytes+key.valuesBytes])
		rec := e.records.find(r, key.hash, key.check)
		if rec != none && e.records.at(rec).phase == phaseFiring {
			continue
		}
		if rec == none {
			rec = e.take(r, key.hash, key.check, true)
		}
		if rec == none {
			// No room to end another alert in its place: soon there will be.
			e.keyTimers.set(number, at, key, now+touchEvery)
			return
		}
		key.silent = true
		var text [TextMax]byte
		n := copy(text[:], e.texts.bytes(key.text)[:key.keyBytes])
		n += copy(text[n:], e.texts.bytes(key.text)[int(key.keyBytes)+first:int(key.keyBytes)+values])
		e.keep(e.records.at(rec), text[:n], int(key.keyBytes))
		eventTime := key.newest + rule.times.absent
		if key.ahead {
			eventTime = due + e.wall
		}
		e.hear(rec, verdictYes, due, eventTime, false)
	}
}

// valuesLength is how many bytes of a text are a rule's captured values.
func valuesLength(r *rule, text []byte) int {
	n := 0
	for range r.captures {
		if n >= len(text) {
			return n
		}
		switch kind := point.Kind(text[n]); {
		case kind == point.Missing:
			n++
		case kind == point.String && n+3 <= len(text):
			n += 3 + int(text[n+1]) | int(text[n+2])<<8
		default:
			n += 9
		}
	}
	return min(n, len(text))
}
