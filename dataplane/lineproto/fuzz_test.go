package lineproto

import (
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"culvert/dataplane/point"
)

// FuzzDecode checks the decoder against the reference decoder, that all spans lie in their arenas, that
// nothing of one payload reaches the next, and that what the encoder writes of a point reads back as the
// point.
func FuzzDecode(f *testing.F) {
	for _, seed := range fuzzSeeds() {
		f.Add([]byte(seed), uint8(0))
		f.Add([]byte(seed), uint8(Second))
	}
	var d, back codec
	f.Fuzz(func(t *testing.T, payload []byte, unit uint8) {
		precision := Precision(unit % 4)
		checkDecode(t, &d.Decoder, &d.Point, payload, precision)
		checkRoundTrip(t, &d, &back, payload, precision)
	})
}

// codec is a decoder with its point, used again and again since both hold much memory.
type codec struct {
	Decoder
	point.Point
}

// fuzzSeeds are payloads that reach every branch of the decoder.
func fuzzSeeds() []string {
	return []string{
		string(mixedPayload()[:1500]),
		string(shortPayload()[:400]),
		"m,t=a v=1 5\r\n# x\n\n m v=\"two\nlines\\\"\\\\\\n\",w=NaN,v=2 -5\nm\\ \\,\\==1,a\\=b=c\\  f\\==t\n",
		"m,a=b,a=c v=1\nm v=1e400,w=1\nm v=\"open\nm v=.5,w=1.,x=-1e-5 9223372036854775806\n",
		"wetter,ort=K\xc3\xb6ln v=1u\nm v=\"\xff\"\nm\x7f v=1\nm,t=\\",
		strings.Repeat("m,a=1,b=2,c=3,d=4,e=5,f=6,g=7,h=8,i=9,j=1,k=2,l=3,m=4,n=5,o=6,p=7,q=8,r=9,a=1"+
			" v=1\n", 2),
		"m a=1,b=2,c=3,d=4,e=5,f=6,g=7,h=8,i=9,j=1,k=2,l=3,m=4,n=5,o=6,p=7,q=8,r=9,a=2u,r=3\n",
		"m v=123456789012345678901234567890,w=0.000000000000000000000000000001,x=-00000000000000000000001i\n",
	}
}

func checkDecode(t *testing.T, d *Decoder, p *point.Point, payload []byte, precision Precision) {
	t.Helper()
	want, dropped := referenceDecode(string(payload), precision.multiplier())
	var got []string
	p.ScratchBytes = p.ScratchBytes[:0]
	d.Start(payload, precision, p)
	for {
		outcome := d.Next(p)
		if outcome == End {
			break
		}
		if outcome == OK {
			checkSpans(t, p)
			got = append(got, show(p))
			continue
		}
		line := p.Bytes(d.Line())
		if d.Column() < 1 || d.Column() > len(line)+2 || d.Reason() >= Reasons {
			t.Fatalf("%q: %q is rejected at column %d for reason %d", payload, line, d.Column(), d.Reason())
		}
		got = append(got, "!"+string(line))
	}
	if !slices.Equal(got, want) || d.FieldsDropped() != dropped {
		t.Fatalf("%q gives, with %d fields dropped,\n%s\nwant, with %d,\n%s",
			payload, d.FieldsDropped(), strings.Join(got, "\n"), dropped, strings.Join(want, "\n"))
	}
	if d.Next(p) != End {
		t.Fatalf("%q: there is something behind the end", payload)
	}
}

