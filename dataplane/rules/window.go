package rules

import "math"

// A window keeps the numbers of the last while as panes, each the sum of a stretch of event time as long as
// the slide. Nothing of it is a point: memory is the panes' alone, and a point costs the same however many
// are in the window.
//
//	        ◀────────────── length ──────────────▶
//	ring    │ pane │ pane │ pane │ pane │ pane │ current │──▶ event time
//	        └─── front ──┘└─────── back ──────┘
//
// The ring is a queue made of two stacks: each pane of the front holds the sum of itself and all newer
// ones of the front, the back has one sum beside its panes. So the whole window is the oldest pane of the
// front, the back's sum and the current pane. When the front is used up, the back becomes the front: one
// addition for each pane that passes.
//
// A window of a record is read at times in the past as well, so its ring keeps more panes than the window is
// long, all of them plain, and they are added up when a record is made.
//
// The words of a window: the current pane's start, the state of the ring, the newest value's time, from when
// on it is known, the
// current pane, the back's sum (not of records), the ring.
const (
	windowStart = iota
	windowState
	windowNewest
	windowFrom // event time from which the window's values are known, if that is later than the key's; or 0
	windowHead
)

const (
	// stateStarted is set in windowState once there is a current pane. Below it lie the place in the ring
	// where the next pane goes, and how many panes the front has.
	stateStarted = 1 << 63
	stateFront   = 16
	stateMask    = 1<<16 - 1
)

const (
	// panesMax bounds the panes of a window.
	panesMax = 120
	// panesMoving is how many panes x[10s] has, which names no slide: it moves in tenths.
	panesMoving = 10
	// panesLate is how many panes a record's window keeps for late points beside its own.
	panesLate = 4
)

// part is what a pane sums up. Functions share parts; a window has one.
type part uint8

const (
	partSum      part = iota // sum, avg, and count, which every pane has
	partExtremes             // min, max, range
	partMoments              // stddev: mean and sum of squared distances from it
	partEnds                 // first, last
	partCounter              // rate
	partSketch               // quantile
	parts
)

var partWords = [parts]int{partSum: 1, partExtremes: 2, partMoments: 2, partEnds: 4, partCounter: 5,
	partSketch: sketchWords}

var partNames = [parts]string{"sum", "extremes", "moments", "ends", "counter", "sketch"}

// window is the layout of a window.
type window struct {
	length, slide int64 // nanoseconds
	panes         int   // length / slide
	ring          int   // panes beside the current one
	record        bool
	part          part // what its panes sum up, beside the count that is their first word
	width         int  // words of a pane
}

// lay works out the layout, and returns how many words the window takes.
func (w *window) lay() int {
	w.panes = int(w.length / w.slide)
	w.ring = w.panes - 1
	w.width = 1 + partWords[w.part]
	if w.record {
		w.ring += panesLate
	}
	return w.size()
}

// size is how many words the window takes.
func (w *window) size() int {
	panes := 2 + w.ring
	if w.record {
		panes--
	}
	return windowHead + panes*w.width
}

func (w *window) current(words []uint64) []uint64 { return words[windowHead : windowHead+w.width] }

func (w *window) back(words []uint64) []uint64 {
	return words[windowHead+w.width : windowHead+2*w.width]
}

func (w *window) pane(words []uint64, at int) []uint64 {
	at = windowHead + (at+2)*w.width
	if w.record {
		at -= w.width
	}
	return words[at : at+w.width]
}

// floorTo is the start of the stretch of event time that a time lies in.
func floorTo(t, slide int64) int64 {
	rest := t % slide
	if rest < 0 {
		rest += slide
	}
	return t - rest
}

// advance lets the window come to a time; it returns false for a time before the current pane.
func (w *window) advance(words []uint64, t int64) bool {
	passed := t - int64(words[windowStart])
	if uint64(passed) < uint64(w.slide) && words[windowState]&stateStarted != 0 {
		return true
	}
	if words[windowState]&stateStarted == 0 {
		words[windowStart], words[windowState] = uint64(floorTo(t, w.slide)), stateStarted
		return true
	}
	if passed < 0 {
		return false
	}
	steps := passed / w.slide
	words[windowStart] += uint64(steps * w.slide)
	if steps > int64(w.ring) {
		w.empty(words)
		return true
	}
	for range steps {
		w.push(words)
	}
	return true
}

