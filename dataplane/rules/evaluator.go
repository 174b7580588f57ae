package rules

import (
	"slices"

	"culvert/dataplane/point"
)

// Config says which of several workers an Evaluator belongs to.
type Config struct {
	Worker  int // its place among the workers of the process
	Workers int
	// Owners is how many of the workers hold states: those from 0 to Owners−1. The others only hand over.
	Owners int
	// Seed keys the hash of keys: secret, and the same for all workers of a process.
	Seed [2]uint64
	// KeysMax is how many keys a rule can have firing, or a past, over all owners.
	KeysMax int
	// MaxAhead is how far in the future a point can lie for rules with a past, in nanoseconds (optional; 0
	// means a minute).
	MaxAhead int64
}

const (
	// outboxSize is how many hand-overs wait for room in the ring to one peer.
	outboxSize = 256
	// transitionsMax is how many state changes wait for the control plane.
	transitionsMax = 256
	// dirtyPerTurn bounds how many dirty keys one Tick tries.
	dirtyPerTurn = 64
	// remindEvery is how often an owner says again that a key is firing, in nanoseconds; remindPerTurn bounds
	// how many records it looks at in one turn, so that the outboxes keep room for news.
	remindEvery   = int64(10e9)
	remindPerTurn = 128
	// planCacheSets of four names each remember which rules a measurement matches by patterns.
	planCacheSets = 1024
	// patternPlansMax bounds the plans of measurements that match by patterns only.
	patternPlansMax = 1024
)

// RuleStats is what one evaluator counted for one rule since it was made; Firing is now.
type RuleStats struct {
	Firing      int    // keys that this evaluator owns and that are firing
	Pending     int    // keys whose condition holds, but not yet for long enough
	Transitions uint64 // changes of state
	Derived     uint64 // points that a record made
	Filtered    uint64 // points that a filter dropped
	Evicted     uint64 // keys that were let go, or not taken, for want of room
	TooLong     uint64 // points that would have fired, but whose key is longer than KeyMax
	// Of rules that look at the past, together with others of the same group, measurements and keys:
	Keys   int    // that are remembered
	Late   uint64 // values too late for their window
	Ahead  uint64 // points too far in the future
	Missed uint64 // points that found no room on their way to the key's owner
}

// Evaluator evaluates the rules of a Set on one worker's points and keeps the states of the keys it owns. It
// belongs to that worker's thread.
type Evaluator struct {
	set        *Set
	config     Config
	machine    machine
	seeds      *seeds
	arrival    int64       // of the point at hand
	aloneNow   bool        // what SetAlone said last
	late       bool        // its key has a newer point
	wall       int64       // wall time − CLOCK_MONOTONIC, nanoseconds
	started    int64       // the first arrival, never before it
	handed     point.Point // a point that another worker handed over
	saving     saving      // a checkpoint that is being written
	succession *succession // until it has taken over from another; nil for one that does not
	pastKey    *pastKey    // the key at hand, if it has a past
	pastText   []byte      // the text of the key at hand, if it was worked out before
	noGuesses  []uint8

	// The measurement of the last point and its plan, since points of one measurement come in a row.
	lastName            []byte
	lastPlace           textPlace
	lastPlan            *plan // nil: no rule is for the measurement
	lastGuess           []uint8
	nameHash, nameCheck uint64
	planCache           [][4]cachedPlan
	planCacheNext       uint8
	plans               []*plan   // the Set's, then those of patterns
	guesses             [][]uint8 // by plan
	matching            []uint32  // room for planOf

	keys      []key // by shape
	records   records
	timers    wheel // of records, by their index
	recents   recents
	pasts     []pastKeys // by cohort
	keyTimers keyTimers
	texts     arena
	ownMax    int // records per rule
	foreign   int

	reminded   int64 // when records were last reminded of
	remindDue  int64 // records to look at, times remindEvery
	remindNext int32

	outboxes    []queue[Handover] // by worker
	transitions queue[Transition]
	derived     queue[Derived]
	groups      []lateness
	stats       []RuleStats
}

