package lineproto

import (
	"math/bits"

	"culvert/dataplane/point"
)

// fields reads the fields from i on, given the first mark there. It returns the mark where they end, or -1.
func (d *Decoder) fields(p *point.Point, i, k int) int {
	b, marks := d.payload, d.index.marks
	if lineEnds(b, i) {
		return d.fail(MissingFields, i, i)
	}
	var seen uint64
	nameMax := 0
	for {
		start, end := i, int(marks[k])
		var bit uint64
		field := point.Field{Name: point.MakeSpan(point.Payload, start, end-start)}
		if end < len(b) && b[end] == '=' && start < end {
			bit = bitOf(b[start], b[end-1], end-start)
		} else {
			field.Name, k = d.oddName(p, start, k, MissingFieldKey, MissingFieldKey, MissingFieldValue)
			if k < 0 {
				return -1
			}
			end = int(marks[k])
			bit = nameBit(p.Bytes(field.Name))
		}
		nameMax = max(nameMax, end-start)
		if k = d.value(p, end+1, k+1, &field); k < 0 {
			return -1
		}
		i = int(marks[k])
		switch {
		case field.Kind == point.Missing:
			d.noteDEL(start, end)
			d.dropped++
			p.Verbatim = false
		case seen&bit != 0 && d.replaceField(p, &field):
			d.dropped++
			p.Verbatim = false
		case len(p.Fields) == FieldsMax:
			return d.fail(TooManyFields, start, i)
		default:
			seen |= bit
			p.Fields = append(p.Fields, field)
			p.HasUint = p.HasUint || field.Kind == point.Uint
		}
		if byteAt(b, i) != ',' {
			break
		}
		i++
		k++
	}
	if nameMax > KeyLengthMax-keyFieldGap-p.Key.Length() {
		return d.fail(KeyTooLong, p.Key.Offset(), i)
	}
	return k
}

// value reads a field's value from i on, given the first mark there. It returns the mark where it ends, or
// -1. A value that is dropped leaves the kind Missing. Behind a value stands a comma, a space or the line's
// end.
func (d *Decoder) value(p *point.Point, i, k int, field *point.Field) int {
	b, marks := d.payload, d.index.marks
	end := int(marks[k])
	c := byteAt(b, end)
	if c == '"' && end == i {
		if mark := d.plainText(i, k, field); mark > 0 {
			return mark
		}
	} else if c == ',' || c == ' ' || c == '\n' {
		if d.plain(p, i, end, field) {
			return k
		}
	}
	if end = d.oddValue(p, i, field); end < 0 {
		return -1
	}
	return d.markFrom(k, end)
}

// plain reads a number without an exponent, or a boolean of one letter, from its text's begin to its end. It
// tells whether it is one, and then in its range.
func (d *Decoder) plain(p *point.Point, i, end int, field *point.Field) bool {
	b, first := d.payload, i
	if first < end && b[first] == '-' {
		first++
	}
	n := end - first
	if uint(n-1) >= plainMax {
		return false
	}
	odd := nonDigits(d.index.others, first, n)
	kind := point.Float
	if odd != 0 {
		at := bits.TrailingZeros64(odd)
		if odd&(odd-1) != 0 {
			return false
		}
		switch c := b[first+at]; {
		case c == '.' && n > 1:
			if at == 0 || at == n-1 {
				// InfluxDB 3 wants a digit on either side of the point.
				p.Verbatim = false
			}
		case c == 'i' && at == n-1 && n-2 < digitsMax-1 && n > 1:
			kind = point.Int
		case c == 'u' && at == n-1 && n-1 <= digitsMax && n > 1 && first == i:
			kind = point.Uint
		case (c|0x20 == 't' || c|0x20 == 'f') && n == 1 && first == i:
			kind = point.Bool
		default:
			return false
		}
	}
	field.Kind, field.Value = kind, point.MakeSpan(point.Payload, i, end-i)
	return true
}

// plainMax is the longest text that plain reads, without its sign, in bytes.
const plainMax = 63

// plainText reads a string without escapes from the mark of its opening quote on. It returns the mark
// behind it, or 0 if the string is not plain or not good.
func (d *Decoder) plainText(quote, k int, field *point.Field) int {
	b, marks := d.payload, d.index.marks
	end := 0
	for {
		k++
		if end = int(marks[k]); end >= len(b) || b[end] == '\\' {
			return 0
		}
		if b[end] == '"' {
			break
		}
	}
	start := quote + 1
	if end-start > StringLengthMax || int(marks[k+1]) != end+1 {
		return 0
	}
	if c := byteAt(b, end+1); c != ',' && c != ' ' && c != '\n' {
		return 0
	}
	field.Kind, field.Value = point.String, point.MakeSpan(point.Payload, start, end-start)
	return k + 1
}

