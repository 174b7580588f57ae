package lineproto

import "culvert/dataplane/point"

// key reads measurement and tags from i on, given the first mark there. It returns the mark of the space
// behind them and its position, or -1.
func (d *Decoder) key(p *point.Point, i, k int) (mark, end int) {
	b := d.payload
	end = d.markAt(k)
	c := byteAt(b, end)
	for c == '=' || c == '"' {
		// These are like any other character in a measurement.
		k++
		end = d.markAt(k)
		c = byteAt(b, end)
	}
	p.Measurement = point.MakeSpan(point.Payload, i, end-i)
	if c == '\\' {
		if p.Measurement, end = d.escaped(p, i, true); end < 0 {
			return -1, 0
		}
		k = d.markFrom(k, end)
		c = byteAt(b, end)
	}
	if end == i {
		return d.nameFails(end, MissingMeasurement, MissingMeasurement), 0
	}
	d.seen = 0
	for c == ',' {
		var why stop
		k, why = d.plainTags(p, k)
		if why == stopBit {
			name := payloadSpan(d.index.marks[k]+1, d.index.marks[k+1])
			if !repeatsTag(p, name) {
				d.seen &^= point.NameBit(p.Bytes(name))
				continue
			}
		}
		if why != stopEnd {
			if k = d.oddTag(p, k); k < 0 {
				return -1, 0
			}
		}
		end = d.markAt(k)
		c = byteAt(b, end)
	}
	p.LacksTags = ^d.seen
	if c == '=' {
		return d.fail(BadTag, end, end), 0
	}
	if end >= len(b) || c != ' ' {
		return d.nameFails(end, MissingFields, UnexpectedText), 0
	}
	if end-i > KeyLengthMax {
		return d.fail(KeyTooLong, i+KeyLengthMax, end), 0
	}
	return k, end
}

// oddTag reads one tag of any form, from the mark of the comma before it on. It returns the mark behind it,
// or -1.
func (d *Decoder) oddTag(p *point.Point, k int) int {
	start := d.markAt(k) + 1
	name, k := d.oddName(p, start, k+1, MissingTagKey, MissingTagValue)
	if k < 0 {
		return -1
	}
	end := d.markAt(k)
	bit := point.NameBit(p.Bytes(name))
	if d.seen&bit != 0 && d.findTag(p, p.Tags, name) {
		return d.fail(DuplicateTag, start, end)
	}
	d.seen |= bit
	start = end + 1
	value, k := d.oddText(p, start, k+1)
	if k < 0 {
		return -1
	}
	if end = d.markAt(k); end == start {
		return d.nameFails(end, MissingTagValue, BadTag)
	}
	if len(p.Tags) == TagsMax {
		return d.fail(TooManyTags, name.Offset(), end)
	}
	p.Tags = append(p.Tags, point.Tag{Name: name, Value: value})
	return k
}

// oddName reads the name of a tag or a field of any form from start on, given the first mark there. It
// returns the name and the mark of the equals sign behind it, or -1 for lack of a name or of the equals sign.
func (d *Decoder) oddName(p *point.Point, start, k int, missing, valueless Reason) (point.Span, int) {
	name, k := d.oddText(p, start, k)
	if k < 0 {
		return 0, -1
	}
	end := d.markAt(k)
	if end == start {
		return 0, d.nameFails(end, missing, missing)
	}
	if byteAt(d.payload, end) != '=' {
		return 0, d.nameFails(end, valueless, valueless)
	}
	return name, k
}

// oddText reads a name or a tag's value that may hold quotes, which are ordinary characters there, and
// escapes. It returns the mark where it ends, or -1.
func (d *Decoder) oddText(p *point.Point, start, k int) (point.Span, int) {
	b := d.payload
	for byteAt(b, d.markAt(k)) == '"' {
		k++
	}
	end := d.markAt(k)
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
