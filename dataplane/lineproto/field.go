package lineproto

import (
	"culvert/dataplane/point"
)

// fields reads the fields from i on. It returns where they end, or -1, and the bits of nameEnd.
func (d *Decoder) fields(p *point.Point, i int) (end int, rare uint64) {
	b := d.payload
	if lineEnds(b, i) {
		return d.fail(MissingFields, i, i), 0
	}
	var seen uint64
	nameMax, limit := 0, KeyLengthMax-keyFieldGap-p.Key.Length()
	for {
		start := i
		var more uint64
		i, more = nameEnd(b, start)
		rare |= more
		name := point.MakeSpan(point.Payload, start, i-start)
		if i < len(b) && b[i] == '\\' {
			if name, i, more = d.escaped(p, start, false); i < 0 {
				return -1, 0
			}
			rare |= more
		}
		if i == start {
			return d.nameFails(i, MissingFieldKey, MissingFieldKey), 0
		}
		if i == len(b) || b[i] != '=' {
			return d.nameFails(i, MissingFieldValue, MissingFieldValue), 0
		}
		stop := i
		nameMax = max(nameMax, i-start)
		field := point.Field{Name: name}
		if i, more = d.value(p, i+1, &field); i < 0 {
			return -1, 0
		}
		rare |= more
		bit := nameBit(p.Bytes(name))
		switch {
		case field.Kind == point.Missing:
			d.noteDEL(start, stop)
			d.dropped++
			p.Verbatim = false
		case seen&bit != 0 && d.replaceField(p, &field):
			d.dropped++
			p.Verbatim = false
		case len(p.Fields) == FieldsMax:
			return d.fail(TooManyFields, start, i), 0
		default:
			seen |= bit
			p.Fields = append(p.Fields, field)
			if field.Kind == point.Uint {
				d.uints++
			}
		}
		if i == len(b) || b[i] != ',' {
			break
		}
		i++
	}
	p.HasUint = d.uints > 0
	if nameMax > limit {
		return d.fail(KeyTooLong, p.Key.Offset(), i), 0
	}
	return i, rare
}

// value reads a field's value from i on. It returns where it ends, or -1. A value that is dropped leaves the
// kind Missing. Behind a value stands a comma, a space or the line's end.
func (d *Decoder) value(p *point.Point, i int, field *point.Field) (end int, rare uint64) {
	b := d.payload
	if i == len(b) {
		return d.fail(MissingFieldValue, i, i), 0
	}
	switch c := b[i]; {
	case c == '"':
		if end, rare = d.text(p, i, field); end < 0 {
			return -1, 0
		}
		if end < len(b) && b[end] != ',' && b[end] != ' ' && !lineEnds(b, end) {
			return d.fail(UnexpectedText, end, end), 0
		}
		return end, rare
	case c-'0' <= 9 || c == '.':
		return d.number(p, i, i, field), 0
	case c == '-' && (i+1 == len(b) || b[i+1] < 'A'):
		return d.number(p, i, i+1, field), 0
	case c == 't' || c == 'T' || c == 'f' || c == 'F':
		return d.boolean(i, field), 0
	}
	return d.oddValue(i), 0
}

// text reads a string from its opening quote on. Line ends in it belong to it.
func (d *Decoder) text(p *point.Point, quote int, field *point.Field) (end int, rare uint64) {
	b, start := d.payload, quote+1
	end, rare = stringEnd(b, start)
	field.Kind = point.String
	field.Value = point.MakeSpan(point.Payload, start, end-start)
	if end < len(b) && b[end] == '\\' {
		var more uint64
		field.Value, end, more = d.escapedText(p, start, end)
		rare |= more
	}
	if end == len(b) {
		return d.fail(UnterminatedString, quote, quote), 0
	}
	if end-start > StringLengthMax {
		return d.fail(StringTooLong, quote, end), 0
	}
	return end + 1, rare
}

// escapedText reads on in a string from its first backslash. Only quotes and backslashes are escaped; a
// backslash before anything else is an ordinary character, and such a string is written anew, so that no
// reader takes it for more.
func (d *Decoder) escapedText(p *point.Point, start, i int) (text point.Span, end int, rare uint64) {
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
		var more uint64
		i, more = stringEnd(b, i+1)
		rare |= more
	}
	i = min(i, len(b))
	if copied == start {
		return point.MakeSpan(point.Payload, start, i-start), i, rare
	}
	p.ScratchBytes = append(p.ScratchBytes, b[copied:i]...)
	return point.MakeSpan(point.Scratch, from, len(p.ScratchBytes)-from), i, rare
}

// boolean reads t, T, true, True, TRUE and their opposites.
func (d *Decoder) boolean(i int, field *point.Field) int {
	b := d.payload
	end := valueEnd(b, i)
	switch string(b[i:end]) {
	case "t", "T", "true", "True", "TRUE":
		field.Number = 1
	case "f", "F", "false", "False", "FALSE":
		field.Number = 0
	default:
		return d.fail(BadBool, i, i)
	}
	field.Kind = point.Bool
	field.Value = point.MakeSpan(point.Payload, i, end-i)
	return end
}

// oddValue reads what begins like no kind: it is NaN or an infinity in one of the ways that programs print
// them, which are dropped, or it is bad.
func (d *Decoder) oddValue(i int) int {
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
