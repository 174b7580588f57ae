// Package point describes one measurement as offsets into bytes it does not own.
//
//	payload  plant,line=a temperature=96.5,ok=t 1700000000000000000
//	         └measurement┘└tag┘ └──field──────┘└f┘ └──────stamp──────┘
//
// A decoder fills a Point, stages and rules read it, the encoder writes it into a batch. It is not a
// container: it holds no text of its own and is valid only until the payload it was read from is released.
package point

import (
	"encoding/binary"
	"math"
)

// Arena says which bytes a Span lies in.
type Arena uint8

const (
	// Payload is the packet's payload, in place.
	Payload Arena = 0
	// Scratch holds what codecs and stages compute during one turn, such as text freed of its escapes.
	Scratch Arena = 1
)

// LengthMax is the longest text a Span can name, in bytes.
const LengthMax = 1<<30 - 1

// Span names bytes of one arena: offset in the low 32 bits, length in the next 30, the arena in the top 2.
// It is one machine word, so that points copy and compare spans in registers. The zero Span is empty.
type Span uint64

// MakeSpan names length bytes from offset of an arena. The caller guarantees 0 ≤ offset < 2³² and
// 0 ≤ length ≤ LengthMax.
func MakeSpan(arena Arena, offset, length int) Span {
	return Span(uint64(uint32(offset)) | uint64(length)<<32 | uint64(arena)<<62)
}

// Offset is the position of the first byte in its arena.
func (s Span) Offset() int { return int(uint32(s)) }

// Length is the number of bytes.
func (s Span) Length() int { return int(s >> 32 & LengthMax) }

// End is the position behind the last byte.
func (s Span) End() int { return s.Offset() + s.Length() }

// Arena says where the bytes lie.
func (s Span) Arena() Arena { return Arena(s >> 62) }

// Kind is the type of a field's value, as in Line Protocol.
type Kind uint8

// The kinds of values. Missing is the zero Kind: no field has it.
const (
	Missing Kind = iota
	Float
	Int
	Uint
	Bool
	String
)

var kindNames = [...]string{"missing", "float", "int", "uint", "bool", "string"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "unknown"
}

// Tag is one tag. Name and Value are free of escapes.
type Tag struct {
	Name, Value Span
}

// Field is one field. Name is free of escapes. For a String, Value is the text between the quotes, free of
// escapes; for every other kind Value is the text as it stands, of which Point.Number makes the value when it
// is asked for.
type Field struct {
	Name, Value Span
	// Bits is the value of a field that is no String, if Known is set. Who makes a field without a text
	// sets both.
	Bits  uint64
	Kind  Kind
	Known bool
}

// Point is one measurement. Its spans are valid until the payload is released or the next point of the same
// decoder is read, whichever comes first. It belongs to one worker, which reuses it for every point.
type Point struct {
	Measurement Span
	Tags        []Tag
	Fields      []Field

	// LacksTags and LacksFields have bits of NameBit set for which there is no tag, or field: a name of such
	// a bit needs no search. Who adds a tag or a field clears its bit; 0 says nothing.
	LacksTags, LacksFields uint64

	// Time is nanoseconds since 1970. It counts only when HasTime is set; the worker sets both for points
	// that came without a timestamp.
	Time    int64
	HasTime bool

	// HasUint tells that at least one field is a Uint, which some servers refuse.
	HasUint bool

	// Verbatim tells that Key and FieldSet may be copied to a sink as they stand. When it is false, the
	// encoder writes measurement, tags and fields anew from the decoded spans.
	Verbatim bool

	// Key is the measurement and the tags, FieldSet the fields, as they stand in the payload.
	Key, FieldSet Span

	// Stamp is the timestamp's digits in the payload if they are in nanoseconds and may be copied, else
	// empty.
	Stamp Span

	// PayloadBytes and ScratchBytes are the two arenas. Scratch is appended to by codecs and stages and
	// truncated by the worker before each payload.
	PayloadBytes, ScratchBytes []byte
}

// Bytes is the text a span names. It is borrowed: valid as long as the point.
func (p *Point) Bytes(s Span) []byte {
	if s.Arena() == Payload {
		return p.PayloadBytes[s.Offset():s.End()]
	}
	return p.ScratchBytes[s.Offset():s.End()]
}

// Tag is the value of the tag with this name, and whether there is one.
func (p *Point) Tag(name string) (Span, bool) {
	for i := range p.Tags {
		if string(p.Bytes(p.Tags[i].Name)) == name {
			return p.Tags[i].Value, true
		}
	}
	return 0, false
}

// Field is the field with this name, or nil.
func (p *Point) Field(name string) *Field {
	for i := range p.Fields {
		if string(p.Bytes(p.Fields[i].Name)) == name {
			return &p.Fields[i]
		}
	}
	return nil
}

// Number is the value of a field that is no String, as Bits are: of a Float its IEEE 754 form, of an Int its
// two's complement, of a Bool 1 or 0. The first call reads the text and keeps what it says.
func (p *Point) Number(f *Field) uint64 {
	if f.Known {
		return f.Bits
	}
	return p.number(f)
}

// number is Number the first time.
func (p *Point) number(f *Field) uint64 {
	at, n, ok := f.Value.Offset(), uint(f.Value.Length()), false
	if b := p.PayloadBytes; f.Value.Arena() == Payload && n-1 < shortMax && at+shortMax <= len(b) {
		f.Bits, ok = readShort(f.Kind, binary.LittleEndian.Uint64(b[at:]), n)
	}
	if !ok {
		f.Bits = read(f.Kind, p.Bytes(f.Value))
	}
	f.Known = true
	return f.Bits
}

// Float is the value of a Float field.
func (p *Point) Float(f *Field) float64 { return math.Float64frombits(p.Number(f)) }

// Int is the value of an Int field.
func (p *Point) Int(f *Field) int64 { return int64(p.Number(f)) }

// Uint is the value of a Uint field.
func (p *Point) Uint(f *Field) uint64 { return p.Number(f) }

// Bool is the value of a Bool field.
func (p *Point) Bool(f *Field) bool { return p.Number(f) != 0 }

// Reset empties the point for the next one. The arenas and the capacity of Tags and Fields stay.
func (p *Point) Reset() {
	p.Measurement, p.Key, p.FieldSet, p.Stamp = 0, 0, 0, 0
	p.Tags, p.Fields = p.Tags[:0], p.Fields[:0]
	p.Time, p.HasTime, p.HasUint, p.Verbatim = 0, false, false, false
}
