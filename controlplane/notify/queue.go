package notify

import (
	"container/list"
	"time"
)

// knowledge is what a receiver knows of one alert.
type knowledge uint8

const (
	// unknown: nothing yet, or an attempt failed after which it may know either state.
	unknown knowledge = iota
	knowsFiring
	knowsResolved
)

func knowledgeOf(a *Alert) knowledge {
	if a.Firing {
		return knowsFiring
	}
	return knowsResolved
}

// entry is one alert as one receiver sees it. It is there from the first change that is to be delivered until
// the resolution has been, so that a resolution never lacks room.
type entry struct {
	knows  knowledge
	state  *Alert   // what knowsFiring is about
	last   *change  // the newest change that waits and is not under way; else nil
	waits  int      // how many changes wait; more than one only in a queue of history
	flying *change  // under way now; else nil
	repeat repeated // where it stands among those to be told again
	// restored says that it is from an earlier life and the rules have not spoken of it since.
	restored bool
}

// repeated is an entry's place in the order of refreshes.
type repeated struct {
	element *list.Element // nil: the receiver needs no reminding
	due     time.Time
}

// change is one delivery to be made.
type change struct {
	*Alert
	entry   *entry
	element *list.Element // nil while it is under way
	in      *list.List    // the list that holds element
	before  *change       // the alert's change before this one, if that waited when this one came
	refresh bool          // the receiver knows it and is to be told again
	sent    bool          // the hook has been told
	passed  bool          // the receiver was told a newer state meanwhile, by another way
}

// lane holds the changes of one rule that wait for the rule's limit.
type lane struct {
	bucket *bucket
	parked *list.List
}

// queue is what waits for one receiver, and what that receiver knows. It is a plain value without goroutines
// or clock: its notifier calls it with the lock held and tells the time.
//
//	offer → [lane: the rule's limit] → ready → take → deliver → settle
//
// A queue for a receiver of states (history 0) keeps the newest state of each alert. One for a receiver of
// history keeps every change while fewer than history wait, and from there on the newest of each alert too.
type queue struct {
	history int
	keysMax int
	limit   int           // of one rule and second; 0: none
	refresh time.Duration // how often a firing alert is told again; 0: never

	entries map[string]*entry
	ready   *list.List // of *change, oldest first
	lanes   map[string]*lane
	parked  int        // changes in lanes
	repeats *list.List // of *entry, the next due first
	flying  int        // changes under way, without refreshes

	counts counts
}

// counts are what became of all changes. Offered is the sum of delivered, deduplicated, superseded, refused,
// noRoom, left, and what waits.
type counts struct {
	offered, delivered, deduplicated, superseded, refused, noRoom, left uint64

	overflowed, limited, refreshed, retries uint64

	byRule map[string]uint64 // delivered
}

func newQueue(c Config, history int, refresh time.Duration) *queue {
	return &queue{
		history: history, keysMax: c.Keys, limit: c.Limit, refresh: refresh,
		entries: map[string]*entry{}, ready: list.New(), lanes: map[string]*lane{}, repeats: list.New(),
		counts: counts{byRule: map[string]uint64{}},
	}
}

// waiting is how many changes are not delivered yet.
func (q *queue) waiting() int { return q.ready.Len() + q.parked + q.flying }

// offer takes a change. It never fails: what it does not keep is counted.
func (q *queue) offer(a *Alert, now time.Time) {
	q.counts.offered++
	e := q.entries[a.Fingerprint]
	if e == nil {
		if len(q.entries) >= q.keysMax {
			q.counts.noRoom++
			return
		}
		e = &entry{}
		q.entries[a.Fingerprint] = e
	}
	e.restored = false
	if q.newest(e) == knowledgeOf(a) {
		q.counts.deduplicated++
		q.refine(e, a)
		return
	}
	full := q.waiting() >= q.history
	if q.history > 0 && full {
		q.counts.overflowed++
	}
	switch {
	case e.last == nil || !full:
		q.push(e, a, now)
	case e.waits > 1:
		// States alternate, so the change before the last waiting one says the same as this.
		last := e.last
		q.unlink(last)
		e.last = last.before
		q.counts.superseded++
		q.counts.deduplicated++
	default:
		// The last change was never under way, so nobody misses it.
		q.counts.superseded++
		e.last.Alert, e.last.sent = a, false
		q.settleMoot(e)
	}
}

// newest is the state that the receiver will know once all that waits has been delivered.
func (q *queue) newest(e *entry) knowledge {
	switch {
	case e.last != nil:
		return knowledgeOf(e.last.Alert)
	case e.flying != nil && !e.flying.refresh && !e.flying.passed:
		return knowledgeOf(e.flying.Alert)
	}
	return e.knows
}

