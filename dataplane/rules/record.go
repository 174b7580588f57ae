package rules

// never is an arrival before all others.
const never = -1 << 63

// record is the state of one key of one rule in one evaluator. At the key's owner, state is the truth; at any
// other evaluator it is what the owner was last known to hold, and local is what was last seen here.
type record struct {
	hash, check uint64

	stateArrival int64 // the arrival of the point that state comes from
	localArrival int64 // the greatest arrival of this key's points seen here; not used by the owner
	seen         int64 // the greatest arrival of which this owner heard, whatever it said
	eventTime    int64 // event time of the last point, in nanoseconds since 1970
	sent         int64 // arrival time of the point last handed over

	// Of an alert's life, at the owner.
	begun         int64 // event time at which the phase began that time ends
	due           int64 // when time ends it, CLOCK_MONOTONIC nanoseconds
	since         int64 // event time at which it began to fire
	changed       int64 // event time of the change that Transitions told last, or are to tell
	changeArrival int64 // arrival of the point that made it, or when time did

	text        ref // the key's text, then the captured values
	keyBytes    uint16
	valuesBytes uint16

	rule       uint32
	next, prev int32 // in the rule's list of records, the longest idle last; next also links free records
	queued     int32 // the next in the queue of dirty records

	used      bool // not in the list of free records
	owned     bool
	state     verdict
	local     verdict
	phase     phase
	reason    Reason
	neither   bool // the last word to the owner was neither yes nor no
	announced bool // whether Transitions last told that it fires; owner only
	forgotten bool // the owner has let go of the key: told again only with a point a second later
	dirty     dirt // what could not be said for want of room
	inQueue   bool
}

// dirt is a set of things that are still to be said.
type dirt uint8

const (
	dirtyResult   dirt = 1 << iota // the local result, to the owner
	dirtyState                     // the state, to all others
	dirtyAnnounce                  // the state, to the control plane
)

const (
	recordChunk = 1024
	none        = int32(-1)
)

// records are all records of an evaluator: a pool that grows by chunks, so that a record never moves, a
// directory of them, and per rule two lists from the latest used to the longest idle: of owned keys and of
// others'.
type records struct {
	chunks []*[recordChunk]record
	free   int32
	cut    int32 // records ever cut from chunks
	used   int

	numbers directory  // by cellHash of rule and key
	lists   []idleList // two per rule

	// Dirty records, first come first served.
	queueFirst, queueLast int32
	queueLength           int
}

type idleList struct {
	first, last int32
	length      int
}

func newRecords(rules int) records {
	return records{free: none, queueFirst: none, queueLast: none, lists: newLists(rules)}
}

func newLists(rules int) []idleList {
	lists := make([]idleList, 2*rules)
	for i := range lists {
		lists[i] = idleList{first: none, last: none}
	}
	return lists
}

func (r *records) at(i int32) *record { return &r.chunks[i/recordChunk][i%recordChunk] }

// cellHash spreads the rules of one key over the directory.
func cellHash(rule uint32, hash uint64) uint64 { return hash + uint64(rule)*0x9e3779b97f4a7c15 }

// find returns the record's number, or none.
func (r *records) find(rule uint32, hash, check uint64) int32 {
	tag := tagOf(cellHash(rule, hash))
	for b := r.numbers.first(tag); b != nil; b = r.numbers.next(b) {
		for found := b.match(tag); found != 0; found &= found - 1 {
			i := b.number(found)
			if rec := r.at(i); rec.hash == hash && rec.check == check && rec.rule == rule {
				return i
			}
		}
	}
	return none
}

// add makes an empty record.
func (r *records) add(rule uint32, hash, check uint64, owned bool) int32 {
	i := r.free
	if i != none {
		r.free = r.at(i).next
	} else {
		if int(r.cut)%recordChunk == 0 {
			r.chunks = append(r.chunks, new([recordChunk]record))
		}
		i = r.cut
		r.cut++
	}
	*r.at(i) = record{
		rule: rule, hash: hash, check: check, used: true, owned: owned,
		stateArrival: never, localArrival: never, sent: never, queued: none,
	}
	r.used++
	r.numbers.add(tagOf(cellHash(rule, hash)), i)
	r.push(i)
	return i
}

