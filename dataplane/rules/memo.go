package rules

import (
	"math"

	"culvert/dataplane/point"
)

// memoKind is what a memo remembers.
type memoKind uint8

const (
	memoPrev memoKind = iota
	memoEwma
	memoSequence
	memoWindow
)

// memo is one thing that is remembered for each key of a cohort: what functions with the same argument need
// of the past. It is a layout and two programs; what is remembered lies in the words of a key.
type memo struct {
	kind     memoKind
	text     string        // what it remembers, as canonical writes it
	code     []instruction // leaves the argument in the first register; of a sequence: the first condition
	then     []instruction // of a sequence: the second condition
	length   int64         // nanoseconds
	window   window
	at       int // its first word
	words    int
	identity uint64 // of all this, the same in every run
}

// The words of the memos that are no windows.
const (
	prevTime    = iota // of the newest value
	prevCurrent        // bits of the newest value
	prevBefore         // bits of the one before
	prevKinds          // kind of the newest value, and of the one before from bit 8 on
	prevWords
)

const (
	ewmaTime = iota
	ewmaValue
	ewmaStarted
	ewmaWords
)

const (
	sequenceTime  = iota // of the first condition
	sequenceState        // bit 0: both came, bit 1: the first came
	sequenceWords
)

// lay works out how many words the memo takes.
func (m *memo) lay() int {
	switch m.kind {
	case memoPrev:
		m.words = prevWords
	case memoEwma:
		m.words = ewmaWords
	case memoSequence:
		m.words = sequenceWords
	default:
		m.words = m.window.lay()
	}
	return m.words
}

// past is the key at hand, as programs see it.
type past struct {
	memos   []memo
	words   []uint64 // of the key
	from    int64    // event time from which on the key's past is known
	hole    int64    // event time up to which points may be missing, since the gateway was away; or never
	scratch []uint64 // room for a pane
	// The window's end, when a record is worked out.
	end      int64
	isRecord bool
	partial  bool // a window that was read reaches back beyond from
	filled   bool // a window that was read holds something
	gone     bool // panes of a window that was read are no longer kept
}

// remember takes the point at hand into a memo. It returns false for a value too late for its window.
func (m *machine) remember(memo *memo, t int64) bool {
	words := m.past.words[memo.at : memo.at+memo.words]
	if memo.kind == memoSequence {
		m.rememberSequence(memo, words, t)
		return true
	}
	v := m.argument(memo.code)
	switch memo.kind {
	case memoPrev:
		m.rememberPrev(words, v, t)
	case memoEwma:
		if f, ok := v.float(); ok && !math.IsNaN(f) && !math.IsInf(f, 0) {
			rememberEwma(words, f, t, memo.length)
		}
	default:
		w := &memo.window
		w.advance(words, t)
		if f, ok := v.float(); ok && !math.IsNaN(f) && !math.IsInf(f, 0) {
			return w.add(words, t, f)
		}
	}
	return true
}

// argument is the value that a program leaves in the first register; for a single name it needs none.
func (m *machine) argument(code []instruction) value {
	if len(code) == 1 && code[0].code == codeSlot {
		return m.slot(code[0].a)
	}
	m.run(code)
	return m.registers[0]
}

// rememberPrev keeps two values: the newest and the one before. To a point that comes late nothing is known
// of what was before it.
func (m *machine) rememberPrev(words []uint64, v value, t int64) {
	current := words[prevKinds] & 0xff
	switch {
	case v.kind == point.Missing:
		words[prevBefore], words[prevKinds] = words[prevCurrent], current|current<<8
		return
	case current != 0 && t < int64(words[prevTime]):
		words[prevKinds] = current
		return
	case v.kind == point.String:
		// A text is only asked whether it is the same.
		v.bits, _ = plainKeys.sum(m.text(v.bits))
	}
	words[prevBefore], words[prevKinds] = words[prevCurrent], uint64(v.kind)|current<<8
	words[prevCurrent], words[prevTime] = v.bits, uint64(t)
}

// rememberEwma moves an average towards a value, the more the longer the last one is ago: by 1-1/e after the
// duration.
func rememberEwma(words []uint64, v float64, t, duration int64) {
	if words[ewmaStarted] == 0 {
		words[ewmaStarted], words[ewmaTime], words[ewmaValue] = 1, uint64(t), math.Float64bits(v)
		return
	}
	passed := t - int64(words[ewmaTime])
	if passed <= 0 {
		return
	}
	average := math.Float64frombits(words[ewmaValue])
	average += (v - average) * -math.Expm1(-float64(passed)/float64(duration))
	words[ewmaTime], words[ewmaValue] = uint64(t), math.Float64bits(average)
}