// empty forgets all panes.
func (w *window) empty(words []uint64) {
	words[windowState] = stateStarted
	w.current(words)[0] = 0
	if !w.record {
		w.back(words)[0] = 0
	}
	for at := range w.ring {
		w.pane(words, at)[0] = 0
	}
}

// push moves the current pane into the ring, in place of the oldest one.
func (w *window) push(words []uint64) {
	current := w.current(words)
	if w.ring == 0 {
		current[0] = 0
		return
	}
	state := words[windowState]
	head, front := int(state&stateMask), int(state>>stateFront&stateMask)
	if !w.record {
		if front == 0 {
			w.flip(words, head)
			front = w.ring
		}
		front--
		w.merge(w.back(words), current)
	}
	copy(w.pane(words, head), current)
	if head++; head == w.ring {
		head = 0
	}
	words[windowState] = stateStarted | uint64(front)<<stateFront | uint64(head)
	current[0] = 0
}

// flip makes the back the front.
func (w *window) flip(words []uint64, oldest int) {
	w.back(words)[0] = 0
	newer := oldest - 1
	if newer < 0 {
		newer = w.ring - 1
	}
	for range w.ring - 1 {
		at := newer - 1
		if at < 0 {
			at = w.ring - 1
		}
		w.merge(w.pane(words, at), w.pane(words, newer))
		newer = at
	}
}

// add puts a value into the pane of its time. It returns false for one that is older than all panes.
func (w *window) add(words []uint64, t int64, v float64) bool {
	start := int64(words[windowStart])
	inOrder := t > int64(words[windowNewest]) || w.isEmpty(words)
	if inOrder {
		words[windowNewest] = uint64(t)
	}
	if t >= start {
		w.put(w.current(words), t, v, inOrder)
		return true
	}
	distance := int((start - floorTo(t, w.slide)) / w.slide)
	if distance > w.ring {
		return false
	}
	state := words[windowState]
	head, front := int(state&stateMask), int(state>>stateFront&stateMask)
	if w.record || distance <= w.ring-front {
		w.put(w.pane(words, (head-distance+w.ring)%w.ring), t, v, inOrder)
		if !w.record {
			w.put(w.back(words), t, v, inOrder)
		}
		return true
	}
	// A pane of the front: it counts in the sums of all that are older.
	for ; distance <= w.ring; distance++ {
		w.put(w.pane(words, (head-distance+w.ring)%w.ring), t, v, inOrder)
	}
	return true
}

// plausible tells whether words that were read back can be a window's: nothing in them leads beyond it.
func (w *window) plausible(words []uint64) bool {
	state := words[windowState]
	head, front := int(state&stateMask), int(state>>stateFront&stateMask)
	if head > max(w.ring-1, 0) || front > w.ring {
		return false
	}
	if w.part != partSketch {
		return true
	}
	panes := (w.size() - windowHead) / w.width
	for pane := words[windowHead:]; panes > 0; panes-- {
		if pane[0] != 0 && !sketch(pane[1:1+sketchWords]).plausible() {
			return false
		}
		pane = pane[w.width:]
	}
	return true
}

// isEmpty tells a window that never held a value. The newest value's time is zero then.
func (w *window) isEmpty(words []uint64) bool { return words[windowNewest] == 0 }

// put adds a value to a pane. inOrder tells that it is newer than all before it.
func (w *window) put(pane []uint64, t int64, v float64, inOrder bool) {
	first := pane[0] == 0
	pane[0]++
	into := pane[1:]
	switch w.part {
	case partSum:
		if !first {
			v += math.Float64frombits(into[0])
		}
		into[0] = math.Float64bits(v)
	case partExtremes:
		low, high := v, v
		if !first {
			low, high = min(v, math.Float64frombits(into[0])), max(v, math.Float64frombits(into[1]))
		}
		into[0], into[1] = math.Float64bits(low), math.Float64bits(high)
	case partMoments:
		mean, squares := v, 0.0
		if !first {
			mean, squares = math.Float64frombits(into[0]), math.Float64frombits(into[1])
			distance := v - mean
			mean += distance / float64(pane[0])
			squares += distance * (v - mean)
		}
		into[0], into[1] = math.Float64bits(mean), math.Float64bits(squares)
	case partEnds:
		if first || t < int64(into[0]) {
			into[0], into[1] = uint64(t), math.Float64bits(v)
		}
		if first || t >= int64(into[2]) {
			into[2], into[3] = uint64(t), math.Float64bits(v)
		}
	case partCounter:
		if first {
			into[counterLast] = 0
		}
		if inOrder {
			counter(into).put(t, v)
		}
	default:
		if first {
			sketch(into).reset()
		}
		sketch(into).add(v)
	}
}

