package lineproto

import (
	"bytes"
	"fmt"
	"math"
	"unicode/utf8"

	"culvert/dataplane/point"
)

// Timestamps that servers store, in nanoseconds: those beyond mark "no time" in their indices.
const (
	timeMin = math.MinInt64 + 2
	timeMax = math.MaxInt64 - 1
)

// Decoder reads the lines of one payload after the other. The zero Decoder is ready for Start. It belongs
// to one worker, and so does the point it fills; what it says of a rejected line is valid until the next
// Next.
type Decoder struct {
	payload   []byte
	next      int   // where the next line begins
	unit      int64 // of timestamps, in nanoseconds
	low, high int64 // bounds of timestamps, in their unit
	dropped   int
	kept      int // what dropped was before the line that is read
	names     nameTable
	index     index

	// Of the line that is read:
	start    int    // its first byte
	mark     int    // the first mark from there on
	seen     uint64 // the bits of its fields' names
	nameMax  int    // the longest of those that oddField read, as it stands, in bytes
	uintLost bool   // a field of kind Uint was replaced
	del      int    // the first DEL in a name that has no span in the payload, or -1

	// Of the line that was rejected last:
	reason Reason
	at     int // the byte that is wrong
	resume int // the next line begins behind the first LF from here on
	end    int // behind the line's last byte
}

// What a point gets room for at once. Wider points, and text with escapes, make its slices grow to what the
// traffic needs, which is bounded: then they keep their size, and nothing is allocated any more.
const (
	tagsReserve   = 128
	fieldsReserve = 1024
)

// Start begins a payload, which p borrows until the next Start.
func (d *Decoder) Start(payload []byte, precision Precision, p *point.Point) {
	if len(payload) > point.LengthMax {
		panic(fmt.Sprintf("BUG: payload of %d bytes, a span names at most %d", len(payload), point.LengthMax))
	}
	if cap(p.Tags) < tagsReserve {
		p.Tags = make([]point.Tag, 0, tagsReserve)
	}
	if cap(p.Fields) < fieldsReserve {
		p.Fields = make([]point.Field, 0, fieldsReserve)
	}
	d.names.kind = noNames
	p.Reset()
	p.PayloadBytes = payload
	d.payload, d.next, d.mark, d.dropped, d.kept = payload, 0, 0, 0, 0
	d.index.build(payload)
	d.unit = precision.multiplier()
	d.low, d.high = timeMin/d.unit, timeMax/d.unit
}

// Next reads one line into p, which loses what it held. It gives OK or Rejected once for each line that is
// neither blank nor a comment, then End.
func (d *Decoder) Next(p *point.Point) Outcome {
	p.Reset()
	i, b := d.next, d.payload
	if i+1 < len(b) && b[i] == '\n' && b[i+1] > '#' {
		i++
		d.start = i
	} else if i = d.skipBlank(); i == len(b) {
		return End
	}
	p.Verbatim = true
	d.kept, d.del = d.dropped, -1
	keyStart := i
	// Kept although the line may be bad: many bad lines must not count the same marks again and again.
	d.mark = d.markFrom(d.mark, i)
	k, i := d.key(p, i, d.mark)
	if k < 0 {
		return d.reject(p)
	}
	p.Key = point.MakeSpan(point.Payload, keyStart, i-keyStart)
	k++
	for i++; i == d.markAt(k) && byteAt(b, i) == ' '; i++ {
		k++
	}
	fieldStart := i
	k, fieldEnd := d.fields(p, i, k)
	if k < 0 {
		return d.reject(p)
	}
	p.FieldSet = point.MakeSpan(point.Payload, fieldStart, fieldEnd-fieldStart)
	if i = d.stamp(p, k); i < 0 {
		return d.reject(p)
	}
	if d.index.anyRare {
		// Sequences of UTF-8 have no byte that is plain ASCII, so that all lie between these two.
		from, to := d.index.rareFrom(keyStart, fieldEnd)
		if from < to && !d.wellFormed(p, from, to, i) {
			return d.reject(p)
		}
	}
	if len(p.Fields) == 0 {
		d.fail(NoFieldsLeft, fieldStart, i)
		return d.reject(p)
	}
	d.next, d.mark = i, k
	return OK
}

