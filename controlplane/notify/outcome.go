package notify

import "time"

// settled says that a batch was delivered.
func (q *queue) settled(batch []*change, now time.Time) {
	for _, c := range batch {
		e := c.entry
		q.land(c)
		if c.refresh {
			q.counts.refreshed++
		} else {
			q.counts.delivered++
			q.counts.byRule[c.Rule]++
		}
		if !c.refresh && !c.passed {
			e.knows = knowledgeOf(c.Alert)
			e.state = nil
			if c.Firing {
				e.state = c.Alert
			}
		}
		q.repeatLater(e, now.Add(q.refresh))
		q.settleMoot(e)
		q.forget(e, c.Fingerprint)
	}
}

// repeatLater puts a firing alert into the order of refreshes, at its end: all wait equally long.
func (q *queue) repeatLater(e *entry, due time.Time) {
	q.stopRepeating(e)
	if q.refresh > 0 && e.knows == knowsFiring {
		e.repeat.due = due
		e.repeat.element = q.repeats.PushBack(e)
	}
}

// land says that a change is not under way any more.
func (q *queue) land(c *change) {
	c.entry.flying = nil
	if !c.refresh {
		q.flying--
	}
}

// refused says that the receiver will never take these.
func (q *queue) refused(batch []*change) {
	for _, c := range batch {
		q.land(c)
		e := c.entry
		if !c.refresh {
			q.counts.refused++
		}
		e.knows, e.state = unknown, nil
		q.stopRepeating(e)
		q.forget(e, c.Fingerprint)
	}
}

// failed says that a batch was not delivered, as far as is known, and is to be tried again. A receiver may
// have got it all the same, so what it knows is not known.
func (q *queue) failed(batch []*change, now time.Time) {
	q.counts.retries++
	for i := len(batch) - 1; i >= 0; i-- {
		c := batch[i]
		e := c.entry
		q.land(c)
		switch {
		case c.refresh:
			// The next batch fills up with it again; it repeats what is known.
			e.repeat.due = now
			e.repeat.element = q.repeats.PushFront(e)
		case c.passed:
			q.counts.superseded++
		case e.last != nil && (q.history == 0 || e.waits == 1 && e.last.Firing == c.Firing):
			q.counts.superseded++
			e.knows = unknown
		default:
			e.knows = unknown
			if e.last == nil {
				e.last = c
			}
			q.line(c, q.ready.PushFront(c))
		}
	}
}

// leave gives up all that waits.
func (q *queue) leave() int {
	n := q.ready.Len() + q.parked
	q.counts.left += uint64(n)
	q.ready.Init()
	for _, l := range q.lanes {
		l.parked.Init()
	}
	q.parked = 0
	return n
}

// departed notes a change that the receiver was told by another way, which comes before all that waits here.
func (q *queue) departed(a *Alert, now time.Time) {
	q.counts.offered++
	q.counts.delivered++
	q.counts.byRule[a.Rule]++
	if l := q.lanes[a.Rule]; l != nil {
		l.bucket.take(now) // It counts towards the rule's limit.
	}
	e := q.entries[a.Fingerprint]
	if e == nil {
		if !a.Firing || len(q.entries) >= q.keysMax {
			return
		}
		e = &entry{}
		q.entries[a.Fingerprint] = e
	}
	if e.last != nil { // It is the only one: this is a queue of states.
		q.counts.superseded++
		q.unlink(e.last)
		e.last = nil
	}
	if e.flying != nil {
		e.flying.passed = true
	}
	e.restored, e.knows, e.state = false, knowledgeOf(a), nil
	if a.Firing {
		e.state = a
	}
	q.forget(e, a.Fingerprint)
}
