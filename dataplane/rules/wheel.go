package rules

import "math/bits"

// wheel is a hierarchical time wheel: it holds timers and gives back those that are due, in the order of
// their deadlines. Level 0 has a slot for each nanosecond of the 64 around now, level 1 one for each 64
// nanoseconds, and so on up to the whole range of time:
//
//	level 2   │ 64×64 ns │ … │   A timer lies on the level of the highest digit, to the base of 64, in
//	level 1   │ 64 ns │ …        which its deadline differs from now, in the slot of that digit. When time
//	level 0   │ns│ns│…           comes to a slot, its timers move down, until level 0 fires them.
//
// Setting, cancelling and firing are O(1), nothing is ever scanned, and no deadline is rounded. A timer is
// named by a small number that its owner gives, such as the index of a record; memory is 24 bytes for each
// number up to the highest. A wheel belongs to one thread.
type wheel struct {
	now    uint64 // all deadlines up to here have fired, or lie in the slot of now
	first  [wheelLevels][wheelSlots]int32
	used   [wheelLevels]uint64  // which slots hold timers
	timers []*[timerChunk]timer // a chunk at a time, so that no point waits for many to be copied
	length int
}

const (
	wheelBits   = 6
	wheelSlots  = 1 << wheelBits
	wheelLevels = (64 + wheelBits - 1) / wheelBits
	timerChunk  = 1024
)

// timer is one timer of a wheel. In the list of its slot the next of the last is none, and prev of the first.
type timer struct {
	at         uint64
	next, prev int32
	place      uint16 // level and slot, plus 1; 0: not set
}

// wheelTime keeps the order of all int64: those below zero come first.
func wheelTime(at int64) uint64 { return uint64(at) ^ 1<<63 }

func (w *wheel) at(id int32) *timer { return &w.timers[uint32(id)/timerChunk][uint32(id)%timerChunk] }

// set gives a timer a deadline, in place of the one that it had. A deadline that has passed is due at once.
func (w *wheel) set(id int32, at int64) {
	for int(id) >= len(w.timers)*timerChunk {
		w.timers = append(w.timers, new([timerChunk]timer))
	}
	w.cancel(id)
	w.at(id).at = wheelTime(at)
	w.place(id)
	w.length++
}

// place puts a timer into the list of the slot of its deadline as seen from now.
func (w *wheel) place(id int32) {
	t := w.at(id)
	at := max(t.at, w.now)
	level := max(bits.Len64(at^w.now)-1, 0) / wheelBits
	slot := at >> (level * wheelBits) & (wheelSlots - 1)
	t.place = uint16(level*wheelSlots+int(slot)) + 1
	t.prev, t.next = none, none
	if w.used[level]>>slot&1 == 1 {
		t.next = w.first[level][slot]
		w.at(t.next).prev = id
	}
	w.first[level][slot] = id
	w.used[level] |= 1 << slot
}

// cancel takes a timer's deadline away, if it has one.
func (w *wheel) cancel(id int32) {
	if !w.isSet(id) {
		return
	}
	t := w.at(id)
	level, slot := int(t.place-1)/wheelSlots, int(t.place-1)%wheelSlots
	if t.next != none {
		w.at(t.next).prev = t.prev
	}
	switch {
	case t.prev != none:
		w.at(t.prev).next = t.next
	case t.next != none:
		w.first[level][slot] = t.next
	default:
		w.used[level] &^= 1 << slot
	}
	t.place = 0
	w.length--
}

func (w *wheel) isSet(id int32) bool {
	return int(id) < len(w.timers)*timerChunk && w.at(id).place != 0
}

// deadline is when a timer that is set is due.
func (w *wheel) deadline(id int32) int64 { return int64(w.at(id).at ^ 1<<63) }

// next is a time before which no timer is due, or the end of time. It is the time to wake up: when it has
// come, a call of expire either finds a timer or moves this time on.
func (w *wheel) next() int64 {
	level, start := w.earliest()
	if level == wheelLevels {
		return forever
	}
	return int64(start ^ 1<<63)
}

// forever is the end of time.
const forever = 1<<63 - 1

// earliest finds the first slot that holds timers and its start. All timers of a level are due before those
// of the levels above it, since they share more of their digits with now.
func (w *wheel) earliest() (level int, start uint64) {
	for level = range wheelLevels {
		if w.used[level] != 0 {
			slot := uint64(bits.TrailingZeros64(w.used[level]))
			shift := level * wheelBits
			// A shift by all 64 bits gives zero, as is wanted for the top level.
			return level, w.now>>(shift+wheelBits)<<(shift+wheelBits) | slot<<shift
		}
	}
	return wheelLevels, 0
}

// expire takes the earliest timer that is due at a time and returns it, or none when all have been taken.
// Time does not go back.
func (w *wheel) expire(to int64) int32 {
	limit := max(wheelTime(to), w.now)
	for {
		level, start := w.earliest()
		if level == wheelLevels || start > limit {
			w.now = limit
			return none
		}
		w.now = max(w.now, start)
		slot := start >> (level * wheelBits) & (wheelSlots - 1)
		id := w.first[level][slot]
		if level == 0 {
			w.cancel(id)
			return id
		}
		w.used[level] &^= 1 << slot
		for id != none {
			next := w.at(id).next
			w.place(id)
			id = next
		}
	}
}
