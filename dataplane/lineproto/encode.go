package lineproto

import (
	"bytes"
	"math"
	"strconv"
	"unicode/utf8"

	"culvert/dataplane/point"
)

// Tag is a tag that an Encoder adds.
type Tag struct{ Name, Value string }

// UintPolicy says what becomes of unsigned values, which InfluxDB 1.x refuses.
type UintPolicy uint8

// The policies.
const (
	UintKeep  UintPolicy = iota // 42u
	UintInt                     // 42i; a point with a value beyond int64 is refused
	UintFloat                   // 42, rounded to the nearest float64
)

// Encoder writes points as lines that InfluxDB 1.x, 2.x and 3.x read alike. Its fields are set before its
// first use; the zero Encoder adds nothing and keeps unsigned values. It has no state and belongs to one
// worker.
type Encoder struct {
	// Tags are added to points that have no tag of that name.
	Tags []Tag
	Uint UintPolicy
}

const (
	stampBound = 1 + 20 + 1 // space, -9223372036854775806, LF
	floatBound = 25         // -1.7976931348623157e+308 and one to spare
	wholeBound = 21         // -9223372036854775808 or 18446744073709551615, and the letter
	boolBound  = 5
)

// Bound is at least the number of bytes that Append will write for the point as it is.
func (e *Encoder) Bound(p *point.Point) int {
	n := stampBound + 1
	from, spliced := keyTags(p)
	if spliced {
		n += p.Key.Length()
	} else {
		n += 2*p.Measurement.Length() + 1
	}
	for i := from; i < len(p.Tags); i++ {
		n += 2*(p.Tags[i].Name.Length()+p.Tags[i].Value.Length()) + 2
	}
	for i := range e.Tags {
		n += 2*(len(e.Tags[i].Name)+len(e.Tags[i].Value)) + 2
	}
	if e.copiesFields(p) {
		return n + p.FieldSet.Length()
	}
	for i := range p.Fields {
		f := &p.Fields[i]
		n += 2*f.Name.Length() + 2
		switch f.Kind {
		case point.String:
			n += 2*f.Value.Length() + 2
		case point.Float:
			n += floatBound
		case point.Bool:
			n += boolBound
		default:
			n += max(wholeBound, floatBound) // By the policy, an unsigned value may become a float.
		}
	}
	return n
}

// Append writes a point as one line: its time in nanoseconds, if it has one, and LF at its end. It
// returns dst as it was and false for a point that no line can say: an unsigned value beyond what the
// policy allows, no field, an empty name, a control character or a trailing backslash in a name or in a
// tag's value, a key that is too long. A backslash before a character that needs an escape is a trailing
// one. The decoder gives no such points, except for the first.
func (e *Encoder) Append(dst []byte, p *point.Point) ([]byte, bool) {
	start, ok := len(dst), true
	from, spliced := keyTags(p)
	if spliced {
		dst = append(dst, p.Bytes(p.Key)...)
	} else if dst, ok = appendMeasurement(dst, p.Bytes(p.Measurement)); !ok {
		return dst[:start], false
	}
	if from < len(p.Tags) || len(e.Tags) > 0 {
		if dst, ok = e.appendTags(dst, p, from); !ok || !keyFits(p, len(dst)-start) {
			return dst[:start], false
		}
	}
	if e.copiesFields(p) {
		dst = append(dst, ' ')
		dst = append(dst, p.Bytes(p.FieldSet)...)
	} else if dst, ok = e.appendFields(dst, p); !ok {
		return dst[:start], false
	}
	switch {
	case p.Stamp != 0:
		dst = append(dst, ' ')
		dst = append(dst, p.Bytes(p.Stamp)...)
	case p.HasTime:
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, p.Time, 10)
	}
	return append(dst, '\n'), true
}

// ValidTag tells whether Append can write a tag of this name and value. Tags from a configuration are
// checked by it once, where the person who wrote them reads the answer.
func ValidTag(name, value string) bool {
	_, nameOK := appendName(nil, []byte(name), '=')
	_, valueOK := appendName(nil, []byte(value), '=')
	return nameOK && valueOK && utf8.ValidString(name) && utf8.ValidString(value)
}

// keyFits tells whether servers index a series of this length with each of the point's fields.
func keyFits(p *point.Point, length int) bool {
	longest := 0
	for i := range p.Fields {
		longest = max(longest, p.Fields[i].Name.Length())
	}
	return length+keyFieldGap+longest <= KeyLengthMax
}

// copiesFields tells whether the fields' text goes out as it came in.
func (e *Encoder) copiesFields(p *point.Point) bool {
	return p.Verbatim && (e.Uint == UintKeep || !p.HasUint)
}

// keyTags tells whether the key's text may go out as it came in, and how many of the point's tags are in
// it. Tags that were added to the point stand behind those. Where the last tag of the key had escapes its
// end can't be told, and all is written anew, which gives the same text.
func keyTags(p *point.Point) (n int, ok bool) {
	if !p.Verbatim {
		return 0, false
	}
	end := p.Key.End()
	for i := range p.Tags {
		if v := p.Tags[i].Value; v.Arena() == point.Payload && v.End() == end {
			return i + 1, true
		}
	}
	return 0, p.Measurement == p.Key
}

