package rules

import (
	"strings"
	"time"
)

// An alert's life, at the owner of its key. What points bring stands beside the arrows, what time brings in
// brackets; an alert counts as firing in both phases of the lower row:
//
//	ok ───────────holds──────────▶ pending          pending lasts `for`; without it the way is straight
//	 ▲ ◀──holds no more, [stale]───  │
//	 │                             [for]
//	 │                               ▼
//	 └──[keep_firing_for]── keeping ◀──ends, [stale]── firing
//	                          └───────holds─────────────▶
//
// Event time can bring what time brings, too: a point that is `for` later than the one that began it.

// verdict is what a point says of an alert's condition. With a condition of its own for the end (`clear`)
// there are points that say neither yes nor no: they keep a firing alert firing, and a pending one from it.
type verdict uint8

const (
	verdictNo verdict = iota
	verdictNeither
	verdictYes
)

// phase is a phase of an alert's life.
type phase uint8

const (
	phaseOK phase = iota
	phasePending
	phaseFiring
	phaseKeeping
)

func (p phase) fires() bool { return p >= phaseFiring }

// Reason is why an alert ended, where no point ended it.
type Reason uint8

// The reasons.
const (
	ReasonNone      Reason = iota
	ReasonEvicted          // its key was let go for want of room
	ReasonStale            // no point of its key came any more
	ReasonRestored         // it was firing before the gateway was away: it is told again, not begun anew
	ReasonReloaded         // its rule is no longer there as it was
	ReasonCorrected        // a point that came late changed the windows that its condition looks at
)

var reasonNames = [...]string{"", "evicted", "stale", "restored", "reloaded", "corrected"}

func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return ""
}

// times are a rule's durations, in nanoseconds.
type times struct {
	hold  int64 // `for`
	keep  int64 // keep_firing_for
	stale int64
	// absent is how long a key is without points before the alert fires; 0 for alerts with a condition.
	absent int64
}

const (
	// staleDefault is how long an alert outlives the last point of its key.
	staleDefault = int64(5 * time.Minute)
	// refreshAfter is how long the owner of a key goes without word from a worker where it is firing, in
	// nanoseconds.
	refreshAfter = int64(time.Second)
	// timersPerTurn bounds how many timers one Tick lets go off; the rest have their turn in the next.
	timersPerTurn = 1024
)

// refresh is how often another worker tells the owner that a condition still holds: several times within
// stale.
func (t *times) refresh() int64 { return min(refreshAfter, t.stale/4) }

// times reads a rule's durations.
func (c *compiler) times(t *times, in *Rule) {
	t.stale = staleDefault
	c.duration(&t.hold, &in.For, "for")
	c.duration(&t.keep, &in.KeepFor, "keep_firing_for")
	c.duration(&t.stale, &in.Stale, "stale")
	if !in.Absent.isGiven() {
		return
	}
	c.duration(&t.absent, &in.Absent, "absent")
	if in.For.isGiven() {
		c.fail(&in.For, 0, "make absent longer", "for has no place beside absent")
	}
	if in.Stale.isGiven() {
		c.fail(&in.Stale, 0, "it ends with the next point", "an alert of absent points does not go stale")
	}
	if in.Clear.isGiven() {
		c.fail(&in.Clear, 0, "it ends with the next point", "clear has no place beside absent")
	}
	// It is firing because no points come, so time does not end it.
	t.stale = forever / 4
}

// isGiven tells a text that stands in a file from one that is not there.
func (t *Text) isGiven() bool { return t.Source != "" || t.Document != nil }

// duration reads a duration into nanoseconds, if the text is there.
func (c *compiler) duration(into *int64, text *Text, key string) {
	if !text.isGiven() {
		return
	}
	d, err := time.ParseDuration(strings.TrimSpace(text.Source))
	switch {
	case err != nil:
		c.fail(text, 0, "write it like 500ms, 10s or 1m30s", "%s: %q is no duration", key, text.Source)
	case d <= 0:
		c.fail(text, 0, "", "%s: %s is not longer than nothing", key, text.Source)
	case int64(d) > durationMax:
		c.fail(text, 0, "", "%s: %s is longer than 366 days", key, text.Source)
	default:
		*into = int64(d)
	}
}

