package rules

import (
	"encoding/binary"
	"math"
	"strconv"

	"culvert/dataplane/point"
)

// Derived is a point that a record made. It is a plain value without pointers; Fill turns it into a Point.
type Derived struct {
	Rule    uint32 // index into Set.Rules
	Time    int64  // the end of its windows, nanoseconds since 1970
	Partial bool   // its windows reach back to where the key's past is not known

	keyBytes, valuesBytes uint16
	text                  [TextMax]byte
}

const (
	// derivedMax is how many derived points wait to be taken.
	derivedMax = 256
	// fieldsMax bounds the fields of a record: with a key of KeyMax their values fill a Derived.
	fieldsMax = (TextMax - KeyMax) / 9
	// partialName is the name of the field that marks a point of an incomplete window.
	partialName = "incomplete"
)

// The words of a key for each record of its cohort, behind the memos.
const (
	recordNext       = iota // end of the next window to be made into a record; 0: there was no point yet
	recordUntil             // end of the last window that holds a point
	recordDirty             // end of the first window that changed after its record was made; 0: none
	recordDirtyUntil        // and of the last one
	recordWords
)

// Derived are the points that records made, oldest first; valid until the next call of any method.
func (e *Evaluator) Derived() []Derived { return e.derived.waiting() }

// DerivedTaken says that the first n of Derived went.
func (e *Evaluator) DerivedTaken(n int) { e.derived.taken(n) }

// forRecords lets the records of a cohort see a point, before the memos take it in. It returns false for a
// point that is too late for them.
func (e *Evaluator) forRecords(number uint16, at int32, t int64) bool {
	c, keys := &e.set.cohorts[number], &e.pasts[number]
	g := &e.groups[c.time]
	g.note(t, e.arrival, e.wall)
	if g.isFinal(t, e.arrival, e.wall) {
		keys.late++
		return false
	}
	words := keys.memory(at)
	for i, r := range c.records {
		rule := &e.set.rules[r]
		w := words[c.recordsAt+i*recordWords:][:recordWords]
		start := floorTo(t, rule.every)
		first, last := start+rule.every, start+rule.length
		// What the ring is about to lose is made into a record now.
		for w[recordNext] != 0 && int64(w[recordNext]) <= int64(w[recordUntil]) &&
			start > int64(w[recordNext])+(panesLate-1)*rule.every {
			e.derive(number, r, at, int64(w[recordNext]))
			w[recordNext] += uint64(rule.every)
		}
		switch next := int64(w[recordNext]); {
		case next == 0 || next > int64(w[recordUntil]) && first > next:
			w[recordNext] = uint64(first)
		case first < next:
			if w[recordDirty] == 0 {
				w[recordDirty], w[recordDirtyUntil] = uint64(first), uint64(last)
			}
			w[recordDirty] = uint64(min(int64(w[recordDirty]), first))
			w[recordDirtyUntil] = uint64(max(int64(w[recordDirtyUntil]), last))
		}
		w[recordUntil] = uint64(max(int64(w[recordUntil]), last))
		e.setCommit(number, at, g, w)
	}
	return true
}

// setCommit sets the timer for a key's next record or correction.
func (e *Evaluator) setCommit(number uint16, at int32, g *lateness, w []uint64) {
	key := e.pasts[number].at(at)
	if int64(w[recordNext]) <= int64(w[recordUntil]) {
		e.keyTimers.set(number, at, key, g.passes(int64(w[recordNext]), g.onTime, e.wall))
	}
	if w[recordDirty] != 0 {
		e.keyTimers.set(number, at, key, g.passes(int64(w[recordDirty]), g.final, e.wall))
	}
}

// commit makes the records of a key that are due, and the corrections.
func (e *Evaluator) commit(number uint16, at int32, now int64) {
	c, keys := &e.set.cohorts[number], &e.pasts[number]
	g := &e.groups[c.time]
	for i, r := range c.records {
		w := keys.memory(at)[c.recordsAt+i*recordWords:][:recordWords]
		every := uint64(e.set.rules[r].every)
		for int64(w[recordNext]) <= int64(w[recordUntil]) &&
			g.passes(int64(w[recordNext]), g.onTime, e.wall) <= now && e.derived.room() {
			e.derive(number, r, at, int64(w[recordNext]))
			w[recordNext] += every
		}
		for w[recordDirty] != 0 && g.passes(int64(w[recordDirty]), g.final, e.wall) <= now &&
			e.derived.room() {
			if w[recordDirty] >= w[recordNext] || int64(w[recordDirty]) > int64(w[recordDirtyUntil]) {
				w[recordDirty] = 0
				break
			}
			e.derive(number, r, at, int64(w[recordDirty]))
			w[recordDirty] += every
		}
		if e.derived.room() {
			e.setCommit(number, at, g, w)
		} else {
			e.keyTimers.set(number, at, keys.at(at), now)
		}
	}
}

