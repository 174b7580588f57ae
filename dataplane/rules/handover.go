package rules

// One key's points may arrive at several workers: over two queues, or by the slow path. Its state is one all
// the same. Every key has an owner, an evaluator found by the key's hash, and everything is ordered by
// arrival, which is read from one clock:
//
//	          result: (key, arrival, holds?)
//	evaluator ──────────────────────────────▶ owner      the result of the greatest arrival is the state
//	          ◀──────────────────────────────
//	          state:  (key, arrival, holds?)             every change, to all others
//
// An evaluator sends a result when it differs from the owner's state as known here and is not older; a key it
// knows nothing of is not firing. So points that change nothing cost no message. What was sent counts as
// known, since rings keep their order. The owner answers a result that lost against a later one with its
// state.
//
// A state may arrive that is older than what was evaluated here in the meantime, and opposite: then the
// result is sent at once. For this a record keeps the latest local result, and recents the time of the last
// point of keys without a record, whose result was false. The owner asks recents as well before it believes
// that a key without a record is firing.
//
// What finds a queue full marks its record dirty and is worked out anew when there is room, so the queues are
// bounded and the last word is never lost.
//
// Memory is bounded too: when more keys are firing than there is room for, an evaluator may forget that one
// of them is, and would not report its end. So the owner says again what is firing, each key every ten
// seconds: whoever forgot learns it anew, and answers if it saw a later point that says no.

// handoverKind is what a Handover says.
type handoverKind uint8

const (
	handoverResult handoverKind = iota // to the owner: what a point came to
	handoverState                      // from the owner: what the state is
	handoverForget                     // from the owner: it let go of the key for want of room
	handoverPoints                     // to the owner: points of rules with a past, see points.go
)

// Handover is what one evaluator tells another. It is a plain value without pointers, to be copied through a
// ring; its parts are the evaluators' own business.
type Handover struct {
	set         uint64
	hash, check uint64
	arrival     int64
	time        int64
	rule        uint32
	from        uint16
	keyBytes    uint16
	valuesBytes uint16
	kind        handoverKind
	state       verdict
	text        [TextMax]byte
}

// Outbox is what waits to be pushed into the ring to a peer, oldest first; valid until the next call of any
// method.
func (e *Evaluator) Outbox(peer int) []Handover { return e.outboxes[peer].waiting() }

// Sent says that the first n of Outbox went.
func (e *Evaluator) Sent(peer, n int) { e.outboxes[peer].taken(n) }

// Receive takes what another evaluator handed over. The Handover is only read.
func (e *Evaluator) Receive(h *Handover) {
	if h.set != e.set.id || int(h.rule) >= len(e.set.rules) {
		// From before a reload: its sender learns the new rules as well, and begins anew.
		return
	}
	switch h.kind {
	case handoverPoints:
		e.unpack(h)
	case handoverResult:
		e.hearResult(h)
	default:
		e.hearState(h)
	}
}

// own acts on a local result of a key that this evaluator owns.
func (e *Evaluator) own(r uint32, at int32, k *key, v verdict) {
	if at == none {
		if at = e.take(r, k.hash, k.check, true); at == none {
			return
		}
	}
	rec := e.records.at(at)
	if e.arrival < rec.stateArrival {
		return
	}
	e.hear(at, v, e.arrival, e.machine.point.Time, true)
}

// hearResult acts on another evaluator's result of a key that this one owns.
func (e *Evaluator) hearResult(h *Handover) {
	at := e.records.find(h.rule, h.hash, h.check)
	if at == none {
		if h.state == verdictNeither {
			return
		}
		if h.state == verdictNo {
			e.recents.note(e.recentHash(h.rule, h.hash), h.arrival)
			return
		}
		late := e.recents.last(e.recentHash(h.rule, h.hash))
		if late > h.arrival {
			answer := record{hash: h.hash, check: h.check, rule: h.rule, stateArrival: late}
			if e.tell(int(h.from), &answer, handoverState) {
				return
			}
		}
		if at = e.take(h.rule, h.hash, h.check, true); at == none {
			return
		}
		if late > h.arrival {
			// A later point of this key was false: the record lasts until there is room to say so.
			e.records.at(at).stateArrival = late
		}
	}
	rec := e.records.at(at)
	if h.arrival < rec.stateArrival {
		if h.state != rec.state && !e.tell(int(h.from), rec, handoverState) {
			e.records.enqueue(at, dirtyState)
		}
		e.settle(at)
		return
	}
	if h.keyBytes > 0 {
		e.keep(rec, h.text[:h.keyBytes+h.valuesBytes], int(h.keyBytes))
	}
	e.hear(at, h.state, h.arrival, h.time, false)
}