// verdictOf is what the point at hand says, given what the rule's condition came to.
func (e *Evaluator) verdictOf(r uint32, result bool) verdict {
	if result {
		return verdictYes
	}
	if clear := e.set.rules[r].clear; clear != nil && !e.machine.run(clear) {
		return verdictNeither
	}
	return verdictNo
}

// recentHash is the name by which recents remembers the last point that said no to a rule. Points of most
// rules say yes or no, so one note per key serves all of them; those of a rule with `clear` may say neither.
func (e *Evaluator) recentHash(r uint32, hash uint64) uint64 {
	if e.set.rules[r].clear != nil {
		return cellHash(uint32(e.set.rules[r].hash), hash)
	}
	return hash
}

// noteNo remembers a point that says no to a rule with `clear`, and tells whether a later one did.
func (e *Evaluator) noteNo(r uint32, hash uint64, v verdict) (late bool) {
	if hash = e.recentHash(r, hash); v == verdictNo {
		return e.recents.note(hash, e.arrival) > e.arrival
	}
	return e.recents.last(hash) > e.arrival
}

// hear takes a verdict on an owned key that is not outdated. here says that it comes from the point at hand.
func (e *Evaluator) hear(at int32, v verdict, arrival, eventTime int64, here bool) {
	e.catchUp(at, arrival)
	rec := e.records.at(at)
	if arrival >= rec.seen {
		rec.seen, rec.eventTime = arrival, eventTime
	}
	e.records.touch(at)
	if v == verdictNeither && rec.phase != phasePending {
		// It decides nothing, so it must not outdate a verdict of another worker that does.
		return
	}
	rec.stateArrival = arrival
	e.apply(at, v, here)
}

// apply gives an owned key a verdict and tells everyone what changed by it.
func (e *Evaluator) apply(at int32, v verdict, here bool) {
	rec := e.records.at(at)
	if v == rec.state && (rec.phase == phaseFiring || rec.phase == phaseOK) {
		return
	}
	before, next := rec.state, e.nextPhase(rec, v)
	if next == phaseOK {
		v = verdictNo
	}
	rec.state = v
	if next != rec.phase {
		if here {
			e.capture(rec)
		}
		rec.reason = ReasonNone
		if here && e.late && rec.phase.fires() && next != phaseFiring && e.set.rules[rec.rule].past {
			rec.reason = ReasonCorrected
		}
		e.turnInto(at, next, rec.eventTime, rec.stateArrival)
	}
	if v != before {
		e.broadcast(at)
	}
	e.announce(at)
	e.settle(at)
}

// nextPhase is where a verdict leads.
func (e *Evaluator) nextPhase(rec *record, v verdict) phase {
	t := &e.set.rules[rec.rule].times
	switch rec.phase {
	case phaseFiring:
		if v == verdictNo {
			return t.ended()
		}
		return phaseFiring
	case phaseKeeping:
		if v == verdictYes {
			return phaseFiring
		}
		if rec.eventTime-rec.begun >= t.keep {
			return phaseOK
		}
		return phaseKeeping
	}
	if v != verdictYes {
		return phaseOK
	}
	if t.hold == 0 || rec.phase == phasePending && rec.eventTime-rec.begun >= t.hold {
		return phaseFiring
	}
	return phasePending
}

// ended is the phase behind firing.
func (t *times) ended() phase {
	if t.keep > 0 {
		return phaseKeeping
	}
	return phaseOK
}

// turnInto begins a phase, by a point or by time, and sets the timer of its end. time is the event time of
// the change and clock the same moment on the gateway's clock.
func (e *Evaluator) turnInto(at int32, next phase, eventTime, clock int64) {
	rec := e.records.at(at)
	t := &e.set.rules[rec.rule].times
	if next.fires() != rec.phase.fires() {
		rec.changed, rec.changeArrival = eventTime, clock
		if next.fires() {
			rec.since = eventTime
		}
	}
	e.enter(at, next)
	if t.absent > 0 && next == phaseFiring {
		e.timers.cancel(at)
		return
	}
	switch next {
	case phasePending:
		rec.begun, rec.due = eventTime, clock+t.hold
		e.timers.set(at, min(rec.due, e.staleAt(rec)))
	case phaseFiring:
		e.timers.set(at, e.staleAt(rec))
	case phaseKeeping:
		rec.begun, rec.due = eventTime, clock+t.keep
		e.timers.set(at, rec.due)
	default:
		e.timers.cancel(at)
	}
}

