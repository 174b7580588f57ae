package lineproto

import (
	"math/bits"

	"culvert/dataplane/point"
)

// form says what a plain value looks like, given the first of its bytes that is no digit or, if all are
// digits, the byte behind it. Ranges decide, so that no branch depends on the kind.
type form struct {
	kind point.Kind
	// Digits before that byte, and bytes from it to the value's end: the least, and how many more.
	before, beforeMore uint8
	behind, behindMore uint8
}

// digitsMax is how many decimal digits always fit in 64 bits, and one less in 63.
const digitsMax = 19

// forms are looked up by the byte, those with a sign before the digits from signed on. A float that begins or
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

	signed + ',':  {kind: point.Float, before: 1, beforeMore: plainMax},
	signed + ' ':  {kind: point.Float, before: 1, beforeMore: plainMax},
	signed + '\n': {kind: point.Float, before: 1, beforeMore: plainMax},
	signed + '.':  {kind: point.Float, before: 1, beforeMore: plainMax, behind: 2, behindMore: plainMax},
	signed + 'i':  {kind: point.Int, before: 1, beforeMore: digitsMax - 2, behind: 1},
}

const signed = 256

// plainTags reads tags as long as they are plain, from the mark of the comma before the first on: a name that
// differs from all before and a value, neither of them with quotes or escapes. It returns the mark behind the
// last one.
func (d *Decoder) plainTags(p *point.Point, k int) int {
	t, m := textOf(d.payload), marksOf(d.index.marks)
	n, seen := len(p.Tags), d.seen
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
		sum := nameSum(t.at(start), t.at(equals-1), equals-start)
		if seen>>(sum%64)&1 != 0 && repeatsTag(p, n, start, equals) {
			break
		}
		seen |= 1 << (sum % 64)
		room[n] = point.Tag{Name: payloadSpan(start, equals), Value: payloadSpan(value, end)}
		n++
		k += 2
		comma = end
		if c == ' ' {
			break
		}
	}
	p.Tags, d.seen = p.Tags[:n], seen
	return k
}

// plainFields reads fields as long as they are plain, from i on, given the first mark there: a name without
// quotes and escapes that differs from all before, and any value. It returns where the next field begins and
// its first mark, or the mark behind the last field and that there are no more.
func (d *Decoder) plainFields(p *point.Point, at, k int) (next, mark int, more bool) {
	t, m, others := textOf(d.payload), marksOf(d.index.marks), textOf(d.index.others)
	n, seen, nameMax := len(p.Fields), d.seen, uint32(d.nameMax)
	room := p.Fields[:min(cap(p.Fields), FieldsMax)]
	i := uint32(at)
	for {
		// As in plainTags, marks that ascend are positions of bytes.
		equals, end := m.at(k), m.at(k+1)
		if n >= len(room) || equals <= i || end <= equals || t.at(equals) != '=' {
			more = true
			break
		}
		sum := nameSum(t.at(i), t.at(equals-1), equals-i)
		if seen>>(sum%64)&1 != 0 && repeatsField(p, n, i, equals) {
			more = true
			break
		}
		// Should the value be bad, oddField reads the name once more and says so.
		seen |= 1 << (sum % 64)
		nameMax = max(nameMax, equals-i)
		f, value, c, plain := &room[n], equals+1, t.at(end), false
		f.Name, f.Known = payloadSpan(i, equals), false
		if c == ',' || c == ' ' || c == '\n' {
			first, sign := value, uint32(0)
			if t.at(value) == '-' {
				first, sign = value+1, signed
			}
			size := end - first
			odd := nonDigits(others, first) & (1<<(size%64) - 1)
			digits := bits.TrailingZeros64(odd | 1<<(size%64))
			form := &forms[(uint32(t.at(first+uint32(digits)))|sign)%(2*signed)]
			if odd&(odd-1) == 0 && size < plainMax && uint8(digits)-form.before <= form.beforeMore &&
				uint8(size)-uint8(digits)-form.behind <= form.behindMore {
				f.Value, f.Kind = payloadSpan(value, end), form.kind
				if form.kind == point.Uint {
					p.HasUint = true
				}
				k++
				plain = true
			}
		}
		if !plain {
			next := d.oddValue(p, f, int(value), k)
			if next < 0 {
				more = true
				break
			}
			k = next
			end = m.at(k)
			c = t.at(end)
		}
		n++
		i = end + 1
		if c != ',' {
			break
		}
		k++
	}
	p.Fields = p.Fields[:n]
	d.seen, d.nameMax = seen, int(nameMax)
	return int(i), k, more
}

// oddValue reads a value that is not plain, behind the equals sign at mark k, into a field of a plain name. It
// returns the mark of the byte behind it, or -1 where that is the payload's end, or the value is bad or
// dropped.
func (d *Decoder) oddValue(p *point.Point, f *point.Field, start, k int) int {
	if d.payload[start] == '"' {
		if quote := plainText(d.payload, d.index.marks[:d.index.count], k+1); quote >= 0 {
			f.Kind, f.Value = point.String, payloadSpan(uint32(start+1), d.index.marks[quote])
			return quote + 1
		}
	}
	f.Kind = point.Missing
	end := d.value(p, start, f)
	if end < 0 || end == len(d.payload) || f.Kind == point.Missing {
		return -1
	}
	p.HasUint = p.HasUint || f.Kind == point.Uint
	return d.markFrom(k, end)
}

// payloadSpan names the bytes of the payload between two positions.
func payloadSpan(from, to uint32) point.Span {
	return point.Span(uint64(from) | uint64(to-from)<<32)
}

// plainText reads a string without escapes from the mark of its opening quote on. It returns the mark of its
// closing quote, or -1 if the string is not plain or not good. Behind the quote is a mark then.
func plainText(b []byte, marks []uint32, k int) int {
	quote := int(marks[k])
	for k++; k+1 < len(marks); k++ {
		end := int(marks[k])
		switch b[end] {
		case '\\':
			return -1
		case '"':
			if end-quote > StringLengthMax || int(marks[k+1]) != end+1 {
				return -1
			}
			if c := b[end+1]; c != ',' && c != ' ' && c != '\n' {
				return -1
			}
			return k
		}
	}
	return -1
}
