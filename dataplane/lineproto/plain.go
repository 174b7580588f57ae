package lineproto

import (
	"math/bits"

	"culvert/dataplane/point"
)

// form says what a plain value looks like, given the first of its bytes that is no digit or, if all are
// digits, the byte behind it. Ranges decide, so that no branch depends on the kind.
type form struct {
	kind point.Kind
	// Digits and a sign before that byte, and bytes from it to the value's end: the least, and how many more.
	before, beforeMore uint8
	behind, behindMore uint8
}

// digitsMax is how many decimal digits always fit in 64 bits, and one less in 63.
const digitsMax = 19

// forms are looked up by the byte, for values with a sign from signed on. A float that begins or
// ends in its point is not plain, because it is not copied.
var forms = [2 * signed]form{
	',':  {kind: point.Float, before: 1, beforeMore: plainMax},
	' ':  {kind: point.Float, before: 1, beforeMore: plainMax},
	'\n': {kind: point.Float, before: 1, beforeMore: plainMax},
	'.':  {kind: point.Float, before: 1, beforeMore: plainMax, behind: 2, behindMore: plainMax},
	'i':  {kind: point.Int, before: 1, beforeMore: digitsMax - 2, behind: 1},
	'u':  {kind: point.Uint, before: 1, beforeMore: digitsMax - 1, behind: 1},
	't':  {kind: point.Bool, behind: 1},
	'T':  {kind: point.Bool, behind: 1},
	'f':  {kind: point.Bool, behind: 1},
	'F':  {kind: point.Bool, behind: 1},

	signed + ',':  {kind: point.Float, before: 2, beforeMore: plainMax},
	signed + ' ':  {kind: point.Float, before: 2, beforeMore: plainMax},
	signed + '\n': {kind: point.Float, before: 2, beforeMore: plainMax},
	signed + '.':  {kind: point.Float, before: 2, beforeMore: plainMax, behind: 2, behindMore: plainMax},
	signed + 'i':  {kind: point.Int, before: 2, beforeMore: digitsMax - 2, behind: 1},
}

const signed = 256

// stop is why a walk over plain tags or fields ended.
type stop uint8

const (
	stopEnd   stop = iota // no more follow
	stopOdd               // the next one is not plain
	stopBit               // the bit of the next one's name is taken
	stopValue             // the next one's name is plain, its value is not
)

// plainTags reads tags as long as they are plain, from the mark of the comma before the first on: a name of a
// bit that is not taken and a value, neither of them with quotes or escapes. It returns the mark behind the
// last one. It calls nothing, so that what it needs stays in registers; the same holds for plainFields.
func (d *Decoder) plainTags(p *point.Point, k int) (int, stop) {
	t, m := textOf(d.payload), marksOf(d.index.marks)
	n, seen, why := len(p.Tags), d.seen, stopOdd
	room := p.Tags[:min(cap(p.Tags), TagsMax)]
	comma := m.at(k)
	for n < len(room) {
		// Behind the comma, and behind the equals sign, is a mark or the zero that follows the last one. As
		// they ascend, those that are greater are marks, hence positions of bytes.
		equals, end := m.at(k+1), m.at(k+2)
		start, value := comma+1, equals+1
		if equals <= start || end <= value || t.at(equals) != '=' {
			break
		}
		c := t.at(end)
		if c != ',' && c != ' ' {
			break
		}
		sum := point.NameSum(t.at(start), t.at(equals-1), equals-start)
		if seen>>(sum%64)&1 != 0 {
			why = stopBit
			break
		}
		seen |= 1 << (sum % 64)
		room[n] = point.Tag{Name: payloadSpan(start, equals), Value: payloadSpan(value, end)}
		n++
		k += 2
		comma = end
		if c == ' ' {
			why = stopEnd
			break
		}
	}
	p.Tags, d.seen = p.Tags[:n], seen
	return k, why
}