// enter counts a change of phase.
func (e *Evaluator) enter(at int32, next phase) {
	rec := e.records.at(at)
	stats := &e.stats[rec.rule]
	switch {
	case next.fires() && !rec.phase.fires():
		stats.Firing++
		stats.Transitions++
	case !next.fires() && rec.phase.fires():
		stats.Firing--
		stats.Transitions++
	}
	if rec.phase == phasePending {
		stats.Pending--
	}
	if next == phasePending {
		stats.Pending++
	}
	rec.phase = next
}

// staleAt is when a key counts as silent, on the gateway's clock. Another worker says only once in a while
// that its points go on.
func (e *Evaluator) staleAt(rec *record) int64 {
	t := &e.set.rules[rec.rule].times
	if e.config.Workers > 1 {
		return rec.seen + t.stale + t.refresh()
	}
	return rec.seen + t.stale
}

// catchUp lets the timer of a record go off, if it was due by the arrival of the point at hand: the timer
// comes first then, although this turn has not come to it.
func (e *Evaluator) catchUp(at int32, arrival int64) {
	if e.timers.isSet(at) && e.timers.deadline(at) <= arrival {
		e.timers.cancel(at)
		e.goOff(at, arrival)
		e.announce(at)
	}
}

// expire lets the timers go off that are due.
func (e *Evaluator) expire(now int64) {
	e.expireKeys(now)
	for range timersPerTurn {
		at := e.timers.expire(now)
		if at == none {
			return
		}
		e.goOff(at, now)
		e.announce(at)
		e.settle(at)
	}
}

// goOff does what a record's timer is for. Points that came since it was set put off what it does: the timer
// is set again only now, so that points cost nothing.
func (e *Evaluator) goOff(at int32, now int64) {
	rec := e.records.at(at)
	t := &e.set.rules[rec.rule].times
	stale := e.staleAt(rec)
	switch rec.phase {
	case phasePending:
		switch {
		case now >= rec.due && rec.due <= stale:
			e.turnInto(at, phaseFiring, rec.begun+t.hold, rec.due)
		case now >= stale:
			e.silence(at, phaseOK, stale)
		default:
			e.timers.set(at, min(rec.due, stale))
		}
	case phaseFiring:
		if now >= stale {
			rec.reason = ReasonStale
			e.silence(at, t.ended(), stale)
		} else {
			e.timers.set(at, stale)
		}
	case phaseKeeping:
		if now >= rec.due {
			e.silence(at, phaseOK, rec.due)
		} else {
			e.timers.set(at, rec.due)
		}
	}
}

// silence gives an owned key the state no, since time said so, and tells the other workers. A point that
// arrived before that time is too late to change it.
func (e *Evaluator) silence(at int32, next phase, clock int64) {
	rec := e.records.at(at)
	before := rec.state
	rec.state = verdictNo
	e.turnInto(at, next, rec.eventTime+clock-rec.seen, clock)
	rec.stateArrival = max(rec.stateArrival, clock)
	if before != verdictNo {
		e.broadcast(at)
	}
}

// SetWall tells how far wall time is ahead of CLOCK_MONOTONIC, in nanoseconds: before the first point, and
// whenever it has changed.
func (e *Evaluator) SetWall(offset int64) { e.wall = offset }

// SetMaxAhead tells how far in the future the next points can lie for rules with a past, in nanoseconds:
// Config.MaxAhead is what holds before.
func (e *Evaluator) SetMaxAhead(most int64) { e.config.MaxAhead = most }

// NextTimer is when Tick has to be called next for what time alone brings, in CLOCK_MONOTONIC
// nanoseconds; the end of time if nothing waits for it.
func (e *Evaluator) NextTimer() int64 { return min(e.timers.next(), e.keyTimers.wheel.next()) }
