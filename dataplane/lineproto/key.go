package lineproto

import "culvert/dataplane/point"

// key reads measurement and tags from i on. It returns the position of the space behind them, or -1, and the
// bits of nameEnd.
func (d *Decoder) key(p *point.Point, i int) (end int, rare uint64) {
	b, start := d.payload, i
	end, rare = nameEnd(b, i)
	for end < len(b) && b[end] == '=' {
		// An equals sign is like any other character in a measurement.
		var more uint64
		end, more = nameEnd(b, end+1)
		rare |= more
	}
	p.Measurement = point.MakeSpan(point.Payload, i, end-i)
	if end < len(b) && b[end] == '\\' {
		if p.Measurement, end, rare = d.escaped(p, i, true); end < 0 {
			return -1, 0
		}
	}
	if end == i {
		return d.nameFails(end, MissingMeasurement, MissingMeasurement), 0
	}
	if end < len(b) && b[end] == ',' {
		var more uint64
		if end, more = d.tags(p, end); end < 0 {
			return -1, 0
		}
		rare |= more
	}
	if end == len(b) || b[end] != ' ' {
		return d.nameFails(end, MissingFields, UnexpectedText), 0
	}
	if end-start > KeyLengthMax {
		return d.fail(KeyTooLong, start+KeyLengthMax, end), 0
	}
	return end, rare
}

// tags reads the tags from the comma before the first on. It returns where they end, or -1.
func (d *Decoder) tags(p *point.Point, i int) (end int, rare uint64) {
	b, tags := d.payload, p.Tags[:0]
	var seen uint64
	end = i
	for end < len(b) && b[end] == ',' {
		i = end + 1
		var more uint64
		end, more = nameEnd(b, i)
		rare |= more
		name := point.MakeSpan(point.Payload, i, end-i)
		if end < len(b) && b[end] == '\\' {
			if name, end, more = d.escaped(p, i, false); end < 0 {
				return -1, 0
			}
			rare |= more
		}
		if end == i {
			return d.nameFails(end, MissingTagKey, MissingTagKey), 0
		}
		if end == len(b) || b[end] != '=' {
			return d.nameFails(end, MissingTagValue, MissingTagValue), 0
		}
		text := p.Bytes(name)
		bit := nameBit(text)
		if seen&bit != 0 && d.findTag(p, tags, name) {
			return d.fail(DuplicateTag, i, end), 0
		}
		seen |= bit
		i = end + 1
		end, more = nameEnd(b, i)
		rare |= more
		value := point.MakeSpan(point.Payload, i, end-i)
		if end < len(b) && b[end] == '\\' {
			if value, end, more = d.escaped(p, i, false); end < 0 {
				return -1, 0
			}
			rare |= more
		}
		if end == i {
			return d.nameFails(end, MissingTagValue, BadTag), 0
		}
		if len(tags) == TagsMax {
			return d.fail(TooManyTags, name.Offset(), end), 0
		}
		tags = append(tags, point.Tag{Name: name, Value: value})
	}
	p.Tags = tags
	if end < len(b) && b[end] == '=' {
		return d.fail(BadTag, end, end), 0
	}
	return end, rare
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
// its escapes, where it ends, or -1, and the bits of nameEnd. A backslash that is not before a character
// that needs one is an ordinary character. An even number of them before such a character is refused:
// some readers take the last for an escape, others take them in pairs and end the name there.
func (d *Decoder) escaped(
	p *point.Point, start int, measurement bool,
) (name point.Span, end int, rare uint64) {
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
			return 0, d.fail(TrailingBackslash, i-1, i), 0
		}
		if c := b[i]; c == ',' || c == ' ' || c == '=' && !measurement {
			if (i-first)%2 == 0 {
				return 0, d.fail(TrailingBackslash, i-1, i), 0
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
		return point.MakeSpan(point.Payload, start, i-start), i, rare
	}
	p.ScratchBytes = append(p.ScratchBytes, b[copied:i]...)
	return point.MakeSpan(point.Scratch, from, len(p.ScratchBytes)-from), i, rare
}