// refine keeps the newer text of a state that is known or waits already.
func (q *queue) refine(e *entry, a *Alert) {
	if e.last != nil {
		// When it began is what the change that waits says.
		return
	}
	if e.knows == knowsFiring && a.Firing && e.flying == nil {
		e.state = a
	}
}

// push puts a change into line: at once if the rule's limit allows, else when it does.
func (q *queue) push(e *entry, a *Alert, now time.Time) {
	c := &change{Alert: a, entry: e, before: e.last}
	if c.before == nil && e.flying != nil && !e.flying.refresh {
		c.before = e.flying
	}
	e.last = c
	if q.limit > 0 {
		l := q.lanes[a.Rule]
		if l == nil {
			l = &lane{bucket: newBucket(q.limit, now), parked: list.New()}
			q.lanes[a.Rule] = l
		}
		if l.parked.Len() > 0 || !l.bucket.take(now) {
			q.counts.limited++
			q.parked++
			c.in, c.element = l.parked, l.parked.PushBack(c)
			e.waits++
			return
		}
	}
	q.line(c, q.ready.PushBack(c))
}

// line notes a change's place in the line of those that may leave.
func (q *queue) line(c *change, element *list.Element) {
	c.in, c.element = q.ready, element
	c.entry.waits++
}

// settleMoot removes an alert's waiting change if the receiver knows that state already: it went and came
// back before it could be told.
func (q *queue) settleMoot(e *entry) {
	c := e.last
	if c == nil || e.waits > 1 || e.flying != nil || e.knows != knowledgeOf(c.Alert) {
		return
	}
	q.unlink(c)
	e.last = nil
	q.counts.deduplicated++
	if c.Firing {
		e.state = c.Alert
	}
	q.forget(e, c.Fingerprint)
}

func (q *queue) unlink(c *change) {
	if c.in != q.ready {
		q.parked--
	}
	c.in.Remove(c.element)
	c.in, c.element = nil, nil
	c.entry.waits--
}

// forget drops an entry that nothing depends on.
func (q *queue) forget(e *entry, fingerprint string) {
	if e.last != nil || e.flying != nil || e.knows == knowsFiring {
		return
	}
	q.stopRepeating(e)
	delete(q.entries, fingerprint)
}

func (q *queue) stopRepeating(e *entry) {
	if e.repeat.element != nil {
		q.repeats.Remove(e.repeat.element)
		e.repeat.element = nil
	}
}

// scanMax bounds how far take looks for changes that fit into a delivery.
const scanMax = 1024

// take removes up to most changes that are deliverable now and go together, oldest first, and fills up with
// refreshes that are due. It also says when there will be more; the zero time if only an offer brings that.
func (q *queue) take(most int, together func(a, b *Alert) bool, now time.Time, refreshes bool) (
	batch []*change, next time.Time) {
	next = q.release(now)
	changesMost := most
	if refreshes && q.repeatDue(now) {
		// Changes that never end must not keep the receiver from hearing what still fires.
		changesMost = max(most*3/4, 1)
	}
	scanned := 0
	for at := q.ready.Front(); at != nil && len(batch) < changesMost && scanned < scanMax; scanned++ {
		c, following := at.Value.(*change), at.Next()
		if len(batch) == 0 || together(batch[0].Alert, c.Alert) && c.entry.flying == nil {
			q.unlink(c)
			if c.entry.last == c {
				c.entry.last = nil
			}
			c.entry.flying, c.before = c, nil
			q.flying++
			batch = append(batch, c)
		}
		at = following
	}
	for refreshes && len(batch) < most && q.repeatDue(now) {
		e := q.repeats.Front().Value.(*entry)
		q.stopRepeating(e)
		if e.flying != nil || e.last != nil || e.knows != knowsFiring {
			// Its change says more; but that may turn out to be moot.
			q.repeatLater(e, now.Add(q.refresh))
			continue
		}
		e.flying = &change{Alert: e.state, entry: e, refresh: true, sent: true}
		batch = append(batch, e.flying)
	}
	if refreshes && q.repeats.Len() > 0 {
		next = earlier(next, q.repeats.Front().Value.(*entry).repeat.due)
	}
	return batch, next
}

func (q *queue) repeatDue(now time.Time) bool {
	return q.repeats.Len() > 0 && !q.repeats.Front().Value.(*entry).repeat.due.After(now)
}

// release moves what the limits of its rules let pass into line, and says when they let the next one pass.
func (q *queue) release(now time.Time) (next time.Time) {
	if q.parked == 0 {
		return next
	}
	for _, l := range q.lanes {
		for at := l.parked.Front(); at != nil; at = l.parked.Front() {
			if !l.bucket.take(now) {
				next = earlier(next, l.bucket.next(now))
				break
			}
			c := at.Value.(*change)
			q.unlink(c)
			q.line(c, q.ready.PushBack(c))
		}
	}
	return next
}

// earlier is the earlier of two times, of which the zero time is none.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
