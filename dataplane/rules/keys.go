package rules

// pastKey is what one evaluator knows of a key of a cohort, beside the words of its memos.
type pastKey struct {
	hash, check uint64
	seen        int64 // the greatest arrival of its points, CLOCK_MONOTONIC nanoseconds
	newest      int64 // the greatest event time of its points
	from        int64 // event time from which on all of its points were seen
	hole        int64 // event time up to which points may be missing, since the gateway was away; or never
	touched     int64 // when it was put to the front of the list

	text        ref // the key's text, then the values that absent alerts show
	keyBytes    uint16
	valuesBytes uint16
	next, prev  int32 // in the list, the longest idle last; next also links free ones
	timer       int32 // its timer's number; none until it needs one
	used        bool
	silent      bool // an absent alert is firing, or was not told of points yet
}

const (
	keyChunk = 1024
	// keyBytes is what a key takes beside its memos and its text: a pastKey, and its share of the cells.
	keyBytes = 80 + 2*8
	// touchEvery is how much the order of idle keys may be out, so that points of busy keys do not move them
	// in the list each time, in nanoseconds.
	touchEvery = int64(1e9)
)

// pastKeys are the keys of one cohort in one evaluator: a pool that grows by chunks, a hash table over
// it, and a list from the latest used to the longest idle.
type pastKeys struct {
	chunks []*[keyChunk]pastKey
	words  [][]uint64 // of the keys of each chunk
	stride int        // words of a key
	free   int32
	cut    int32

	// Open addressing, at most three quarters full. A cell is the upper half of a hash and, in its lower
	// half, the key's number plus one: half of a record's cell, so that the table of many keys stays in
	// the cache.
	cells []uint64
	list  idleList

	lost    int64  // when a key was last let go; keys that come later may be old ones
	evicted uint64 // keys that were let go for want of room
	late    uint64 // values that were too late for their window
	ahead   uint64 // points too far in the future
	tooLong uint64 // points whose key is longer than KeyMax
	refused uint64 // points that found no room on their way to the owner
}

func newPastKeys(words int) pastKeys {
	return pastKeys{
		stride: words, free: none, cells: make([]uint64, 64), list: idleList{first: none, last: none},
		lost: never,
	}
}

// countOn begins with the counts of an earlier life.
func (k *pastKeys) countOn(before *pastKeys) {
	k.evicted, k.late, k.ahead = before.evicted, before.late, before.ahead
	k.tooLong, k.refused = before.tooLong, before.refused
}

func (k *pastKeys) at(i int32) *pastKey { return &k.chunks[uint32(i)/keyChunk][uint32(i)%keyChunk] }

// memory is the words of a key's memos.
func (k *pastKeys) memory(i int32) []uint64 {
	at := int(uint32(i)%keyChunk) * k.stride
	return k.words[uint32(i)/keyChunk][at : at+k.stride]
}

// find returns the key's number, or none.
func (k *pastKeys) find(hash, check uint64) int32 {
	mask := uint64(len(k.cells) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		c := k.cells[at]
		if c == 0 {
			return none
		}
		if c>>32 == hash>>32 {
			if key := k.at(int32(uint32(c)) - 1); key.check == check && key.hash == hash {
				return int32(uint32(c)) - 1
			}
		}
	}
}

// add makes a key that nothing is known of.
func (k *pastKeys) add(hash, check uint64) int32 {
	i := k.free
	if i != none {
		k.free = k.at(i).next
	} else {
		if k.cut%keyChunk == 0 {
			k.chunks = append(k.chunks, new([keyChunk]pastKey))
			k.words = append(k.words, make([]uint64, keyChunk*k.stride))
		}
		i = k.cut
		k.cut++
	}
	*k.at(i) = pastKey{hash: hash, check: check, used: true, timer: none, seen: never, newest: never,
		hole: never}
	clear(k.memory(i))
	if k.list.length++; 4*k.list.length > 3*len(k.cells) {
		old := k.cells
		k.cells = make([]uint64, 2*len(old))
		for _, c := range old {
			if c != 0 {
				n := int32(uint32(c)) - 1
				k.place(k.at(n).hash, n)
			}
		}
	}
	k.place(hash, i)
	k.push(i)
	return i
}

func (k *pastKeys) place(hash uint64, i int32) {
	mask := uint64(len(k.cells) - 1)
	at := hash & mask
	for k.cells[at] != 0 {
		at = (at + 1) & mask
	}
	k.cells[at] = hash>>32<<32 | uint64(uint32(i)+1)
}

// remove takes a key out of everything but the timers.
func (k *pastKeys) remove(i int32) {
	key := k.at(i)
	k.unlink(i)
	k.list.length--
	mask := uint64(len(k.cells) - 1)
	at := key.hash & mask
	for uint32(k.cells[at]) != uint32(i)+1 {
		at = (at + 1) & mask
	}
	// As in records.remove: cells behind the gap move up if it lies between their home and them.
	for next := (at + 1) & mask; k.cells[next] != 0; next = (next + 1) & mask {
		home := k.at(int32(uint32(k.cells[next]))-1).hash & mask
		if (next-home)&mask >= (next-at)&mask {
			k.cells[at] = k.cells[next]
			at = next
		}
	}
	k.cells[at] = 0
	key.used = false
	key.next = k.free
	k.free = i
}

func (k *pastKeys) push(i int32) {
	key := k.at(i)
	key.prev, key.next = none, k.list.first
	if k.list.first != none {
		k.at(k.list.first).prev = i
	} else {
		k.list.last = i
	}
	k.list.first = i
}

func (k *pastKeys) unlink(i int32) {
	key := k.at(i)
	if key.prev != none {
		k.at(key.prev).next = key.next
	} else {
		k.list.first = key.next
	}
	if key.next != none {
		k.at(key.next).prev = key.prev
	} else {
		k.list.last = key.prev
	}
}

// touch notes a point of a key.
func (k *pastKeys) touch(i int32, arrival int64) {
	key := k.at(i)
	key.seen = max(key.seen, arrival)
	if arrival-key.touched >= touchEvery || key.touched > arrival {
		key.touched = arrival
		if key.prev != none {
			k.unlink(i)
			k.push(i)
		}
	}
}

// keyTimers are the timers of all keys of all cohorts.
type keyTimers struct {
	wheel  wheel
	owners []timerOwner // by the timer's number
	free   []int32
}

type timerOwner struct {
	cohort uint16
	key    int32
}

// set gives a key a timer that goes off at a time, if it has none that does so earlier.
func (t *keyTimers) set(cohort uint16, i int32, key *pastKey, at int64) {
	if key.timer == none {
		if n := len(t.free); n > 0 {
			key.timer = t.free[n-1]
			t.free = t.free[:n-1]
		} else {
			key.timer = int32(len(t.owners))
			t.owners = append(t.owners, timerOwner{})
		}
		t.owners[key.timer] = timerOwner{cohort: cohort, key: i}
	}
	if !t.wheel.isSet(key.timer) || t.wheel.deadline(key.timer) > at {
		t.wheel.set(key.timer, at)
	}
}

// drop takes a key's timer away.
func (t *keyTimers) drop(key *pastKey) {
	if key.timer != none {
		t.wheel.cancel(key.timer)
		t.free = append(t.free, key.timer)
		key.timer = none
	}
}