// broadcast tells all others the state of an owned key. If one of them has no room, all are told again later:
// that is harmless, and needs no memory of who was missed.
func (e *Evaluator) broadcast(at int32) {
	rec := e.records.at(at)
	if r := &e.set.rules[rec.rule]; r.past || r.local {
		return // only the owner evaluates it
	}
	for peer := range e.outboxes {
		if peer != e.config.Worker && !e.tell(peer, rec, handoverState) {
			e.records.enqueue(at, dirtyState)
		}
	}
}

// tell puts the state of an owned key into the outbox to a peer, if there is room.
func (e *Evaluator) tell(peer int, rec *record, kind handoverKind) bool {
	h := e.outboxes[peer].add()
	if h == nil {
		return false
	}
	h.set, h.hash, h.check, h.rule = e.set.id, rec.hash, rec.check, rec.rule
	h.arrival, h.time, h.from = rec.stateArrival, rec.eventTime, uint16(e.config.Worker)
	h.kind, h.state = kind, rec.state
	h.keyBytes, h.valuesBytes = 0, 0
	return true
}

// report acts on a local result of a key that another evaluator owns.
func (e *Evaluator) report(r uint32, at int32, k *key, v verdict) {
	if at == none {
		if at = e.take(r, k.hash, k.check, false); at == none {
			return
		}
	}
	rec := e.records.at(at)
	if v == verdictNeither {
		e.reportNeither(rec)
		return
	}
	rec.neither = false
	if e.arrival < rec.localArrival {
		return
	}
	rec.localArrival, rec.eventTime = e.arrival, e.machine.point.Time
	e.records.touch(at)
	differs := v != rec.state && e.arrival >= rec.stateArrival
	refresh := e.arrival-rec.sent >= e.set.rules[r].times.refresh()
	if rec.forgotten {
		differs = differs && refresh
	}
	changed := v != rec.local
	rec.local = v
	send := differs || v != verdictNo && refresh
	if send || changed {
		e.capture(rec)
	}
	if send && !e.send(rec) && differs {
		e.records.enqueue(at, dirtyResult)
	}
	e.settle(at)
}

// reportNeither tells the owner of a point that decides nothing: that the key is alive, and that an alert
// that is still pending is not to become one. It is told once, then again as often as a result that lasts.
func (e *Evaluator) reportNeither(rec *record) {
	t := &e.set.rules[rec.rule].times
	if (t.hold == 0 || rec.neither) && e.arrival-rec.sent < t.refresh() {
		return
	}
	if h := e.handOver(rec); h != nil {
		h.arrival, h.time, h.state = e.arrival, e.machine.point.Time, verdictNeither
		h.keyBytes, h.valuesBytes = 0, 0
		rec.sent, rec.neither = e.arrival, true
	}
}

// handOver begins a result for the owner of a record's key; nil if there is no room.
func (e *Evaluator) handOver(rec *record) *Handover {
	h := e.outboxes[e.ownerOf(rec.hash)].add()
	if h != nil {
		h.set, h.hash, h.check, h.rule = e.set.id, rec.hash, rec.check, rec.rule
		h.from, h.kind = uint16(e.config.Worker), handoverResult
	}
	return h
}

// send hands the local result to the owner, if there is room. From then on it counts as the owner's state.
func (e *Evaluator) send(rec *record) bool {
	h := e.handOver(rec)
	if h == nil {
		return false
	}
	h.arrival, h.time, h.state = rec.localArrival, rec.eventTime, rec.local
	h.keyBytes, h.valuesBytes = rec.keyBytes, rec.valuesBytes
	if rec.text != 0 {
		copy(h.text[:], e.texts.bytes(rec.text)[:rec.keyBytes+rec.valuesBytes])
	}
	if rec.localArrival >= rec.stateArrival {
		rec.state, rec.stateArrival = rec.local, rec.localArrival
	}
	rec.sent, rec.forgotten = rec.localArrival, false
	return true
}

// hearState acts on what the owner of a key says.
func (e *Evaluator) hearState(h *Handover) {
	at := e.records.find(h.rule, h.hash, h.check)
	if at == none {
		if h.state == verdictNo || h.kind == handoverForget {
			return
		}
		if at = e.take(h.rule, h.hash, h.check, false); at == none {
			return
		}
		e.records.at(at).localArrival = e.recents.last(e.recentHash(h.rule, h.hash))
	}
	rec := e.records.at(at)
	if h.arrival < rec.stateArrival {
		return
	}
	rec.stateArrival = h.arrival
	if rec.state = h.state; h.kind == handoverForget {
		rec.state = verdictNo
	}
	rec.forgotten = h.kind == handoverForget
	if rec.forgotten {
		// Told again only with a point a second from now: many keys that push each other out must not do so
		// in a circle.
		rec.sent = max(rec.sent, rec.localArrival)
	} else if rec.local != rec.state && rec.localArrival > rec.stateArrival && !e.send(rec) {
		e.records.enqueue(at, dirtyResult)
	}
	e.settle(at)
}