// rememberSequence moves the state of followed_by on. The second condition counts when the first one held at
// an earlier point, not longer ago than the duration, and from then on as long as it holds.
func (m *machine) rememberSequence(memo *memo, words []uint64, t int64) {
	state := words[sequenceState]
	if !m.run(memo.then) {
		state &^= 1
	} else if state&1 == 0 && state&2 != 0 {
		if passed := t - int64(words[sequenceTime]); passed >= 0 && passed <= memo.length {
			state = 1
		}
	}
	if m.run(memo.code) {
		state |= 2
		words[sequenceTime] = uint64(t)
	}
	words[sequenceState] = state
}

// recall is the value of a function of the past: after the point at hand was taken in, or at a record's end.
func (m *machine) recall(i *instruction) value {
	memo := &m.past.memos[i.a]
	words := m.past.words[memo.at : memo.at+memo.words]
	switch memo.kind {
	case memoPrev:
		before := value{bits: words[prevBefore], kind: point.Kind(words[prevKinds] >> 8)}
		if pastFunction(i.b) == pastChanged {
			return truth(m.hasChanged(words, before))
		}
		if before.kind == point.String {
			return value{}
		}
		return before
	case memoEwma:
		return floatValue(math.Float64frombits(words[ewmaValue])).when(words[ewmaStarted] != 0)
	case memoSequence:
		return truth(words[sequenceState]&1 != 0)
	}
	return m.recallWindow(&memo.window, words, pastFunction(i.b), math.Float64frombits(i.imm))
}

// when is the value, or missing.
func (v value) when(known bool) value {
	if known {
		return v
	}
	return value{}
}

func truth(b bool) value { return boolConstant(b).value() }

func (m *machine) hasChanged(words []uint64, before value) bool {
	now := value{bits: words[prevCurrent], kind: point.Kind(words[prevKinds])}
	switch {
	case before.kind == point.Missing:
		return false
	case before.kind == point.Bool || before.kind == point.String || now.kind != before.kind:
		_, isNumber := before.float()
		_, wasNumber := now.float()
		if !isNumber || !wasNumber {
			return before != now
		}
	}
	return relateNumbers(before, now) != equal
}

// recallWindow is a function of a window. A window that reaches back to where nothing is known has no value;
// that of a record has one, and is marked.
func (m *machine) recallWindow(w *window, words []uint64, f pastFunction, q float64) value {
	pane := m.past.scratch[:w.width]
	from := m.past.from
	if words[windowFrom] != 0 {
		from = max(from, int64(words[windowFrom]))
	}
	if m.past.isRecord {
		m.past.gone = !w.until(words, pane, m.past.end) || m.past.gone
		m.past.partial = m.past.end-w.length < max(from, m.past.hole) || m.past.partial
		m.past.filled = m.past.filled || pane[0] > 0
	} else {
		if words[windowState]&stateStarted == 0 ||
			int64(words[windowStart])-int64(w.panes-1)*w.slide < from {
			return value{}
		}
		if f <= pastAvg {
			return w.average(words, f)
		}
		w.whole(words, pane)
	}
	return w.result(pane, f, q)
}

// average is count, sum or avg, for which no whole pane is needed.
func (w *window) average(words []uint64, f pastFunction) value {
	current, back := w.current(words), w.back(words)
	n, sum := uint64(0), 0.0
	if current[0] > 0 {
		n, sum = current[0], math.Float64frombits(current[1])
	}
	if back[0] > 0 {
		n, sum = n+back[0], sum+math.Float64frombits(back[1])
	}
	if state := words[windowState]; state>>stateFront&stateMask > 0 {
		if front := w.pane(words, int(state&stateMask)); front[0] > 0 {
			n, sum = n+front[0], sum+math.Float64frombits(front[1])
		}
	}
	switch {
	case f == pastCount:
		return intValue(int64(n))
	case n == 0:
		return value{}
	case f == pastSum:
		return floatValue(sum)
	}
	return floatValue(sum / float64(n))
}

// result is a function of a pane that holds the whole window.
func (w *window) result(pane []uint64, f pastFunction, q float64) value {
	if f == pastCount {
		return intValue(int64(pane[0]))
	}
	if pane[0] == 0 {
		return value{}
	}
	number := func(word int) float64 { return math.Float64frombits(pane[1+word]) }
	switch f {
	case pastSum:
		return floatValue(number(0))
	case pastAvg:
		return floatValue(number(0) / float64(pane[0]))
	case pastMin:
		return floatValue(number(0))
	case pastMax, pastFirst:
		return floatValue(number(1))
	case pastRange:
		return floatValue(number(1) - number(0))
	case pastStddev:
		return floatValue(math.Sqrt(max(number(1), 0) / float64(pane[0])))
	case pastLast:
		return floatValue(number(3))
	case pastRate:
		rate, ok := counter(pane[1:]).rate()
		return floatValue(rate).when(ok)
	}
	v, ok := sketch(pane[1:w.width]).quantile(q)
	return floatValue(v).when(ok)
}
