package influx

import "fmt"

const (
	// runGap is how far apart in nanoseconds two arrivals may lie to count as one: finer than any latency
	// that is shown, coarse enough that the packets of one turn make one run.
	runGap = 4_000
	// runsMax bounds the runs of a batch; further arrivals count into the last run.
	runsMax = 2048
)

// state is where a batch is in its life.
type state uint8

const (
	stateFree     state = iota
	stateOpen           // the worker appends
	stateSealed         // the bytes never change again
	stateInFlight       // the writer's
	stateSettled        // its outcome is known
	stateHeld           // released, but the kernel still holds its bytes
)

var stateNames = [...]string{"free", "open", "sealed", "in flight", "settled", "held"}

func (s state) String() string { return stateNames[s] }

// Run is a number of points that arrived at about the same time.
type Run struct {
	// Arrival is when the first of them arrived, Taken when its owner took it up, CLOCK_MONOTONIC
	// nanoseconds.
	Arrival, Taken int64
	// Count is how many points they are.
	Count int
}

// Batch is the body of one write request. It belongs to the worker from Take to Submit and from Outcome to
// Release, to the writer in between.
type Batch struct {
	// Mark is the owner's from Take to Release and means nothing here; Take sets it to 0.
	Mark uint64

	pool     *Pool
	memory   []byte // all of its bytes; its capacity ends where the next batch begins
	used     int
	points   int
	runs     []Run
	opened   int64
	sealedAt int64
	state    state
	refs     int // attempts whose operations or notifications are outstanding
	delivery delivery
	trace    *Trace // nil for most
	sections []section
	// Owner is the caller's: whose points these are. Take sets it to 0.
	Owner int
	// Taken is the caller's, too: when it took up the points that Extend appends next.
	Taken int64
}

// move is the only place where a batch changes its state.
func (b *Batch) move(from, to state) {
	if b.state != from {
		panic(fmt.Sprintf("BUG: a batch goes from %s to %s but is %s", from, to, b.state))
	}
	b.state = to
}

// Body is what was appended so far. Its capacity ends with the batch: what is appended to it beyond Room goes
// elsewhere, and Extend tells.
func (b *Batch) Body() []byte { return b.memory[:b.used] }

// Extend takes over body, which is Body with the lines of so many points appended, each ended by a line feed.
// arrival is when they arrived, CLOCK_MONOTONIC nanoseconds.
func (b *Batch) Extend(body []byte, points int, arrival int64) {
	if b.state != stateOpen || len(body) < b.used || cap(body) != cap(b.memory) {
		panic(fmt.Sprintf("BUG: extend a batch that is %s from %d to %d bytes, capacity %d of %d",
			b.state, b.used, len(body), cap(body), cap(b.memory)))
	}
	if b.points == 0 {
		b.opened = arrival
	}
	b.used = len(body)
	b.points += points
	b.pool.held += points
	if n := len(b.runs); n > 0 {
		last := &b.runs[n-1]
		if gap := arrival - last.Arrival; n == runsMax || gap > -runGap && gap < runGap {
			last.Count += points
			return
		}
	}
	b.runs = append(b.runs, Run{Arrival: arrival, Taken: b.Taken, Count: points})
}

// section is what was appended between two calls of EndSection.
type section struct {
	end     int // in the body
	refused int // points
}

// EndSection makes what was appended since the last call, or since Take, a section of its own: Refused counts
// by section.
func (b *Batch) EndSection() { b.sections = append(b.sections, section{end: b.used}) }

// Refused is how many points of a section of a settled batch, counted from 0, the server refused.
func (b *Batch) Refused(section int) int { return b.sections[section].refused }

// refuse counts the first so many points of a part as refused in their sections.
func (b *Batch) refuse(p Part, points int) {
	at, last := p.From, 0
	for ; points > 0 && len(b.sections) > 0; points-- {
		for last < len(b.sections)-1 && b.sections[last].end <= at {
			last++
		}
		b.sections[last].refused++
		// Where there are fewer lines than points, the last line has the rest.
		if end := lineEnd(b.memory[:p.To], at); end < p.To {
			at = end
		}
	}
}

// Room is how many bytes can still be appended.
func (b *Batch) Room() int { return len(b.memory) - b.used }

// Points is how many points it holds.
func (b *Batch) Points() int { return b.points }

// Bytes is how long the body is.
func (b *Batch) Bytes() int { return b.used }

// Opened is when the first point arrived, CLOCK_MONOTONIC nanoseconds.
func (b *Batch) Opened() int64 { return b.opened }

// SealedAt is when the batch was sealed, CLOCK_MONOTONIC nanoseconds.
func (b *Batch) SealedAt() int64 { return b.sealedAt }

// Runs are the arrivals of its points. They are valid until Release.
func (b *Batch) Runs() []Run { return b.runs }

// Seal ends appending. The bytes never change again.
func (b *Batch) Seal(now int64) {
	b.move(stateOpen, stateSealed)
	b.sealedAt = now
}

// unref lets go of the bytes on behalf of one attempt.
func (b *Batch) unref() {
	b.refs--
	if b.refs < 0 {
		panic(fmt.Sprintf("BUG: a batch that is %s has %d holders", b.state, b.refs))
	}
	if b.refs == 0 && b.state == stateHeld {
		b.pool.free(b)
	}
}