// remove takes a record out of everything. It must not be in the queue.
func (r *records) remove(i int32) {
	rec := r.at(i)
	r.unlink(i)
	r.numbers.remove(tagOf(cellHash(rec.rule, rec.hash)), i)
	rec.used = false
	rec.next = r.free
	r.free = i
	r.used--
}

func (r *records) list(rule uint32, owned bool) *idleList {
	if owned {
		return &r.lists[2*rule]
	}
	return &r.lists[2*rule+1]
}

// active is how many records a rule has.
func (r *records) active(rule uint32) int { return r.lists[2*rule].length + r.lists[2*rule+1].length }

// push puts a record at the front of its rule's list.
func (r *records) push(i int32) {
	rec := r.at(i)
	l := r.list(rec.rule, rec.owned)
	rec.prev, rec.next = none, l.first
	if l.first != none {
		r.at(l.first).prev = i
	} else {
		l.last = i
	}
	l.first = i
	l.length++
}

func (r *records) unlink(i int32) {
	rec := r.at(i)
	l := r.list(rec.rule, rec.owned)
	if rec.prev != none {
		r.at(rec.prev).next = rec.next
	} else {
		l.first = rec.next
	}
	if rec.next != none {
		r.at(rec.next).prev = rec.prev
	} else {
		l.last = rec.prev
	}
	l.length--
}

// touch makes a record the latest used of its rule.
func (r *records) touch(i int32) {
	if r.at(i).prev != none {
		r.unlink(i)
		r.push(i)
	}
}

// enqueue puts a record at the end of the queue of dirty ones.
func (r *records) enqueue(i int32, what dirt) {
	rec := r.at(i)
	rec.dirty |= what
	if rec.inQueue {
		return
	}
	rec.inQueue, rec.queued = true, none
	if r.queueLast != none {
		r.at(r.queueLast).queued = i
	} else {
		r.queueFirst = i
	}
	r.queueLast = i
	r.queueLength++
}

// dequeue takes the first dirty record, or none. Its dirt stays for the caller to see to.
func (r *records) dequeue() int32 {
	i := r.queueFirst
	if i == none {
		return none
	}
	rec := r.at(i)
	r.queueFirst = rec.queued
	if r.queueFirst == none {
		r.queueLast = none
	}
	rec.inQueue = false
	r.queueLength--
	return i
}

// recents remembers when a point of a key was last evaluated here, for keys without a record: the owner may
// just be learning from another evaluator that the key is firing, by an older point. It is a cache of sets of
// four; the oldest of a set makes room. So it covers the last recentsSize/4 keys at the very least.
type recents struct {
	sets *[recentsMask + 1][recentWays]recent
}

type recent struct {
	hash    uint64
	arrival int64
}

const (
	recentWays = 4
	// recentsSize is how many keys are remembered: 1 MiB. At five million points a second of different keys
	// that is 13 ms, a hundred times what a hand-over takes.
	recentsSize = 1 << 16
	recentsMask = recentsSize/recentWays - 1
)

func newRecents() recents { return recents{sets: new([recentsMask + 1][recentWays]recent)} }

// note remembers a point. It returns the arrival remembered before, or never.
func (r *recents) note(hash uint64, arrival int64) int64 {
	set := &r.sets[hash>>16&recentsMask]
	oldest := 0
	for i := range set {
		if set[i].hash == hash {
			before := set[i].arrival
			set[i].arrival = max(before, arrival)
			return before
		}
		if set[i].arrival < set[oldest].arrival {
			oldest = i
		}
	}
	set[oldest] = recent{hash: hash, arrival: arrival}
	return never
}

// last returns the remembered arrival of a key's last point, or never.
func (r *recents) last(hash uint64) int64 {
	set := &r.sets[hash>>16&recentsMask]
	for i := range set {
		if set[i].hash == hash {
			return set[i].arrival
		}
	}
	return never
}
