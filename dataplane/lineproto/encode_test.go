package lineproto

import (
	"math"
	"strings"
	"testing"

	"culvert/dataplane/point"
)

// made is a point that did not come from a decoder: all its text lies in the scratch arena.
type made struct{ point.Point }

func newPoint(measurement string) *made {
	m := &made{}
	m.Measurement = m.text(measurement)
	return m
}

func (m *made) text(s string) point.Span {
	m.ScratchBytes = append(m.ScratchBytes, s...)
	return point.MakeSpan(point.Scratch, len(m.ScratchBytes)-len(s), len(s))
}

func (m *made) tag(name, value string) *made {
	m.Tags = append(m.Tags, point.Tag{Name: m.text(name), Value: m.text(value)})
	return m
}

func (m *made) field(name string, kind point.Kind, number uint64) *made {
	m.Fields = append(m.Fields, point.Field{Name: m.text(name), Kind: kind, Bits: number, Known: true})
	m.HasUint = m.HasUint || kind == point.Uint
	return m
}

func (m *made) float(name string, value float64) *made {
	return m.field(name, point.Float, math.Float64bits(value))
}

func (m *made) string(name, value string) *made {
	m.Fields = append(m.Fields, point.Field{Name: m.text(name), Kind: point.String, Value: m.text(value)})
	return m
}

func (m *made) at(time int64) *made {
	m.Time, m.HasTime = time, true
	return m
}