// oddValue reads a value that is not plain from i on. It returns where it ends, or -1.
func (d *Decoder) oddValue(p *point.Point, i int, field *point.Field) int {
	b := d.payload
	if i == len(b) {
		return d.fail(MissingFieldValue, i, i)
	}
	switch c := b[i]; {
	case c == '"':
		end := d.text(p, i, field)
		if end >= 0 && end < len(b) && b[end] != ',' && b[end] != ' ' && !lineEnds(b, end) {
			return d.fail(UnexpectedText, end, end)
		}
		return end
	case c-'0' <= 9 || c == '.':
		return d.number(p, i, i, field)
	case c == '-' && (i+1 == len(b) || b[i+1] < 'A'):
		return d.number(p, i, i+1, field)
	case c == 't' || c == 'T' || c == 'f' || c == 'F':
		return d.boolean(i, field)
	}
	return d.noValue(i)
}

// text reads a string from its opening quote on. Line ends in it belong to it.
func (d *Decoder) text(p *point.Point, quote int, field *point.Field) int {
	b, start := d.payload, quote+1
	end := stringEnd(b, start)
	field.Kind = point.String
	field.Value = point.MakeSpan(point.Payload, start, end-start)
	if end < len(b) && b[end] == '\\' {
		field.Value, end = d.escapedText(p, start, end)
	}
	if end == len(b) {
		return d.fail(UnterminatedString, quote, quote)
	}
	if end-start > StringLengthMax {
		return d.fail(StringTooLong, quote, end)
	}
	return end + 1
}

// escapedText reads on in a string from its first backslash. Only quotes and backslashes are escaped; a
// backslash before anything else is an ordinary character, and such a string is written anew, so that no
// reader takes it for more.
func (d *Decoder) escapedText(p *point.Point, start, i int) (text point.Span, end int) {
	b, from, copied := d.payload, len(p.ScratchBytes), start
	for i < len(b) && b[i] != '"' {
		// At a backslash.
		if i+1 < len(b) && (b[i+1] == '"' || b[i+1] == '\\') {
			p.ScratchBytes = append(p.ScratchBytes, b[copied:i]...)
			copied = i + 1
			i++
		} else {
			p.Verbatim = false
		}
		i = stringEnd(b, i+1)
	}
	i = min(i, len(b))
	if copied == start {
		return point.MakeSpan(point.Payload, start, i-start), i
	}
	p.ScratchBytes = append(p.ScratchBytes, b[copied:i]...)
	return point.MakeSpan(point.Scratch, from, len(p.ScratchBytes)-from), i
}

// boolean reads t, T, true, True, TRUE and their opposites.
func (d *Decoder) boolean(i int, field *point.Field) int {
	b := d.payload
	end := valueEnd(b, i)
	switch string(b[i:end]) {
	case "t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE":
	default:
		return d.fail(BadBool, i, i)
	}
	field.Kind = point.Bool
	field.Value = point.MakeSpan(point.Payload, i, end-i)
	return end
}

// noValue reads what begins like no kind: it is NaN or an infinity in one of the ways that programs print
// them, which are dropped, or it is bad.
func (d *Decoder) noValue(i int) int {
	b := d.payload
	end := valueEnd(b, i)
	if end == i {
		return d.fail(MissingFieldValue, i, i)
	}
	word, reason := b[i:end], BadValue
	if word[0] == '+' || word[0] == '-' {
		word, reason = word[1:], BadNumber
	}
	if sameLetters(word, "nan") || sameLetters(word, "inf") || sameLetters(word, "infinity") {
		return end
	}
	return d.fail(reason, i, i)
}

// sameLetters compares without regard to case; lower holds small letters alone.
func sameLetters(text []byte, lower string) bool {
	if len(text) != len(lower) {
		return false
	}
	for i := range text {
		if text[i]|0x20 != lower[i] {
			return false
		}
	}
	return true
}

// valueEnd finds where a value that is no string ends: at a comma, a space or the line's end.
func valueEnd(b []byte, i int) int {
	for i < len(b) && b[i] != ',' && b[i] != ' ' && !lineEnds(b, i) {
		i++
	}
	return i
}
