package dataplane

// kept is a record that no disk took.
type kept struct {
	body   []byte
	points int
	tenant int   // its place among the shares
	oldest int64 // arrival of its oldest point, nanoseconds since 1970
	worker uint16
	number uint64
	since  int64 // when it was kept, CLOCK_MONOTONIC nanoseconds
	trace  TraceOf
	bad    int // how often it was sent in vain while others were delivered
}

// memoryQueue is the last tier: records in memory, oldest first, bounded in bytes and in age.
type memoryQueue struct {
	records []kept
	bytes   int64 // of these and of those that were taken and neither settled nor put back
	points  int
	max     int64 // bytes
	ttl     int64 // nanoseconds
}

// push keeps a record and reports whether there was room.
func (q *memoryQueue) push(k kept) bool {
	if q.bytes+int64(len(k.body)) > q.max {
		return false
	}
	q.records = append(q.records, k)
	q.bytes += int64(len(k.body))
	q.points += k.points
	return true
}

// pop takes the oldest record. Its room stays taken until it is settled or put back.
func (q *memoryQueue) pop() (kept, bool) {
	if len(q.records) == 0 {
		return kept{}, false
	}
	k := q.records[0]
	q.records[0] = kept{} // the body is to be collected although the array stays
	q.records = q.records[1:]
	return k, true
}

// settle gives up the room of a record that was popped.
func (q *memoryQueue) settle(k *kept) {
	q.bytes -= int64(len(k.body))
	q.points -= k.points
}

// advance gives up the room of the beginning of a record that was popped.
func (q *memoryQueue) advance(k *kept, bytes, points int) {
	k.body, k.points = k.body[bytes:], k.points-points
	q.bytes -= int64(bytes)
	q.points -= points
}

// putBack makes a record that was popped the oldest again.
func (q *memoryQueue) putBack(k kept) { q.records = append([]kept{k}, q.records...) }

// expire takes out a record that is too old.
func (q *memoryQueue) expire(now int64) (k kept, ok bool) {
	if len(q.records) == 0 || now-q.records[0].since <= q.ttl {
		return kept{}, false
	}
	k, _ = q.pop()
	q.settle(&k)
	return k, true
}

// nextExpiry is when the oldest record expires; only with records.
func (q *memoryQueue) nextExpiry() int64 { return q.records[0].since + q.ttl + 1 }
