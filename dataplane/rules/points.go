package rules

import (
	"encoding/binary"

	"culvert/dataplane/point"
)

// A point of a rule with a past goes to its key's owner, with the slots that the cohort asks for. Points
// travel several to a Handover, one behind the other:
//
//	length cohort key length │ hash check │ arrival time │ the key's text │ the slots, in the cohort's order
//	2      2      2          │ 8    8     │ 8       8    │                │ kind, 8 bytes or length and text
//
// A number is little-endian. A point that does not fit into a Handover with all its texts, or finds the way
// full, is counted and not used: it cannot be kept, as a state can, to be said later.
const packedHead = 6 + 4*8

// packedAhead is set in the cohort of a point that lies too far in the future: it is a sign of life alone.
const packedAhead = 1 << 15

// pack hands the point at hand to the owner of its key. mark is 0 or packedAhead.
func (e *Evaluator) pack(number uint16, k *key, mark uint16) {
	c, keys := &e.set.cohorts[number], &e.pasts[number]
	var text [TextMax]byte
	n := packedHead + e.writeKey(&e.set.shapes[c.shape], text[packedHead:])
	keyBytes := n - packedHead
	for _, slot := range c.slots {
		v := e.machine.slot(slot)
		if n = packValue(&text, n, v, &e.machine); n > TextMax {
			keys.tooLong++
			return
		}
	}
	binary.LittleEndian.PutUint16(text[0:], uint16(n))
	binary.LittleEndian.PutUint16(text[2:], number|mark)
	binary.LittleEndian.PutUint16(text[4:], uint16(keyBytes))
	binary.LittleEndian.PutUint64(text[6:], k.hash)
	binary.LittleEndian.PutUint64(text[14:], k.check)
	binary.LittleEndian.PutUint64(text[22:], uint64(e.arrival))
	binary.LittleEndian.PutUint64(text[30:], uint64(e.machine.point.Time))
	h := e.openPoints(k.owner, n)
	if h == nil {
		keys.refused++
		return
	}
	copy(h.text[h.valuesBytes:], text[:n])
	h.valuesBytes += uint16(n)
}

// openPoints is the Handover for the next point to an owner: the last one that waits, if it has room.
func (e *Evaluator) openPoints(owner, size int) *Handover {
	out := &e.outboxes[owner]
	if out.last > out.first {
		h := &out.slots[out.last-1]
		if h.kind == handoverPoints && int(h.valuesBytes)+size <= TextMax {
			return h
		}
	}
	h := out.add()
	if h != nil {
		h.set, h.kind, h.from = e.set.id, handoverPoints, uint16(e.config.Worker)
		h.rule, h.keyBytes, h.valuesBytes = 0, 0, 0
	}
	return h
}

// packValue writes a slot's value and returns where it ends; beyond TextMax if it does not fit.
func packValue(text *[TextMax]byte, n int, v value, m *machine) int {
	if n+9 > TextMax {
		return TextMax + 1
	}
	text[n] = byte(v.kind)
	switch v.kind {
	case point.Missing:
		return n + 1
	case point.String:
		s := m.text(v.bits)
		if n+3+len(s) > TextMax {
			return TextMax + 1
		}
		return appendText(text[:], n+1, s)
	}
	binary.LittleEndian.PutUint64(text[n+1:], v.bits)
	return n + 9
}

// unpack takes the points of a Handover.
func (e *Evaluator) unpack(h *Handover) {
	text := h.text[:h.valuesBytes]
	for len(text) >= packedHead {
		n := int(binary.LittleEndian.Uint16(text))
		if n < packedHead || n > len(text) {
			return
		}
		e.unpackOne(text[:n])
		text = text[n:]
	}
}

// unpackOne lays one point out as if it were at hand, and lets its cohort see it.
func (e *Evaluator) unpackOne(text []byte) {
	marked, keyBytes := binary.LittleEndian.Uint16(text[2:]), int(binary.LittleEndian.Uint16(text[4:]))
	number := marked &^ packedAhead
	if int(number) >= len(e.set.cohorts) || packedHead+keyBytes > len(text) || keyBytes < 2 {
		return
	}
	c, m, p := &e.set.cohorts[number], &e.machine, &e.handed
	hash, check := binary.LittleEndian.Uint64(text[6:]), binary.LittleEndian.Uint64(text[14:])
	e.arrival = int64(binary.LittleEndian.Uint64(text[22:]))
	p.PayloadBytes = text
	p.Time, p.HasTime = int64(binary.LittleEndian.Uint64(text[30:])), true
	p.Measurement = point.MakeSpan(point.Payload, packedHead+2,
		int(binary.LittleEndian.Uint16(text[packedHead:])))
	m.mark += markStep
	m.point, m.guess = p, e.noGuesses
	n := packedHead + keyBytes
	for _, slot := range c.slots {
		if n >= len(text) {
			break
		}
		switch kind := point.Kind(text[n]); {
		case kind == point.Missing:
			n++
		case kind == point.String && n+3 <= len(text):
			length := int(binary.LittleEndian.Uint16(text[n+1:]))
			if n+3+length > len(text) {
				return
			}
			m.put(slot, uint64(point.MakeSpan(point.Payload, n+3, length)), kind)
			n += 3 + length
		case n+9 <= len(text):
			m.put(slot, binary.LittleEndian.Uint64(text[n+1:]), kind)
			n += 9
		}
	}
	k := &e.keys[c.shape]
	*k = key{mark: m.mark, hash: hash, check: check, owner: e.config.Worker}
	e.pastText = text[packedHead : packedHead+keyBytes]
	if marked != number {
		e.live(number, hash, check)
	} else {
		e.experience(number, hash, check)
	}
	e.pastText = nil
}
