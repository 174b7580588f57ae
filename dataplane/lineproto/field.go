package lineproto

import (
	"slices"

	"culvert/dataplane/point"
)

// fields reads the fields from i on, given the first mark there. It returns the mark where they end and its
// position, or -1.
func (d *Decoder) fields(p *point.Point, i, k int) (mark, end int) {
	if lineEnds(d.payload, i) {
		return d.fail(MissingFields, i, i), 0
	}
	d.seen, d.nameMax, d.uintLost = 0, 0, false
	next, k, why := d.plainFields(p, uint32(i), k)
	for why != stopEnd {
		if k = d.nextField(p, next, k, why); k < 0 {
			return -1, 0
		}
		end = d.markAt(k)
		if byteAt(d.payload, end) != ',' {
			next = uint32(end) + 1
			break
		}
		next, k, why = d.plainFields(p, uint32(end)+1, k+1)
	}
	p.LacksFields = ^d.seen
	if d.uintLost {
		p.HasUint = slices.ContainsFunc(p.Fields, func(f point.Field) bool { return f.Kind == point.Uint })
	}
	// Only a long line can hold a name that is too long with its key.
	if end = int(next) - 1; end-p.Key.Offset() > KeyLengthMax-keyFieldGap {
		for n := range p.Fields {
			d.nameMax = max(d.nameMax, p.Fields[n].Name.Length())
		}
		if d.nameMax > KeyLengthMax-keyFieldGap-p.Key.Length() {
			return d.fail(KeyTooLong, p.Key.Offset(), end), 0
		}
	}
	return k, end
}

// nextField reads the field before which plainFields has stopped, from start on, given the first mark there.
// It returns the mark where it ends, or -1.
func (d *Decoder) nextField(p *point.Point, start uint32, k int, why stop) int {
	if why != stopOdd {
		// The name is plain, and may be new.
		name := payloadSpan(start, d.index.marks[k])
		if why == stopValue || !repeatsField(p, name) {
			if mark := d.oddValue(p, name, k); mark >= 0 {
				return mark
			}
		}
	}
	return d.oddField(p, int(start), k)
}

// oddField reads one field of any form, from start on, given the first mark there. It returns the mark where
// it ends, or -1.
func (d *Decoder) oddField(p *point.Point, start, k int) int {
	var field point.Field
	field.Name, k = d.oddName(p, start, k, MissingFieldKey, MissingFieldValue)
	if k < 0 {
		return -1
	}
	equals := d.markAt(k)
	end := d.value(p, equals+1, &field)
	if end < 0 {
		return -1
	}
	d.nameMax = max(d.nameMax, equals-start)
	bit := point.NameBit(p.Bytes(field.Name))
	seen := d.seen&bit != 0
	d.seen |= bit
	switch {
	case field.Kind == point.Missing:
		d.noteDEL(start, equals)
		d.dropped++
		p.Verbatim = false
	case seen && d.replaceField(p, &field):
		d.dropped++
		p.Verbatim = false
	case len(p.Fields) == FieldsMax:
		return d.fail(TooManyFields, start, end)
	default:
		p.Fields = append(p.Fields, field)
		p.HasUint = p.HasUint || field.Kind == point.Uint
	}
	return d.markFrom(k, end)
}

// value reads a field's value from i on. It returns where it ends, or -1. A value that is dropped leaves the
// kind Missing. Behind a value stands a comma, a space or the line's end.
func (d *Decoder) value(p *point.Point, i int, field *point.Field) int {
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