// plainFields reads fields as long as they are plain, from i on, given the first mark there: a name of a bit
// that is not taken, without quotes and escapes, and a number without an exponent or a boolean of one letter.
// It returns where the next field begins and its first mark, or the mark behind the last field.
func (d *Decoder) plainFields(p *point.Point, i uint32, k int) (next uint32, mark int, why stop) {
	t, m, others := textOf(d.payload), marksOf(d.index.marks), textOf(d.index.others)
	n, seen := len(p.Fields), d.seen
	room := p.Fields[:min(cap(p.Fields), FieldsMax)]
	why = stopOdd
	for n < len(room) {
		// As in plainTags, marks that ascend are positions of bytes.
		equals, end := m.at(k), m.at(k+1)
		value := equals + 1
		if equals <= i || end < value || t.at(equals) != '=' {
			break
		}
		sum := point.NameSum(t.at(i), t.at(equals-1), equals-i)
		if seen>>(sum%64)&1 != 0 {
			why = stopBit
			break
		}
		c := t.at(end)
		if c != ',' && c != ' ' && c != '\n' {
			why = stopValue
			break
		}
		size, sign := end-value, uint32(0)
		odd := nonDigits(others, value) & (1<<(size%64) - 1)
		if t.at(value) == '-' {
			sign = signed
			odd &= odd - 1
		}
		digits := uint32(bits.TrailingZeros64(odd | 1<<(size%64)))
		form := &forms[(uint32(t.at(value+digits))|sign)%(2*signed)]
		if odd&(odd-1) != 0 || size >= plainMax || uint8(digits)-form.before > form.beforeMore ||
			uint8(size-digits)-form.behind > form.behindMore {
			why = stopValue
			break
		}
		seen |= 1 << (sum % 64)
		f := &room[n]
		f.Name, f.Value = payloadSpan(i, equals), payloadSpan(value, end)
		f.Kind, f.Known = form.kind, false
		if form.kind == point.Uint {
			p.HasUint = true
		}
		n++
		k++
		i = end + 1
		if c != ',' {
			why = stopEnd
			break
		}
		k++
	}
	p.Fields, d.seen = p.Fields[:n], seen
	return i, k, why
}

// oddValue reads a field of a plain and new name whose value may be of any form, given the mark of its equals
// sign. It returns the mark of the byte behind it, or -1 where that is the payload's end, or the value is bad
// or dropped.
func (d *Decoder) oddValue(p *point.Point, name point.Span, k int) int {
	field := point.Field{Name: name}
	start := name.End() + 1
	k++
	if start < len(d.payload) && d.payload[start] == '"' {
		k = d.quoted(p, &field, k)
	} else {
		k = d.unquoted(p, &field, start, k)
	}
	if k < 0 {
		return -1
	}
	if len(p.Fields) == cap(p.Fields) {
		return -1 // Let oddField make room.
	}
	d.seen |= point.NameBit(p.Bytes(field.Name))
	n := len(p.Fields)
	p.Fields = p.Fields[:n+1]
	f := &p.Fields[n]
	f.Name, f.Value, f.Kind, f.Known = field.Name, field.Value, field.Kind, false
	return k
}

// payloadSpan names the bytes of the payload between two positions.
func payloadSpan(from, to uint32) point.Span {
	return point.Span(uint64(from) | uint64(to-from)<<32)
}

// unquoted reads a value that is no string, given the first mark there. It returns the mark behind it, or -1
// as oddValue.
func (d *Decoder) unquoted(p *point.Point, field *point.Field, start, k int) int {
	end := d.value(p, start, field)
	if end < 0 || end == len(d.payload) || field.Kind == point.Missing {
		return -1
	}
	p.HasUint = p.HasUint || field.Kind == point.Uint
	return d.markFrom(k, end)
}

// quoted reads a string from the mark of its opening quote on, by the marks in it. It returns the mark behind
// it, or -1 as oddValue. escapedText says more about escapes.
func (d *Decoder) quoted(p *point.Point, field *point.Field, k int) int {
	b, marks := d.payload, d.index.marks[:d.index.count]
	start, from := int(marks[k])+1, len(p.ScratchBytes)
	copied := start
	for k++; k+1 < len(marks); k++ {
		i := int(marks[k])
		switch b[i] {
		case '\\':
			// There is a next mark, hence a next byte.
			if c := b[i+1]; c != '"' && c != '\\' {
				p.Verbatim = false
				continue
			}
			p.ScratchBytes = append(p.ScratchBytes, b[copied:i]...)
			copied = i + 1
			k++
		case '"':
			k++
			if i-start > StringLengthMax || int(marks[k]) != i+1 {
				return -1
			}
			if c := b[i+1]; c != ',' && c != ' ' && c != '\n' {
				return -1
			}
			field.Kind, field.Value = point.String, payloadSpan(uint32(start), uint32(i))
			if copied > start {
				p.ScratchBytes = append(p.ScratchBytes, b[copied:i]...)
				field.Value = point.MakeSpan(point.Scratch, from, len(p.ScratchBytes)-from)
			}
			return k
		}
	}
	return -1
}