// cachedPlan is what a measurement that no rule names came to: −1 for no rule.
type cachedPlan struct {
	hash, check uint64
	plan        int32
}

// NewEvaluator makes the evaluator of one worker. Memory for states is taken as keys begin to fire, up to
// KeysMax; evaluating a point takes none.
func NewEvaluator(set *Set, config Config) *Evaluator {
	e := newEvaluator(set, config)
	e.openRooms()
	return e
}

// openRooms makes the rooms that an evaluator has whatever its rules are: what waits to be handed on, and
// caches.
func (e *Evaluator) openRooms() {
	workers := e.config.Workers
	e.planCache = make([][4]cachedPlan, planCacheSets)
	e.outboxes, e.transitions = make([]queue[Handover], workers), newQueue[Transition](transitionsMax)
	e.derived = newQueue[Derived](derivedMax)
	if workers == 1 {
		return
	}
	e.recents = newRecents()
	for i := range e.outboxes {
		if i != e.config.Worker {
			e.outboxes[i] = newQueue[Handover](outboxSize)
		}
	}
}

// newEvaluator makes the parts of an evaluator that its rules decide.
func newEvaluator(set *Set, config Config) *Evaluator {
	config.Workers = max(config.Workers, 1)
	if config.Owners <= 0 || config.Owners > config.Workers {
		config.Owners = config.Workers
	}
	if config.KeysMax <= 0 {
		config.KeysMax = keysDefault
	}
	e := &Evaluator{
		set: set, config: config, seeds: newSeeds(config.Seed), started: never,
		records: newRecords(len(set.rules)), keys: make([]key, len(set.shapes)),
		stats: make([]RuleStats, len(set.rules)),
		// Keys are dealt out by their hash. Others' keys are at most as many as all owners hold, and twice
		// that leaves room for what is on its way.
		ownMax: (config.KeysMax + config.Owners - 1) / config.Owners, foreign: 2 * config.KeysMax,
	}
	if e.config.MaxAhead <= 0 {
		e.config.MaxAhead = aheadDefault
	}
	e.machine = machine{
		set: set, slots: make([]slot, len(set.slots)), shared: make([]slot, set.shared),
		favourite: make([]uint8, len(set.rules)),
	}
	e.openPasts()
	for i := range set.plans {
		e.addPlan(&set.plans[i])
	}
	return e
}

// keysDefault is the bound where the configuration gives none.
const keysDefault = 100_000

func (e *Evaluator) addPlan(p *plan) int32 {
	guess := make([]uint8, len(e.set.slots))
	for i := range guess {
		guess[i] = noGuess
	}
	e.plans, e.guesses = append(e.plans, p), append(e.guesses, guess)
	return int32(len(e.plans) - 1)
}

// Eval evaluates all rules of the point's measurement, once per point, and tells whether the point may go on:
// it is false for one that a filter drops, which no other rule sees. arrival is when the packet came, in
// CLOCK_MONOTONIC nanoseconds. The point is only read.
func (e *Evaluator) Eval(p *point.Point, arrival int64) bool {
	if !e.isLast(p) {
		e.turnTo(p.Bytes(p.Measurement))
	}
	plan, m := e.lastPlan, &e.machine
	if plan == nil {
		return true
	}
	m.mark += markStep
	if m.point != p {
		// Else they are as the last point left them, which saves two write barriers.
		m.point, m.guess = p, e.lastGuess
	}
	e.arrival = arrival
	if e.started == never {
		e.started = arrival
	}
	if len(plan.filters) > 0 && !e.passes(plan) {
		return false
	}
	e.evalPlan(plan)
	for _, c := range plan.cohorts {
		e.meet(c)
	}
	return true
}

// isLast tells whether the point's measurement is that of the last point. It may be false although it is.
func (e *Evaluator) isLast(p *point.Point) bool {
	if e.lastPlace.isAt(p.Measurement, p.PayloadBytes) {
		return true
	}
	return len(e.lastName) > spellingShort && string(p.Bytes(p.Measurement)) == string(e.lastName)
}