// appendTags writes the point's tags from one on, then those of the encoder that it lacks.
func (e *Encoder) appendTags(dst []byte, p *point.Point, from int) ([]byte, bool) {
	for i := from; i < len(p.Tags); i++ {
		var ok bool
		if dst, ok = appendTag(dst, p.Bytes(p.Tags[i].Name), p.Bytes(p.Tags[i].Value)); !ok {
			return dst, false
		}
	}
	for i := range e.Tags {
		if _, has := p.Tag(e.Tags[i].Name); has {
			continue
		}
		var ok bool
		if dst, ok = appendTag(dst, borrowBytes(e.Tags[i].Name), borrowBytes(e.Tags[i].Value)); !ok {
			return dst, false
		}
	}
	return dst, true
}

func appendTag(dst, name, value []byte) ([]byte, bool) {
	dst = append(dst, ',')
	dst, ok := appendName(dst, name, '=')
	if !ok {
		return dst, false
	}
	dst = append(dst, '=')
	return appendName(dst, value, '=')
}

// appendFields writes all fields anew.
func (e *Encoder) appendFields(dst []byte, p *point.Point) ([]byte, bool) {
	separator := byte(' ')
	for i := range p.Fields {
		f := &p.Fields[i]
		dst = append(dst, separator)
		separator = ','
		var ok bool
		if dst, ok = appendName(dst, p.Bytes(f.Name), '='); !ok {
			return dst, false
		}
		dst = append(dst, '=')
		if dst, ok = e.appendValue(dst, p, f); !ok {
			return dst, false
		}
	}
	return dst, len(p.Fields) > 0
}

func (e *Encoder) appendValue(dst []byte, p *point.Point, f *point.Field) ([]byte, bool) {
	switch f.Kind {
	case point.Float:
		return appendFloat(dst, p.Float(f))
	case point.Int:
		return append(strconv.AppendInt(dst, p.Int(f), 10), 'i'), true
	case point.Uint:
		return e.appendUint(dst, p.Uint(f))
	case point.Bool:
		return strconv.AppendBool(dst, p.Bool(f)), true
	case point.String:
		return appendString(dst, p.Bytes(f.Value)), true
	}
	return dst, false
}

func (e *Encoder) appendUint(dst []byte, value uint64) ([]byte, bool) {
	switch {
	case e.Uint == UintFloat:
		return appendFloat(dst, float64(value))
	case e.Uint == UintInt && value > math.MaxInt64:
		return dst, false
	case e.Uint == UintInt:
		return append(strconv.AppendUint(dst, value, 10), 'i'), true
	}
	return append(strconv.AppendUint(dst, value, 10), 'u'), true
}

// appendFloat writes the shortest text that reads back as the same float64, in a form that all servers take.
func appendFloat(dst []byte, value float64) ([]byte, bool) {
	magnitude := math.Abs(value)
	switch {
	case magnitude == 0 || magnitude >= 1e-5 && magnitude < 1e15:
		return strconv.AppendFloat(dst, value, 'f', -1, 64), true
	case magnitude <= math.MaxFloat64:
		return strconv.AppendFloat(dst, value, 'e', -1, 64), true
	}
	return dst, false // NaN and infinities have no form.
}

// appendString writes text between quotes. Line ends stand in it as they are.
func appendString(dst, text []byte) []byte {
	dst = append(dst, '"')
	for {
		end := stringEnd(text, 0)
		dst = append(dst, text[:end]...)
		if end == len(text) {
			return append(dst, '"')
		}
		dst = append(dst, '\\', text[end])
		text = text[end+1:]
	}
}

// appendMeasurement writes a measurement. One that begins with # would be a comment without its backslash.
func appendMeasurement(dst, name []byte) ([]byte, bool) {
	if len(name) > 0 && name[0] == '#' {
		dst = append(dst, '\\')
	}
	return appendName(dst, name, ' ')
}

// appendName writes a name or a tag's value, with a backslash before commas, spaces and one further
// character.
func appendName(dst, name []byte, further byte) ([]byte, bool) {
	if n := len(name); n == 0 || name[n-1] == '\\' {
		return dst, false
	}
	for i := 0; ; {
		end, rare := nameEnd(name, i)
		if rare&highs != 0 && bytes.IndexByte(name[i:end], del) >= 0 {
			return dst, false
		}
		dst = append(dst, name[i:end]...)
		if end == len(name) {
			return dst, true
		}
		c := name[end]
		if c < ' ' {
			return dst, false
		}
		if c == ',' || c == ' ' || c == further {
			if backslashes(name[:end])%2 == 1 {
				return dst, false
			}
			dst = append(dst, '\\')
		}
		dst = append(dst, c)
		i = end + 1
	}
}

// backslashes is how many of them a text ends in.
func backslashes(text []byte) int {
	n := 0
	for n < len(text) && text[len(text)-1-n] == '\\' {
		n++
	}
	return n
}