// merge adds a pane to another that is older.
func (w *window) merge(older, newer []uint64) {
	if newer[0] == 0 {
		return
	}
	if older[0] == 0 {
		copy(older, newer)
		return
	}
	n, m := float64(older[0]), float64(newer[0])
	older[0] += newer[0]
	into, from := older[1:], newer[1:]
	switch w.part {
	case partSum:
		into[0] = math.Float64bits(math.Float64frombits(into[0]) + math.Float64frombits(from[0]))
	case partExtremes:
		into[0] = math.Float64bits(min(math.Float64frombits(into[0]), math.Float64frombits(from[0])))
		into[1] = math.Float64bits(max(math.Float64frombits(into[1]), math.Float64frombits(from[1])))
	case partMoments:
		mean, squares := math.Float64frombits(into[0]), math.Float64frombits(into[1])
		distance := math.Float64frombits(from[0]) - mean
		squares += math.Float64frombits(from[1]) + distance*distance*n*m/(n+m)
		into[0], into[1] = math.Float64bits(mean+distance*m/(n+m)), math.Float64bits(squares)
	case partEnds:
		if int64(from[0]) < int64(into[0]) {
			copy(into[:2], from[:2])
		}
		if int64(from[2]) >= int64(into[2]) {
			copy(into[2:4], from[2:4])
		}
	case partCounter:
		counter(into).merge(counter(from))
	default:
		sketch(into).merge(sketch(from))
	}
}

// counter is what a pane knows of a counter: first time and value, last time and value, and the sum of all
// values from which it fell back, negative where there is no value yet. Only values in the order of time
// count: one that comes late would look like a reset.
type counter []uint64

// counterLast is the word of the last time and a nanosecond, which is zero while there is no value.
const counterLast = 2

func (c counter) put(t int64, v float64) {
	if c[counterLast] == 0 {
		c[0], c[1], c[4] = uint64(t), math.Float64bits(v), 0
	} else if last := math.Float64frombits(c[3]); v < last {
		c[4] = math.Float64bits(math.Float64frombits(c[4]) + last)
	}
	c[counterLast], c[3] = uint64(t)+1, math.Float64bits(v)
}

// merge adds what a newer pane knows.
func (c counter) merge(newer counter) {
	switch {
	case newer[counterLast] == 0:
	case c[counterLast] == 0:
		copy(c, newer)
	default:
		resets := math.Float64frombits(c[4]) + math.Float64frombits(newer[4])
		if last := math.Float64frombits(c[3]); math.Float64frombits(newer[1]) < last {
			resets += last
		}
		c[2], c[3], c[4] = newer[2], newer[3], math.Float64bits(resets)
	}
}

// rate is the counter's increase per second; ok is false with less than two values.
func (c counter) rate() (perSecond float64, ok bool) {
	first, last := int64(c[0]), int64(c[counterLast])-1
	if c[counterLast] == 0 || first == last {
		return 0, false
	}
	increase := math.Float64frombits(c[3]) - math.Float64frombits(c[1]) + math.Float64frombits(c[4])
	return increase / (float64(last-first) / 1e9), true
}

// whole adds up the window as it is now, the current pane included, into a pane that the caller gives.
func (w *window) whole(words, into []uint64) {
	into[0] = 0
	state := words[windowState]
	if front := int(state >> stateFront & stateMask); front > 0 {
		copy(into, w.pane(words, int(state&stateMask)))
	}
	w.merge(into, w.back(words))
	w.merge(into, w.current(words))
}

// until adds up the window of a record that ends at a time. It returns false if some of it is no longer kept.
func (w *window) until(words, into []uint64, end int64) bool {
	into[0] = 0
	if words[windowState]&stateStarted == 0 {
		return true
	}
	start, head := int64(words[windowStart]), int(words[windowState]&stateMask)
	whole := true
	for at := end - w.length; at < end; at += w.slide {
		switch distance := (start - at) / w.slide; {
		case distance == 0:
			w.merge(into, w.current(words))
		case distance > int64(w.ring):
			whole = false
		case distance > 0:
			w.merge(into, w.pane(words, (head-int(distance)+w.ring)%w.ring))
		}
	}
	return whole
}
