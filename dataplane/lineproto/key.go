package lineproto

import "culvert/dataplane/point"

// key reads measurement and tags from i on, given the first mark there. It returns the mark of the space
// behind them, or -1.
func (d *Decoder) key(p *point.Point, i, k int) int {
	b, marks := d.payload, d.index.marks
	end := int(marks[k])
	c := byteAt(b, end)
	for c == '=' || c == '"' {
		// These are like any other character in a measurement.
		k++
		end = int(marks[k])
		c = byteAt(b, end)
	}
	p.Measurement = point.MakeSpan(point.Payload, i, end-i)
	if c == '\\' {
		if p.Measurement, end = d.escaped(p, i, true); end < 0 {
			return -1
		}
		k = d.markFrom(k, end)
		c = byteAt(b, end)
	}
	if end == i {
		return d.nameFails(end, MissingMeasurement, MissingMeasurement)
	}
	if c == ',' {
		if k = d.tags(p, k); k < 0 {
			return -1
		}
		end = int(marks[k])
	}
	if end >= len(b) || b[end] != ' ' {
		return d.nameFails(end, MissingFields, UnexpectedText)
	}
	if end-i > KeyLengthMax {
		return d.fail(KeyTooLong, i+KeyLengthMax, end)
	}
	return k
}

// tags reads the tags from the mark of the comma before the first on. It returns the mark behind them, or -1.
func (d *Decoder) tags(p *point.Point, k int) int {
	b, marks, tags := d.payload, d.index.marks, p.Tags[:0]
	var seen uint64
	end, c := int(marks[k]), byte(',')
	for c == ',' {
		start := end + 1
		k++
		end = int(marks[k])
		name := point.MakeSpan(point.Payload, start, end-start)
		var bit uint64
		if end < len(b) && b[end] == '=' && start < end {
			bit = bitOf(b[start], b[end-1], end-start)
		} else {
			if name, k = d.oddName(p, start, k, MissingTagKey, MissingTagKey, MissingTagValue); k < 0 {
				return -1
			}
			end = int(marks[k])
			bit = nameBit(p.Bytes(name))
		}
		if seen&bit != 0 && d.findTag(p, tags, name) {
			return d.fail(DuplicateTag, start, end)
		}
		seen |= bit
		start = end + 1
		k++
		end = int(marks[k])
		c = byteAt(b, end)
		value := point.MakeSpan(point.Payload, start, end-start)
		if c != ',' && c != ' ' || start == end {
			if value, k = d.oddTagValue(p, start, k); k < 0 {
				return -1
			}
			end = int(marks[k])
			c = byteAt(b, end)
		}
		if len(tags) == TagsMax {
			return d.fail(TooManyTags, name.Offset(), end)
		}
		tags = append(tags, point.Tag{Name: name, Value: value})
	}
	p.Tags = tags
	if c == '=' {
		return d.fail(BadTag, end, end)
	}
	return k
}

// oddName reads the name of a tag or a field that does not plainly reach from start to an equals sign, at
// the mark k. It returns the name and the mark of the equals sign behind it, or -1: for lack of a name,
// because of misplaced text there, or for lack of the equals sign.
func (d *Decoder) oddName(p *point.Point, start, k int, missing, otherwise, valueless Reason) (point.Span, int) {
	name, k := d.oddText(p, start, k)
	if k < 0 {
		return 0, -1
	}
	end := int(d.index.marks[k])
	if end == start {
		return 0, d.nameFails(end, missing, otherwise)
	}
	if byteAt(d.payload, end) != '=' {
		return 0, d.nameFails(end, valueless, valueless)
	}
	return name, k
}

// oddTagValue is as oddName for the value of a tag.
func (d *Decoder) oddTagValue(p *point.Point, start, k int) (point.Span, int) {
	value, k := d.oddText(p, start, k)
	if k < 0 {
		return 0, -1
	}
	if end := int(d.index.marks[k]); end == start {
		return 0, d.nameFails(end, MissingTagValue, BadTag)
	}
	return value, k
}

// oddText reads a name or a tag's value that may hold quotes, which are ordinary characters there, and
// escapes. It returns the mark where it ends, or -1.
func (d *Decoder) oddText(p *point.Point, start, k int) (point.Span, int) {
	b, marks := d.payload, d.index.marks
	for byteAt(b, int(marks[k])) == '"' {
		k++
	}
	end := int(marks[k])
	if byteAt(b, end) != '\\' {
		return point.MakeSpan(point.Payload, start, end-start), k
	}
	text, end := d.escaped(p, start, false)
	if end < 0 {
		return 0, -1
	}
	return text, d.markFrom(k, end)
}

// nameFails tells what is wrong at i, where a name ends and should not: a control character, or, by what
// stands there, that something is missing or is misplaced.
func (d *Decoder) nameFails(i int, missing, otherwise Reason) int {
	b := d.payload
	switch {
	case lineEnds(b, i) || b[i] == ' ' || b[i] == ',':
		return d.fail(missing, i, i)
	case b[i] < ' ':
		return d.fail(ControlCharacter, i, i)
	}
	return d.fail(otherwise, i, i)
}

// escaped reads a name or a tag's value that holds a backslash, from its start on, and returns it without
// its escapes and where it ends, or -1. A backslash that is not before a character
// that needs one is an ordinary character. An even number of them before such a character is refused:
// some readers take the last for an escape, others take them in pairs and end the name there.
func (d *Decoder) escaped(p *point.Point, start int, measurement bool) (name point.Span, end int) {
	var rare uint64
	b, from, copied, i := d.payload, len(p.ScratchBytes), start, start
	for {
		at, more := nameEnd(b, i)
		rare |= more
		i = at
		if i < len(b) && b[i] == '=' && measurement {
			i++
			continue
		}
		if i == len(b) || b[i] != '\\' {
			break
		}
		first := i
		for i < len(b) && b[i] == '\\' {
			i++
		}
		if lineEnds(b, i) {
			return 0, d.fail(TrailingBackslash, i-1, i)
		}
		if c := b[i]; c == ',' || c == ' ' || c == '=' && !measurement {
			if (i-first)%2 == 0 {
				return 0, d.fail(TrailingBackslash, i-1, i)
			}
			p.ScratchBytes = append(p.ScratchBytes, b[copied:i-1]...)
			copied = i
			i++
		}
	}
	if rare&highs != 0 {
		d.noteDEL(start, i)
	}
	if copied == start {
		return point.MakeSpan(point.Payload, start, i-start), i
	}
	p.ScratchBytes = append(p.ScratchBytes, b[copied:i]...)
	return point.MakeSpan(point.Scratch, from, len(p.ScratchBytes)-from), i
}