// markFrom is the first mark at or behind a position, of those from k on.
func (d *Decoder) markFrom(k, i int) int {
	marks := d.index.marks[:d.index.count]
	for k < len(marks) && int(marks[k]) < i {
		k++
	}
	return k
}

// byteAt is the byte at a mark. The end of the payload ends a line like LF.
func byteAt(b []byte, i int) byte {
	if i < len(b) {
		return b[i]
	}
	return '\n'
}

// Reason is why the last line was rejected.
func (d *Decoder) Reason() Reason { return d.reason }

// Column is where the last rejected line is wrong: the 1-based position of the byte in that line. A line that
// holds a string with LF in it is one line.
func (d *Decoder) Column() int { return d.at - d.start + 1 }

// Line is the last rejected line as it stands in the payload, without its end.
func (d *Decoder) Line() point.Span {
	return point.MakeSpan(point.Payload, d.start, d.end-d.start)
}

// FieldsDropped counts fields since Start that were left out of lines that are otherwise fine: NaN,
// infinities, and all but the last of one name. Those of rejected lines do not count.
func (d *Decoder) FieldsDropped() int { return d.dropped }

// skipBlank passes line ends, blank lines, comments, and white space before a line; it returns where the next
// line's text begins and sets d.start to the begin of the line.
func (d *Decoder) skipBlank() int {
	b, i := d.payload, d.next
	d.start = i
	for i < len(b) {
		switch c := b[i]; {
		case c == '\n':
			i++
			d.start = i
		case c == ' ' || c == '\t' || c == 0:
			i++
		case c == '\r' && lineEnds(b, i):
			i++
		case c == '#':
			lf := bytes.IndexByte(b[i:], '\n')
			if lf < 0 {
				return len(b)
			}
			i += lf
		default:
			return i
		}
	}
	return len(b)
}

// fail notes what is wrong, at which byte, and from where on the next LF ends the bad line. It returns the
// position that stands for failure.
func (d *Decoder) fail(reason Reason, at, resume int) int {
	d.reason, d.at, d.resume = reason, at, resume
	return -1
}

// reject ends a bad line.
func (d *Decoder) reject(p *point.Point) Outcome {
	p.Reset()
	d.dropped = d.kept
	d.end, d.next = lineCut(d.payload, d.start, d.resume)
	return Rejected
}

// wellFormed checks the part of a line, from the first to the last byte that is not plain ASCII: valid UTF-8,
// and no DEL in names. Both are looked for at the line's end, where it is known how far the line goes.
func (d *Decoder) wellFormed(p *point.Point, from, to, resume int) bool {
	text := d.payload[from:to]
	if !utf8.Valid(text) {
		at := 0
		for {
			r, size := utf8.DecodeRune(text[at:])
			if r == utf8.RuneError && size <= 1 {
				break
			}
			at += size
		}
		d.fail(InvalidUTF8, from+at, resume)
		return false
	}
	if bytes.IndexByte(text, del) < 0 {
		return true
	}
	if d.del >= 0 {
		d.fail(ControlCharacter, d.del, resume)
		return false
	}
	ok := d.withoutDEL(p.Measurement, resume)
	for i := range p.Tags {
		ok = ok && d.withoutDEL(p.Tags[i].Name, resume) && d.withoutDEL(p.Tags[i].Value, resume)
	}
	for i := range p.Fields {
		ok = ok && d.withoutDEL(p.Fields[i].Name, resume)
	}
	return ok
}

// del is the one control character that is not below the space.
const del = 0x7f

// noteDEL looks for DEL in a name that wellFormed can't find in the payload by the point's spans.
func (d *Decoder) noteDEL(from, to int) {
	if at := bytes.IndexByte(d.payload[from:to], del); at >= 0 && d.del < 0 {
		d.del = from + at
	}
}

func (d *Decoder) withoutDEL(name point.Span, resume int) bool {
	if name.Arena() != point.Payload {
		return true
	}
	if at := bytes.IndexByte(d.payload[name.Offset():name.End()], del); at >= 0 {
		d.fail(ControlCharacter, name.Offset()+at, resume)
		return false
	}
	return true
}