// turnTo takes up the plan of another measurement.
func (e *Evaluator) turnTo(name []byte) {
	number := e.planOf(name)
	e.lastName = append(e.lastName[:0], name...)
	e.lastPlace = newTextPlace(name)
	if e.lastPlan = nil; number >= 0 {
		e.lastPlan, e.lastGuess = e.plans[number], e.guesses[number]
		e.machine.guess = e.lastGuess
	}
}

// evalPlan evaluates the rules of a plan that are to see the point at hand.
func (e *Evaluator) evalPlan(plan *plan) {
	m, notes := &e.machine, e.notes()
	if notes {
		for _, shape := range plan.shapes {
			e.key(shape)
		}
	}
	// Most rules are false, have no record and need no note, and all that is left of them is a glance.
	noneActive := e.records.used == 0
	if n, sure := m.exclude(plan.always); n < len(plan.always) || !noneActive {
		// What notes remember of these is remembered already.
		e.evalSteps(plan.always, n, sure, false)
	}
	for i := range plan.selects {
		s := &plan.selects[i]
		at := m.choose(s)
		if at < 0 {
			continue
		}
		if n, sure := m.exclude(s.rules[at]); n < len(s.rules[at]) || !noneActive || notes {
			e.evalSteps(s.rules[at], n, sure, notes)
		}
	}
	if len(plan.loose) > 0 && (notes || e.records.used > 0) {
		e.judgeLoose(plan)
	}
}

// evalSteps evaluates rules on the point at hand, of which a glance has excluded the first ones. sure tells
// that the next one is true. With notes, the key's last point is to be remembered for each that is false.
func (e *Evaluator) evalSteps(steps []step, excluded int, sure, notes bool) {
	for {
		for i := range steps[:excluded] {
			e.conclude(&steps[i], false, notes)
		}
		if excluded == len(steps) {
			return
		}
		e.conclude(&steps[excluded], sure || e.machine.run(steps[excluded].code), notes)
		steps = steps[excluded+1:]
		excluded, sure = e.machine.exclude(steps)
	}
}

// conclude acts on a rule's result, where it makes a difference.
func (e *Evaluator) conclude(s *step, yes, notes bool) {
	if yes || !s.quiet || notes || e.records.active(s.rule) > 0 {
		e.judge(s.rule, yes)
	}
}

// SetAlone tells whether all points come to this evaluator for now, although there are others: then nobody
// can hand over a result that is older than what was seen here, and to remember the time of each key's last
// point, most of the cost of rules that do not fire, would be in vain. Whoever calls it sees to it that a
// point which another evaluator gets arrives later than all that came while this one was alone.
func (e *Evaluator) SetAlone(alone bool) { e.aloneNow = alone }

// notes tells whether the time of a key's last point is to be remembered although its rules say no.
func (e *Evaluator) notes() bool { return e.config.Workers > 1 && !e.aloneNow }

// judgeLoose gives the rules that were not chosen their result, where it makes a difference.
func (e *Evaluator) judgeLoose(p *plan) {
	if e.notes() {
		for _, shape := range p.looseShapes {
			e.key(shape)
		}
	}
	for _, r := range p.loose {
		// Chosen rules were judged before and are judged again with the same result: that changes nothing.
		if e.records.active(r) > 0 {
			e.judge(r, e.machine.run(e.set.rules[r].code))
		}
	}
}

// judge acts on what a rule's condition came to for the point at hand.
func (e *Evaluator) judge(r uint32, result bool) {
	rule := &e.set.rules[r]
	if rule.past {
		e.judgePast(r, result)
		return
	}
	latches := rule.clear != nil && e.config.Workers > 1
	if !result && e.records.active(r) == 0 && !latches {
		if e.notes() {
			e.key(rule.shape)
		}
		return
	}
	k := e.key(e.set.rules[r].shape)
	if k.tooLong {
		if result {
			e.stats[r].TooLong++
		}
		return
	}
	at := e.records.find(r, k.hash, k.check)
	v := e.verdictOf(r, result)
	late := k.late
	if latches {
		late = e.noteNo(r, k.hash, v)
	}
	if at == none && (!result || late) {
		return
	}
	if k.owner == e.config.Worker {
		e.own(r, at, k, v)
	} else {
		e.report(r, at, k, v)
	}
}