func TestAppendAnew(t *testing.T) {
	f := func(m *made, want string) {
		t.Helper()
		var e Encoder
		bound := e.Bound(&m.Point)
		dst, ok := e.Append(nil, &m.Point)
		if !ok || string(dst) != want+"\n" || len(dst) > bound {
			t.Fatalf("got %q, %t, bound %d; want %q", dst, ok, bound, want)
		}
	}
	f(newPoint("m").float("v", 1), "m v=1")
	f(newPoint("m").float("v", 1).at(5), "m v=1 5")
	f(newPoint("m").float("v", 1).at(math.MinInt64), "m v=1 -9223372036854775808")
	f(newPoint("a b,c=d").tag("k ,=", "v ,=").float("f ,=", 1), `a\ b\,c=d,k\ \,\==v\ \,\= f\ \,\==1`)
	f(newPoint("#m").float("#v", 1), `\#m #v=1`)
	f(newPoint(`a\b`).tag(`c\d`, `e\f`).float(`g\h`, 1), `a\b,c\d=e\f g\h=1`)
	f(newPoint(`"m"`).tag(`"`, `'`).float(`"`, 1), `"m","=' "=1`)
	f(newPoint("größe").tag("ort", "Köln").string("日本", "ü"), `größe,ort=Köln 日本="ü"`)
	f(newPoint("m").string("v", ""), `m v=""`)
	f(newPoint("m").string("v", `say "no" \ a,b=c`), `m v="say \"no\" \\ a,b=c"`)
	f(newPoint("m").string("v", "a\nb\r\n\x00"), "m v=\"a\nb\r\n\x00\"")
	f(newPoint("m").string("v", `"""`).string("w", `\\\`), `m v="\"\"\"",w="\\\\\\"`)
	f(newPoint("m").field("a", point.Bool, 1).field("b", point.Bool, 0), "m a=true,b=false")
	f(newPoint("m").field("a", point.Int, 1<<63).field("b", point.Int, math.MaxInt64),
		"m a=-9223372036854775808i,b=9223372036854775807i")
	f(newPoint("m").field("a", point.Uint, math.MaxUint64), "m a=18446744073709551615u")
	f(newPoint("m").float("a", 0).float("b", math.Copysign(0, -1)).float("c", 0.1).float("d", -96.5),
		"m a=0,b=-0,c=0.1,d=-96.5")
	f(newPoint("m").float("a", 1e15).float("b", 999999999999999).float("c", 1e-5).float("d", 9e-6),
		"m a=1e+15,b=999999999999999,c=0.00001,d=9e-06")
	f(newPoint("m").float("a", -math.MaxFloat64).float("b", math.SmallestNonzeroFloat64),
		"m a=-1.7976931348623157e+308,b=5e-324")
}

func TestAppendRefuses(t *testing.T) {
	f := func(e Encoder, m *made) {
		t.Helper()
		for range 2 {
			dst, ok := e.Append([]byte("before"), &m.Point)
			if ok || string(dst) != "before" {
				t.Fatalf("%s is written: %q", show(&m.Point), dst)
			}
		}
	}
	f(Encoder{}, newPoint("").float("v", 1))
	f(Encoder{}, newPoint("m"))
	f(Encoder{}, newPoint("m").tag("", "a").float("v", 1))
	f(Encoder{}, newPoint("m").tag("t", "").float("v", 1))
	f(Encoder{}, newPoint("m").float("", 1))
	f(Encoder{}, newPoint(`m\`).float("v", 1))
	f(Encoder{}, newPoint("m").tag("t", `a\`).float("v", 1))
	f(Encoder{}, newPoint(`m\ n`).float("v", 1))
	f(Encoder{}, newPoint("m").tag("t", `a\\\,b`).float("v", 1))
	f(Encoder{}, newPoint("m").float(`a\=`, 1))
	f(Encoder{}, newPoint("m\n").float("v", 1))
	f(Encoder{}, newPoint("m").tag("t", "a\x7fb").float("v", 1))
	f(Encoder{}, newPoint("m").float("a\x00", 1))
	f(Encoder{}, newPoint("m").float("v", math.NaN()))
	f(Encoder{}, newPoint("m").float("v", math.Inf(-1)))
	f(Encoder{}, newPoint("m").field("v", point.Missing, 0))
	f(Encoder{Uint: UintInt}, newPoint("m").field("v", point.Uint, 1<<63))
	f(Encoder{Tags: []Tag{{"t", "a\nb"}}}, newPoint("m").float("v", 1))
	f(Encoder{Tags: []Tag{{"t", strings.Repeat("a", 66000)}}}, newPoint("m").float("v", 1))
}

// Lines that came in by the decoder: copied where that is right, with tags spliced in, written anew
// elsewhere.
func TestAppendDecoded(t *testing.T) {
	var d Decoder
	var p point.Point
	f := func(e Encoder, line, want string, tags ...string) {
		t.Helper()
		p.ScratchBytes = p.ScratchBytes[:0]
		d.Start([]byte(line), Nanosecond, &p)
		if outcome := d.Next(&p); outcome != OK {
			t.Fatalf("%q gives %s, %s", line, outcome, d.Reason())
		}
		for i := 0; i < len(tags); i += 2 {
			from := len(p.ScratchBytes)
			p.ScratchBytes = append(p.ScratchBytes, tags[i]+tags[i+1]...)
			p.Tags = append(p.Tags, point.Tag{
				Name:  point.MakeSpan(point.Scratch, from, len(tags[i])),
				Value: point.MakeSpan(point.Scratch, from+len(tags[i]), len(tags[i+1])),
			})
		}
		bound := e.Bound(&p)
		dst, ok := e.Append(nil, &p)
		if !ok || string(dst) != want+"\n" || len(dst) > bound {
			t.Fatalf("%q gives %q, %t, bound %d; want %q", line, dst, ok, bound, want)
		}
	}
	none := Encoder{}
	f(none, "m,t=a  v=1.50,w=1E3  5 \r\n", "m,t=a v=1.50,w=1E3 5")
	f(none, "m v=007i 005", "m v=007i 5")
	f(none, "m v=1.,w=.5 5", "m v=1,w=0.5 5")
	f(none, `m v="C:\new"`, `m v="C:\\new"`)
	f(none, "m v=1,w=NaN,v=2", "m v=2")
	f(none, "m v=\"a\nb\" 5", "m v=\"a\nb\" 5")
	f(none, `\#m\ n v=1`, `\#m\ n v=1`)

	// Tags that a stage added.
	f(none, "m v=1.0 5", "m,site=b\\ c v=1.0 5", "site", "b c")
	f(none, "m,t=a v=1.0 5", "m,t=a,x=y,z=w v=1.0 5", "x", "y", "z", "w")
	f(none, `m\ n v=1.0 5`, `m\ n,x=y v=1.0 5`, "x", "y")
	f(none, `m,t=a\ b v=1.0 5`, `m,t=a\ b,x=y v=1.0 5`, "x", "y")
	f(none, `m,t=a\ b,u=c v=1.0 5`, `m,t=a\ b,u=c,x=y v=1.0 5`, "x", "y")
	f(none, "m v=1. 5", "m,x=y v=1 5", "x", "y")

	// Tags of the encoder, unless the point has them.
	site := Encoder{Tags: []Tag{{"site", "a=b"}, {"t", "c"}}}
	f(site, "m v=1.0 5", `m,site=a\=b,t=c v=1.0 5`)
	f(site, "m,t=own v=1.0 5", `m,t=own,site=a\=b v=1.0 5`)
	f(site, "m,site=own,t=own v=1.0 5", "m,site=own,t=own v=1.0 5")
	f(site, "m v=1.0 5", `m,site=own,t=c v=1.0 5`, "site", "own")

	// Unsigned values.
	f(none, "m v=42u,w=1.0", "m v=42u,w=1.0")
	f(Encoder{Uint: UintInt}, "m,t=a v=42u,w=1.0", "m,t=a v=42i,w=1")
	f(Encoder{Uint: UintInt}, "m v=9223372036854775807u", "m v=9223372036854775807i")
	f(Encoder{Uint: UintFloat}, "m v=42u,w=1i", "m v=42,w=1i")
	f(Encoder{Uint: UintFloat}, "m v=18446744073709551615u", "m v=1.8446744073709552e+19")
	f(Encoder{Uint: UintFloat}, "m v=1.50", "m v=1.50")
}

func TestValidTag(t *testing.T) {
	f := func(name, value string, want bool) {
		t.Helper()
		if ValidTag(name, value) != want {
			t.Fatalf("ValidTag(%q, %q) = %t", name, value, !want)
		}
	}
	f("site", "berlin", true)
	f("the site", `a,b=c\d`, true)
	f("ort", "Köln", true)
	f("", "a", false)
	f("a", "", false)
	f(`a\`, "b", false)
	f("a", `b\`, false)
	f("a", `b\,c`, false)
	f("a", `b\\,c`, true)
	f("a", "b\nc", false)
	f("a\x7f", "b", false)
	f("a", "\xff", false)
}