func checkSpans(t *testing.T, p *point.Point) {
	t.Helper()
	inside := func(s point.Span) {
		arena := p.PayloadBytes
		if s.Arena() == point.Scratch {
			arena = p.ScratchBytes
		}
		if s.End() > len(arena) {
			t.Fatalf("span [%d:%d] of an arena of %d bytes", s.Offset(), s.End(), len(arena))
		}
	}
	for _, s := range []point.Span{p.Measurement, p.Key, p.FieldSet, p.Stamp} {
		inside(s)
	}
	hasUint := false
	for i := range p.Tags {
		inside(p.Tags[i].Name)
		inside(p.Tags[i].Value)
	}
	for i := range p.Fields {
		inside(p.Fields[i].Name)
		inside(p.Fields[i].Value)
		hasUint = hasUint || p.Fields[i].Kind == point.Uint
	}
	if hasUint != p.HasUint {
		t.Fatalf("HasUint is %t of %s", p.HasUint, show(p))
	}
	if p.Stamp != 0 && string(p.Bytes(p.Stamp)) != fmt.Sprint(p.Time) {
		t.Fatalf("the stamp is %q of time %d", p.Bytes(p.Stamp), p.Time)
	}
	for _, tag := range p.Tags {
		if name := p.Bytes(tag.Name); p.LacksTags&point.NameBit(name) != 0 {
			t.Fatalf("the point is said to lack its tag %q", name)
		}
	}
	for _, field := range p.Fields {
		if name := p.Bytes(field.Name); p.LacksFields&point.NameBit(name) != 0 {
			t.Fatalf("the point is said to lack its field %q", name)
		}
	}
	if lacks := bits.OnesCount64(p.LacksTags); lacks < 64-len(p.Tags) {
		t.Fatalf("a point of %d tags lacks %d of 64", len(p.Tags), lacks)
	}
}

// checkRoundTrip encodes every point of a payload as it is and anew, with a tag more and without, by
// every policy for unsigned values, and reads it back.
func checkRoundTrip(t *testing.T, d, back *codec, payload []byte, precision Precision) {
	t.Helper()
	p := &d.Point
	for d.Start(payload, precision, p); ; {
		outcome := d.Next(p)
		if outcome == End {
			return
		}
		if outcome == Rejected {
			continue
		}
		was, tags := show(p), len(p.Tags)
		for range 2 {
			checkAppend(t, &Encoder{}, p, back, was)
			checkAppend(t, &Encoder{Uint: UintInt}, p, back, strings.ReplaceAll(was, "=u:", "=i:"))
			checkAppend(t, &Encoder{Uint: UintFloat}, p, back, "")
			checkAppend(t, &Encoder{Tags: []Tag{{"more tags", "than,before"}}}, p, back, "")
			if _, has := p.Tag("added"); !has {
				from := len(p.ScratchBytes)
				p.ScratchBytes = append(p.ScratchBytes, "added"...)
				name := point.MakeSpan(point.Scratch, from, len("added"))
				value := name
				if tags > 0 {
					value = p.Tags[tags-1].Value // A stage may well copy spans.
				}
				p.Tags = append(p.Tags, point.Tag{Name: name, Value: value})
				checkAppend(t, &Encoder{}, p, back, show(p))
				p.Tags = p.Tags[:tags]
			}
			p.Verbatim = false
		}
	}
}

// checkAppend encodes a point and reads it back: one point, as wanted unless want is empty.
func checkAppend(t *testing.T, e *Encoder, p *point.Point, back *codec, want string) {
	t.Helper()
	const before = "what was there"
	bound := e.Bound(p)
	dst, ok := e.Append([]byte(before), p)
	line := strings.TrimPrefix(string(dst), before)
	if !ok {
		if line != "" {
			t.Fatalf("a refused point left %q", line)
		}
		tooLong := len(p.Tags) > 0 && p.Key.Length() > KeyLengthMax-100
		if e.Uint != UintInt && len(e.Tags) == 0 && !tooLong {
			t.Fatalf("%s is refused", show(p))
		}
		return
	}
	if len(line) > bound {
		t.Fatalf("%s takes %d bytes, the bound is %d: %q", show(p), len(line), bound, line)
	}
	q := &back.Point
	back.Start([]byte(line), Nanosecond, q)
	if back.Next(q) != OK {
		t.Fatalf("%s is written as %q, which is rejected: %s", show(p), line, back.Reason())
	}
	if want != "" && show(q) != want {
		t.Fatalf("%s is written as %q and read back as %s", show(p), line, show(q))
	}
	if back.Next(q) != End {
		t.Fatalf("%s is written as %q, more than a line", show(p), line)
	}
}