// settle frees a record that says nothing more: it is not firing and everyone knows.
func (e *Evaluator) settle(at int32) {
	rec := e.records.at(at)
	if rec.state != verdictNo || rec.inQueue || rec.dirty != 0 {
		return
	}
	if rec.owned {
		if rec.announced || rec.phase != phaseOK {
			return
		}
		if e.config.Workers > 1 {
			e.recents.note(e.recentHash(rec.rule, rec.hash), rec.stateArrival)
		}
	} else if rec.local != verdictNo && (rec.forgotten || rec.localArrival > rec.stateArrival) {
		// What was seen here is still to count; once the owner's state is later, it no longer does.
		return
	}
	e.drop(at)
}

func (e *Evaluator) drop(at int32) {
	e.timers.cancel(at)
	e.texts.release(e.records.at(at).text)
	e.records.remove(at)
}

// take makes a record, if need be in place of the rule's longest idle. It returns none where that one cannot
// go either, because what is to be said of it finds no room.
func (e *Evaluator) take(r uint32, hash, check uint64, owned bool) int32 {
	limit := e.foreign
	if owned {
		limit = e.ownMax
	}
	if l := e.records.list(r, owned); l.length >= limit {
		e.stats[r].Evicted++
		if !e.evict(l.last) {
			return none
		}
	}
	return e.records.add(r, hash, check, owned)
}

// evict lets go of a key. If it is firing, its alert is ended: nobody would end it later.
func (e *Evaluator) evict(at int32) bool {
	rec := e.records.at(at)
	if rec.inQueue {
		return false
	}
	if rec.owned && (rec.state != verdictNo || rec.phase != phaseOK) {
		if !e.transitions.room() {
			return false
		}
		rec.state = verdictNo
		if rec.phase.fires() {
			rec.reason = ReasonEvicted
			rec.changed, rec.changeArrival = rec.eventTime, rec.stateArrival
		}
		e.enter(at, phaseOK)
		e.announce(at)
		for peer := range e.outboxes {
			if peer != e.config.Worker && !e.set.rules[rec.rule].past &&
				!e.set.rules[rec.rule].local {
				// Who misses this keeps a record that says nothing wrong to anyone, and ages.
				e.tell(peer, rec, handoverForget)
			}
		}
	}
	e.drop(at)
	return true
}

// Tick is called once a turn, with the time as CLOCK_MONOTONIC nanoseconds. It does what time alone brings,
// says what found no room before and what is to be said again.
func (e *Evaluator) Tick(now int64) {
	e.expire(now)
	e.remind(now)
	for range min(e.records.queueLength, dirtyPerTurn) {
		at := e.records.dequeue()
		rec := e.records.at(at)
		what := rec.dirty
		rec.dirty = 0
		differs := rec.local != rec.state && rec.localArrival >= rec.stateArrival
		if what&dirtyResult != 0 && differs && !e.send(rec) {
			e.records.enqueue(at, dirtyResult)
		}
		if what&dirtyState != 0 {
			if e.roomForAll() {
				e.broadcast(at)
			} else {
				e.records.enqueue(at, dirtyState)
			}
		}
		if what&dirtyAnnounce != 0 {
			e.announce(at)
		}
		e.settle(at)
	}
}

// remind says again which owned keys are firing. A turn looks at as many records as the time since the last
// one is worth, so that all have their turn once in remindEvery.
func (e *Evaluator) remind(now int64) {
	passed := now - e.reminded
	e.reminded = now
	if e.config.Workers == 1 || e.records.used == 0 || passed <= 0 {
		return
	}
	cut := int64(e.records.cut)
	e.remindDue = min(e.remindDue+min(passed, remindEvery)*cut, remindPerTurn*remindEvery)
	for range min(e.remindDue/remindEvery, cut) {
		if !e.roomForAll() {
			return
		}
		e.remindDue -= remindEvery
		e.remindNext = (e.remindNext + 1) % e.records.cut
		if rec := e.records.at(e.remindNext); rec.used && rec.owned && rec.state != verdictNo {
			e.broadcast(e.remindNext)
		}
	}
}

func (e *Evaluator) roomForAll() bool {
	for peer := range e.outboxes {
		if peer != e.config.Worker && !e.outboxes[peer].room() {
			return false
		}
	}
	return true
}
