package rules

import "math/bits"

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
	ahead       bool // its last point lay too far in the future: its own time says nothing
}

const (
	keyChunk = 1024
	// keyBytes is what a key takes beside its memos and its text: a pastKey, and its share of the directory.
	keyBytes = 80 + 2*8
	// wordsChunk is how many words of memos are taken at once, for as many keys as have room in it: 128 KiB,
	// or one key's. For a thousand keys of long windows it would be megabytes, to be cleared at a point.
	wordsChunk = 16 << 10
	// touchEvery is how much the order of idle keys may be out, so that points of busy keys do not move them
	// in the list each time, in nanoseconds.
	touchEvery = int64(1e9)
)

// pastKeys are the keys of one cohort in one evaluator: a pool that grows by chunks, a directory of it, and a
// list from the latest used to the longest idle.
type pastKeys struct {
	chunks []*[keyChunk]pastKey
	words  [][]uint64 // of the keys, by chunks of their own
	shift  uint8      // binary logarithm of how many keys have their words in a chunk
	stride int        // words of a key
	free   int32
	cut    int32

	numbers directory
	list    idleList

	lost    int64  // when a key was last let go; keys that come later may be old ones
	evicted uint64 // keys that were let go for want of room
	late    uint64 // values that were too late for their window
	ahead   uint64 // points too far in the future
	tooLong uint64 // points whose key is longer than KeyMax
	refused uint64 // points that found no room on their way to the owner
}

func newPastKeys(words int) pastKeys {
	fit := uint(min(keyChunk, wordsChunk/max(words, 1)))
	return pastKeys{
		stride: words, shift: uint8(max(bits.Len(fit), 1) - 1), free: none,
		list: idleList{first: none, last: none}, lost: never,
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
	at := int(uint32(i)&(1<<(k.shift&31)-1)) * k.stride
	return k.words[uint32(i)>>(k.shift&31)][at : at+k.stride]
}

// find returns the key's number, or none.
func (k *pastKeys) find(hash, check uint64) int32 {
	tag := tagOf(hash)
	for b := k.numbers.first(tag); b != nil; b = k.numbers.next(b) {
		for found := b.match(tag); found != 0; found &= found - 1 {
			i := b.number(found)
			if key := k.at(i); key.check == check && key.hash == hash {
				return i
			}
		}
	}
	return none
}

// add makes a key that nothing is known of.
func (k *pastKeys) add(hash, check uint64) int32 {
	i := k.free
	if i != none {
		k.free = k.at(i).next
	} else {
		if k.cut%keyChunk == 0 {
			k.chunks = append(k.chunks, new([keyChunk]pastKey))
		}
		if uint32(k.cut)&(1<<k.shift-1) == 0 {
			k.words = append(k.words, make([]uint64, k.stride<<k.shift))
		}
		i = k.cut
		k.cut++
	}
	*k.at(i) = pastKey{hash: hash, check: check, used: true, timer: none, seen: never, newest: never,
		hole: never}
	clear(k.memory(i))
	k.list.length++
	k.numbers.add(tagOf(hash), i)
	k.push(i)
	return i
}

// remove takes a key out of everything but the timers.
func (k *pastKeys) remove(i int32) {
	key := k.at(i)
	k.unlink(i)
	k.list.length--
	k.numbers.remove(tagOf(key.hash), i)
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
	owners []*[timerChunk]timerOwner // by the timer's number
	cut    int32                     // numbers ever given
	free   int32                     // first free number plus one, whose owner's key links the next; or 0
}

type timerOwner struct {
	cohort uint16 // or ownerFree
	key    int32
}

// ownerFree marks a number that is free: no cohort has it.
const ownerFree = 1<<16 - 1

func (t *keyTimers) owner(timer int32) *timerOwner {
	return &t.owners[uint32(timer)/timerChunk][uint32(timer)%timerChunk]
}

// set gives a key a timer that goes off at a time, if it has none that does so earlier.
func (t *keyTimers) set(cohort uint16, i int32, key *pastKey, at int64) {
	if key.timer == none {
		if t.free != 0 {
			key.timer = t.free - 1
			t.free = t.owner(key.timer).key
		} else {
			if t.cut%timerChunk == 0 {
				t.owners = append(t.owners, new([timerChunk]timerOwner))
			}
			key.timer = t.cut
			t.cut++
		}
		*t.owner(key.timer) = timerOwner{cohort: cohort, key: i}
	}
	if !t.wheel.isSet(key.timer) || t.wheel.deadline(key.timer) > at {
		t.wheel.set(key.timer, at)
	}
}

// drop takes a key's timer away.
func (t *keyTimers) drop(key *pastKey) {
	if key.timer != none {
		t.wheel.cancel(key.timer)
		*t.owner(key.timer) = timerOwner{cohort: ownerFree, key: t.free}
		t.free = key.timer + 1
		key.timer = none
	}
}
