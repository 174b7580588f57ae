package rules

import (
	"encoding/binary"

	"culvert/dataplane/point"
)

const (
	// TextMax is the room for a key's text and the captured values in a Handover and a Transition.
	TextMax = 512
	// KeyMax is the longest text of a key: the measurement and the tags' values, with two bytes before each.
	// The rest of TextMax is left for the values. Points with longer keys are counted and change no state.
	KeyMax = 384
	// keyTagsMax is how many tags a key can have; with two bytes each they would not fit KeyMax anyway.
	keyTagsMax = KeyMax / 4
)

// key is what identifies the state of a point, for one shape.
type key struct {
	mark        uint64 // of the point for which the rest was worked out
	hash, check uint64
	owner       int // the worker that owns it
	tooLong     bool
	late        bool // a later point of this key was seen here
}

// key works out the point's key for a shape, once per point.
func (e *Evaluator) key(shape uint16) *key {
	k := &e.keys[shape]
	if k.mark == e.machine.mark {
		return k
	}
	sh := &e.set.shapes[shape]
	p := e.machine.point
	hash, check, length := e.nameHash, e.nameCheck, 2+p.Measurement.Length()
	if sh.series {
		hash, check, length = e.seriesHash(p, length)
	} else {
		for _, slot := range sh.slots {
			v := e.machine.slot(slot)
			var text []byte
			if v.kind == point.String {
				text = p.Bytes(point.Span(v.bits))
			}
			h, c := e.seeds.sum(text)
			hash, check = e.seeds.chain(hash, check, h, c)
			length += 2 + len(text)
		}
	}
	hash, check = e.seeds.chain(hash, check, sh.identity, uint64(length))
	k.mark, k.hash, k.check = e.machine.mark, hash, check
	k.tooLong, k.late = length > KeyMax, false
	k.owner = e.config.Worker
	if e.config.Workers > 1 && !sh.local {
		k.owner = e.ownerOf(hash)
	}
	if e.notes() && !sh.local {
		k.late = e.recents.note(hash, e.arrival) > e.arrival
	}
	return k
}

// ownerOf deals the keys out by the upper half of their hash, by multiplication where a remainder would
// divide.
func (e *Evaluator) ownerOf(hash uint64) int { return int(hash >> 32 * uint64(e.config.Owners) >> 32) }

// seriesHash adds all tags to the measurement's hash. Their order in the packet does not count: the tags'
// hashes are summed up.
func (e *Evaluator) seriesHash(p *point.Point, length int) (hash, check uint64, bytes int) {
	var sumHash, sumCheck uint64
	for i := range p.Tags {
		name, value := p.Bytes(p.Tags[i].Name), p.Bytes(p.Tags[i].Value)
		nh, nc := e.seeds.sum(name)
		vh, vc := e.seeds.sum(value)
		h, c := e.seeds.chain(nh, nc, vh, vc)
		sumHash += h
		sumCheck += c
		length += 4 + len(name) + len(value)
	}
	hash, check = e.seeds.chain(e.nameHash, e.nameCheck, sumHash, sumCheck)
	return hash, check, length
}

// writeKey writes the text of the point's key, which key found to fit KeyMax, and returns its length: the
// measurement, then the values of the shape's tags in their order, or all tags by name with name and value.
func (e *Evaluator) writeKey(sh *shape, out []byte) int {
	switch {
	case e.pastKey != nil:
		return copy(out, e.texts.bytes(e.pastKey.text)[:e.pastKey.keyBytes])
	case e.pastText != nil:
		return copy(out, e.pastText)
	}
	p := e.machine.point
	n := appendText(out, 0, p.Bytes(p.Measurement))
	if !sh.series {
		for _, slot := range sh.slots {
			var text []byte
			if v := e.machine.slot(slot); v.kind == point.String {
				text = p.Bytes(point.Span(v.bits))
			}
			n = appendText(out, n, text)
		}
		return n
	}
	var order [keyTagsMax]uint16
	for i := range p.Tags {
		name := p.Bytes(p.Tags[i].Name)
		at := i
		for at > 0 && string(p.Bytes(p.Tags[order[at-1]].Name)) > string(name) {
			order[at] = order[at-1]
			at--
		}
		order[at] = uint16(i)
	}
	for i := range p.Tags {
		tag := &p.Tags[order[i]]
		n = appendText(out, n, p.Bytes(tag.Name))
		n = appendText(out, n, p.Bytes(tag.Value))
	}
	return n
}

func appendText(out []byte, n int, text []byte) int {
	binary.LittleEndian.PutUint16(out[n:], uint16(len(text)))
	return n + 2 + copy(out[n+2:], text)
}

// writeValues writes the values that a rule captures and returns the length: kind and eight bytes, or kind,
// length and text. A text that does not fit is cut off, and what comes behind it left out.
func (e *Evaluator) writeValues(r *rule, out []byte) int {
	n := 0
	for i := range r.captures {
		v := e.machine.slot(r.captures[i].slot)
		switch {
		case n == len(out):
			return n
		case v.kind == point.Missing:
			out[n] = byte(v.kind)
			n++
		case v.kind == point.String:
			if n+3 > len(out) {
				return n
			}
			text := e.machine.text(v.bits)
			text = text[:min(len(text), len(out)-n-3)]
			out[n] = byte(v.kind)
			n = appendText(out, n+1, text)
		default:
			if n+9 > len(out) {
				return n
			}
			out[n] = byte(v.kind)
			binary.LittleEndian.PutUint64(out[n+1:], v.bits)
			n += 9
		}
	}
	return n
}