// derive makes the record of a key for windows that end at a time. Where panes of a window are gone, or no
// field has a value, there is none.
func (e *Evaluator) derive(number uint16, r uint32, at int32, end int64) {
	keys, rule, m := &e.pasts[number], &e.set.rules[r], &e.machine
	key := keys.at(at)
	d := e.derived.add()
	if d == nil {
		keys.refused++
		return
	}
	before := m.past
	m.past.memos, m.past.words, m.past.from = e.set.cohorts[number].memos, keys.memory(at), key.from
	m.past.hole = key.hole
	m.past.isRecord, m.past.end, m.past.partial, m.past.gone, m.past.filled = true, end, false, false, false
	d.Rule, d.Time, d.keyBytes = r, end, key.keyBytes
	n := copy(d.text[:], e.texts.bytes(key.text)[:key.keyBytes])
	values := 0
	for i := range rule.fields {
		v := m.argument(rule.fields[i].code)
		if f, ok := v.float(); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
			v = value{} // Line Protocol has no way to say it
		}
		if v.kind != point.Missing {
			values++
		}
		d.text[n] = byte(v.kind)
		binary.LittleEndian.PutUint64(d.text[n+1:], v.bits)
		n += 9
	}
	d.valuesBytes, d.Partial = uint16(n)-d.keyBytes, m.past.partial
	// A count of nothing is no record: its point may have come too late for it.
	void := m.past.gone || !m.past.filled
	m.past = before
	if void || values == 0 {
		e.derived.last--
		return
	}
	e.stats[r].Derived++
}

// Fill lays a derived point out in a Point, whose scratch arena it starts anew.
func (e *Evaluator) Fill(d *Derived, p *point.Point) {
	p.Reset()
	p.ScratchBytes = p.ScratchBytes[:0]
	r := &e.set.rules[d.Rule]
	put := func(text []byte) point.Span {
		p.ScratchBytes = append(p.ScratchBytes, text...)
		return point.MakeSpan(point.Scratch, len(p.ScratchBytes)-len(text), len(text))
	}
	p.Measurement = put(r.nameBytes)
	p.Time, p.HasTime = d.Time, true
	key := d.text[:d.keyBytes]
	next := func() []byte {
		n := int(binary.LittleEndian.Uint16(key))
		text := key[2 : 2+n]
		key = key[2+n:]
		return text
	}
	if measurement := next(); r.many {
		p.Tags = append(p.Tags, point.Tag{Name: put(measurementName), Value: put(measurement)})
	}
	sh := &e.set.shapes[r.shape]
	for i := 0; len(key) >= 2; i++ {
		var name []byte
		if sh.series {
			name = next()
		} else {
			name = sh.tagBytes[i]
		}
		if value := next(); len(value) > 0 {
			p.Tags = append(p.Tags, point.Tag{Name: put(name), Value: put(value)})
		}
	}
	values := d.text[d.keyBytes : d.keyBytes+d.valuesBytes]
	for i := range r.fields {
		kind, bits := point.Kind(values[0]), binary.LittleEndian.Uint64(values[1:])
		values = values[9:]
		if kind != point.Missing {
			e.addField(p, put(r.fields[i].nameBytes), value{bits: bits, kind: kind})
		}
	}
	if d.Partial {
		e.addField(p, put(partialBytes), truth(true))
	}
}

var measurementName, partialBytes = []byte("measurement"), []byte(partialName)

// addField appends a field with its value's text, as Line Protocol writes it.
func (e *Evaluator) addField(p *point.Point, name point.Span, v value) {
	start := len(p.ScratchBytes)
	switch v.kind {
	case point.Float:
		f, _ := v.float()
		p.ScratchBytes = strconv.AppendFloat(p.ScratchBytes, f, 'g', -1, 64)
	case point.Int:
		p.ScratchBytes = append(strconv.AppendInt(p.ScratchBytes, int64(v.bits), 10), 'i')
	case point.Uint:
		p.ScratchBytes = append(strconv.AppendUint(p.ScratchBytes, v.bits, 10), 'u')
		p.HasUint = true
	default:
		p.ScratchBytes = strconv.AppendBool(p.ScratchBytes, v.bits != 0)
	}
	f := point.Field{Name: name, Kind: v.kind, Known: true, Bits: v.bits}
	f.Value = point.MakeSpan(point.Scratch, start, len(p.ScratchBytes)-start)
	p.Fields = append(p.Fields, f)
}