// planOf finds the plan for a measurement, −1 for none, and keeps its name's hash.
func (e *Evaluator) planOf(name []byte) int32 {
	e.nameHash, e.nameCheck = e.seeds.sum(name)
	if at := e.set.measurements.find(name); at >= 0 {
		return int32(at)
	}
	if len(e.set.globs) == 0 {
		return -1
	}
	set := &e.planCache[e.nameHash%planCacheSets]
	for i := range set {
		if set[i].hash == e.nameHash && set[i].check == e.nameCheck {
			return set[i].plan
		}
	}
	e.planCacheNext++
	c := &set[e.planCacheNext&3]
	*c = cachedPlan{hash: e.nameHash, check: e.nameCheck, plan: e.patternPlan(name)}
	return c.plan
}

// patternPlan finds or makes the plan of a measurement that only patterns match. Names that match the same
// patterns share one.
func (e *Evaluator) patternPlan(name []byte) int32 {
	e.matching = e.matching[:0]
	for i := range e.set.globs {
		g := &e.set.globs[i]
		// Globs stand in the order of their rules, so two of one rule are neighbours.
		if n := len(e.matching); (n == 0 || e.matching[n-1] != g.rule) && matchGlob(g.pattern, name) {
			e.matching = append(e.matching, g.rule)
		}
	}
	if len(e.matching) == 0 {
		return -1
	}
	static := len(e.set.plans)
	for i := static; i < len(e.plans); i++ {
		if slices.Equal(e.plans[i].members, e.matching) {
			return int32(i)
		}
	}
	if len(e.plans)-static >= patternPlansMax {
		e.plans, e.guesses = e.plans[:static], e.guesses[:static]
		clear(e.planCache)
	}
	p := e.set.newPlan(slices.Clone(e.matching))
	return e.addPlan(&p)
}

// Stats writes what was counted for each rule, in the order of Set.Rules.
func (e *Evaluator) Stats(into []RuleStats) {
	copy(into, e.stats)
	for i := range into[:min(len(into), len(e.set.rules))] {
		if r := &e.set.rules[i]; r.past {
			keys := &e.pasts[r.cohort]
			into[i].Keys = keys.list.length
			into[i].Late, into[i].Ahead, into[i].Missed = keys.late, keys.ahead, keys.refused
			into[i].Evicted += keys.evicted
			into[i].TooLong += keys.tooLong
		}
	}
}

// openPasts makes what cohorts need.
func (e *Evaluator) openPasts() {
	width := 0
	for i := range e.set.cohorts {
		c := &e.set.cohorts[i]
		e.pasts = append(e.pasts, newPastKeys(c.words))
		for m := range c.memos {
			width = max(width, c.memos[m].window.width)
		}
	}
	for _, g := range e.set.groups {
		e.groups = append(e.groups, lateness{minimum: g.lateness})
	}
	e.machine.past.scratch = make([]uint64, width)
	e.noGuesses = make([]uint8, len(e.set.slots))
	for i := range e.noGuesses {
		e.noGuesses[i] = noGuess
	}
}

// queue holds what waits to be taken, oldest first, in one piece of memory.
type queue[T any] struct {
	slots       []T
	first, last int
}

func newQueue[T any](size int) queue[T] { return queue[T]{slots: make([]T, size)} }

func (q *queue[T]) waiting() []T { return q.slots[q.first:q.last] }

// room tells whether add will give a slot. What waits is moved to the front only when that frees half of the
// slots, so that a queue that is nearly full doesn't move it for each one.
func (q *queue[T]) room() bool { return q.last < len(q.slots) || 2*q.first >= len(q.slots) }

// add returns the next slot to be filled, or nil.
func (q *queue[T]) add() *T {
	if !q.room() {
		return nil
	}
	if q.last == len(q.slots) {
		q.last = copy(q.slots, q.slots[q.first:q.last])
		q.first = 0
	}
	q.last++
	return &q.slots[q.last-1]
}

func (q *queue[T]) taken(n int) {
	q.first += n
	if q.first == q.last {
		q.first, q.last = 0, 0
	}
}
