package lineproto

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"culvert/dataplane/point"
)

// show writes a point out in full, one way for one content: every name and text quoted, kinds by letter.
func show(p *point.Point) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q", p.Bytes(p.Measurement))
	for i := range p.Tags {
		fmt.Fprintf(&b, " %q=%q", p.Bytes(p.Tags[i].Name), p.Bytes(p.Tags[i].Value))
	}
	b.WriteString(" |")
	for i := range p.Fields {
		f := &p.Fields[i]
		fmt.Fprintf(&b, " %q=", p.Bytes(f.Name))
		switch f.Kind {
		case point.Float:
			b.WriteString("f:" + strconv.FormatFloat(p.Float(f), 'g', -1, 64))
		case point.Int:
			fmt.Fprintf(&b, "i:%d", p.Int(f))
		case point.Uint:
			fmt.Fprintf(&b, "u:%d", p.Uint(f))
		case point.Bool:
			fmt.Fprintf(&b, "b:%t", p.Bool(f))
		case point.String:
			fmt.Fprintf(&b, "s:%q", p.Bytes(f.Value))
		default:
			fmt.Fprintf(&b, "%s?", f.Kind)
		}
	}
	if p.HasTime {
		fmt.Fprintf(&b, " @%d", p.Time)
	}
	return b.String()
}

// decoded is what became of a payload: points by show, rejected lines as !reason:column:line.
func decoded(d *Decoder, p *point.Point, payload string, precision Precision) []string {
	var found []string
	p.ScratchBytes = p.ScratchBytes[:0]
	d.Start([]byte(payload), precision, p)
	for {
		switch d.Next(p) {
		case End:
			return found
		case OK:
			found = append(found, show(p))
		case Rejected:
			found = append(found, fmt.Sprintf("!%s:%d:%s", d.Reason(), d.Column(), p.Bytes(d.Line())))
		}
	}
}

func TestDecodeAccepts(t *testing.T) {
	var d Decoder
	var p point.Point
	f := func(payload string, want ...string) {
		t.Helper()
		got := decoded(&d, &p, payload, Nanosecond)
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			t.Fatalf("%q gives\n%s\nwant\n%s", payload, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	// The empty, the blank, comments.
	f("")
	f("\n")
	f("\r\n")
	f(" \t\x00\n\n  \r\n\r")
	f("# m v=1")
	f("  # m v=1\n#\n\t#\x01\xff\n")
	f("#\nm v=1\n#", `"m" | "v"=f:1`)

	// The parts of a line.
	f("m v=1", `"m" | "v"=f:1`)
	f("m v=1\n", `"m" | "v"=f:1`)
	f("m v=1 5", `"m" | "v"=f:1 @5`)
	f("m,t=a v=1 5\n", `"m" "t"="a" | "v"=f:1 @5`)
	f("m,t=a,u=b v=1,w=2 5\n", `"m" "t"="a" "u"="b" | "v"=f:1 "w"=f:2 @5`)
	f("m v=1 1\nm v=2 2\n", `"m" | "v"=f:1 @1`, `"m" | "v"=f:2 @2`)
	f("m v=1 1\n\n\nm v=2 2", `"m" | "v"=f:1 @1`, `"m" | "v"=f:2 @2`)

	// White space: before the line, runs of it between the parts and behind them, CRLF.
	f(" m v=1", `"m" | "v"=f:1`)
	f("\t\x00 m v=1", `"m" | "v"=f:1`)
	f("m   v=1    5   \n", `"m" | "v"=f:1 @5`)
	f("m v=1   \nm v=2 ", `"m" | "v"=f:1`, `"m" | "v"=f:2`)
	f("m v=1\r\nm v=2 5\r\nm v=3 6 \r\nm v=\"x\"\r\nm v=t\r", `"m" | "v"=f:1`, `"m" | "v"=f:2 @5`,
		`"m" | "v"=f:3 @6`, `"m" | "v"=s:"x"`, `"m" | "v"=b:true`)

	// Escapes in names.
	f(`a\,b\ c\=d,k\,\ \==v\,\ \= f\,\ \==1`, `"a,b c\\=d" "k, ="="v, =" | "f, ="=f:1`)
	f(`a=b,t=c v=1`, `"a=b" "t"="c" | "v"=f:1`)
	f(`a=b\,c=d v=1`, `"a=b,c=d" | "v"=f:1`)
	f(`C:\dir,path=C:\new\dir v=1`, `"C:\\dir" "path"="C:\\new\\dir" | "v"=f:1`)
	f(`m,t=a\\\,b v=1`, `"m" "t"="a\\\\,b" | "v"=f:1`)
	f(`a\\=b,t=a\\\b v=1`, `"a\\\\=b" "t"="a\\\\\\b" | "v"=f:1`)
	f(`m,t=\a v=1`, `"m" "t"="\\a" | "v"=f:1`)
	f(`\#m v=1`, `"\\#m" | "v"=f:1`)
	f(`"m",'t'="a" "f"=1`, `"\"m\"" "'t'"="\"a\"" | "\"f\""=f:1`)
	f(`m,host=a#b v#=1`, `"m" "host"="a#b" | "v#"=f:1`)
	f("wetter,ort=Köln größe=1,日本=2i", `"wetter" "ort"="Köln" | "größe"=f:1 "日本"=i:2`)
	f("_m,_t=a _f=1", `"_m" "_t"="a" | "_f"=f:1`)

	// Strings.
	f(`m v=""`, `"m" | "v"=s:""`)
	f(`m v="a b,c=d e" 5`, `"m" | "v"=s:"a b,c=d e" @5`)
	f(`m v="say \"no\"",w=1`, `"m" | "v"=s:"say \"no\"" "w"=f:1`)
	f(`m v="a\\"`, `"m" | "v"=s:"a\\"`)
	f(`m v="a\\\"b"`, `"m" | "v"=s:"a\\\"b"`)
	f(`m v="C:\new\\x"`, `"m" | "v"=s:"C:\\new\\x"`)
	f("m v=\"two\nlines\n# three\",w=1 5\nm v=2",
		`"m" | "v"=s:"two\nlines\n# three" "w"=f:1 @5`, `"m" | "v"=f:2`)
	f("m v=\"a\r\nb\x00\x7f\t\"\r\n", `"m" | "v"=s:"a\r\nb\x00\x7f\t"`)
	f(`m v="x" `+"\n", `"m" | "v"=s:"x"`)

	// Booleans.
	f("m a=t,b=T,c=true,d=True,e=TRUE", `"m" | "a"=b:true "b"=b:true "c"=b:true "d"=b:true "e"=b:true`)
	f("m a=f,b=F,c=false,d=False,e=FALSE",
		`"m" | "a"=b:false "b"=b:false "c"=b:false "d"=b:false "e"=b:false`)

	// Integers.
	f("m a=0i,b=-0i,c=007i,d=-12i 3", `"m" | "a"=i:0 "b"=i:0 "c"=i:7 "d"=i:-12 @3`)
	f("m a=9223372036854775807i,b=-9223372036854775808i",
		`"m" | "a"=i:9223372036854775807 "b"=i:-9223372036854775808`)
	f("m a=0000000000000000000000009i", `"m" | "a"=i:9`)
	f("m a=18446744073709551615u,b=0u", `"m" | "a"=u:18446744073709551615 "b"=u:0`)

	// Floats.
	f("m a=1,b=1.,c=.5,d=-.5,e=-1.2e+78,f=1E-3,g=1.e5,h=0", `"m" | "a"=f:1 "b"=f:1 "c"=f:0.5 "d"=f:-0.5`+
		` "e"=f:-1.2e+78 "f"=f:0.001 "g"=f:100000 "h"=f:0`)
	f("m a=-0", `"m" | "a"=f:-0`)
	f("m a=0.1,b=123456789.123456789,c=96.5", `"m" | "a"=f:0.1 "b"=f:1.2345678912345679e+08 "c"=f:96.5`)
	f("m a=1.7976931348623157e308,b=4.9e-324,c=1e-400",
		`"m" | "a"=f:1.7976931348623157e+308 "b"=f:5e-324 "c"=f:0`)
	f("m a=0e999,b=0.000e400", `"m" | "a"=f:0 "b"=f:0`)
	f("m a=9007199254740993", `"m" | "a"=f:9.007199254740992e+15`)
	f("m a=12345678901234567890123", `"m" | "a"=f:1.2345678901234568e+22`)
	f("m a="+strings.Repeat("0", 400)+"1,b=0."+strings.Repeat("0", 400)+"1e401", `"m" | "a"=f:1 "b"=f:1`)

	// Timestamps.
	f("m v=1 0", `"m" | "v"=f:1 @0`)
	f("m v=1 -0", `"m" | "v"=f:1 @0`)
	f("m v=1 -5", `"m" | "v"=f:1 @-5`)
	f("m v=1 007", `"m" | "v"=f:1 @7`)
	f("m v=1 1700000000123456789", `"m" | "v"=f:1 @1700000000123456789`)
	f("m v=1 9223372036854775806", `"m" | "v"=f:1 @9223372036854775806`)
	f("m v=1 -9223372036854775806", `"m" | "v"=f:1 @-9223372036854775806`)
	f("m v=1 00000000000000000000000012", `"m" | "v"=f:1 @12`)

	// Fields that are dropped, and those given twice.
	f("m a=NaN,b=1", `"m" | "b"=f:1`)
	f("m a=1,b=-inf,c=+Inf,d=inf,e=-nan,f=Infinity,g=-INFINITY,h=nan 5", `"m" | "a"=f:1 @5`)
	f("m a=1,b=2,a=3i", `"m" | "a"=i:3 "b"=f:2`)
	f("m a=1,a=NaN", `"m" | "a"=f:1`)
	f(`m a\ b=1,a\ b=2`, `"m" | "a b"=f:2`)
}

func TestDecodeRejects(t *testing.T) {
	var d Decoder
	var p point.Point
	// Each line stands alone, then between two good ones, with each end of line, twice.
	f := func(line string, reason Reason, column int) {
		t.Helper()
		bad := fmt.Sprintf("!%s:%d:%s", reason, column, line)
		good := `"m" | "v"=f:1`
		for range 2 {
			for payload, want := range map[string][]string{
				line:                             {bad},
				line + "\n":                      {bad},
				line + "\r\n":                    {bad},
				"m v=1\n" + line + "\nm v=1":     {good, bad, good},
				"m v=1\r\n" + line + "\r\nm v=1": {good, bad, good},
			} {
				got := strings.Join(decoded(&d, &p, payload, Nanosecond), "\n")
				if want := strings.Join(want, "\n"); got != want {
					t.Fatalf("%q gives\n%s\nwant\n%s", payload, got, want)
				}
			}
		}
	}
	f(",t=a v=1", MissingMeasurement, 1)
	f(`m\`, TrailingBackslash, 2)
	f(`m,t\`, TrailingBackslash, 4)
	f(`m,t=a\`, TrailingBackslash, 6)
	f(`m f\`, TrailingBackslash, 4)
	f("m", MissingFields, 2)
	f("m ", MissingFields, 3)
	f("m,t=a", MissingFields, 6)
	f("m,t=a   ", MissingFields, 9)
	f(`m\ v=1`, MissingFields, 7)

	f("m, v=1", MissingTagKey, 3)
	f("m,", MissingTagKey, 3)
	f("m,=a v=1", MissingTagKey, 3)
	f("m,t=a, v=1", MissingTagKey, 7)
	f("m,,t=a v=1", MissingTagKey, 3)
	f("m,t v=1", MissingTagValue, 4)
	f("m,t", MissingTagValue, 4)
	f("m,t,u=b v=1", MissingTagValue, 4)
	f("m,t= v=1", MissingTagValue, 5)
	f("m,t=,u=b v=1", MissingTagValue, 5)
	f("m,t=", MissingTagValue, 5)
	f("m,t==a v=1", BadTag, 5)
	f("m,t=a=b v=1", BadTag, 6)
	f(`m,t=a\\,u=b v=1`, TrailingBackslash, 7)
	f(`m\\,t=a v=1`, TrailingBackslash, 3)
	f(`m\\ v=1`, TrailingBackslash, 3)
	f(`m,t\\=a v=1`, TrailingBackslash, 5)
	f(`m f\\=1`, TrailingBackslash, 5)
	f(`m f\\\\,g=1`, TrailingBackslash, 7)
	f("m,t=a,t=b v=1", DuplicateTag, 7)
	f(`m,t\ x=a,b=c,t\ x=b v=1`, DuplicateTag, 14)

	f("m v", MissingFieldValue, 4)
	f("m v 5", MissingFieldValue, 4)
	f("m v,w=1", MissingFieldValue, 4)
	f("m v=", MissingFieldValue, 5)
	f("m v=,w=1", MissingFieldValue, 5)
	f("m v= 5", MissingFieldValue, 5)
	f("m =1", MissingFieldKey, 3)
	f("m ,v=1", MissingFieldKey, 3)
	f("m v=1,", MissingFieldKey, 7)
	f("m v=1, 5", MissingFieldKey, 7)
	f("m v=1, w=2", MissingFieldKey, 7)
	f("m v=1,,w=2", MissingFieldKey, 7)
	f("m v=1,=2", MissingFieldKey, 7)

	f("m v=abc", BadValue, 5)
	f("m v==1", BadValue, 5)
	f("m v='a'", BadValue, 5)
	f("m v=nanx", BadValue, 5)
	f("m v=i", BadValue, 5)
	f("m v=+5", BadNumber, 5)
	f("m v=-", BadNumber, 5)
	f("m v=-,w=1", BadNumber, 5)
	f("m v=-x", BadNumber, 5)
	f("m v=.", BadNumber, 5)
	f("m v=-.", BadNumber, 5)
	f("m v=.e5", BadNumber, 5)
	f("m v=1e", BadNumber, 5)
	f("m v=1e+", BadNumber, 5)
	f("m v=1e5.0", BadNumber, 8)
	f("m v=1.2.3", BadNumber, 8)
	f("m v=0x10", BadNumber, 6)
	f("m v=1_000", BadNumber, 6)
	f("m v=1.0i", BadNumber, 8)
	f("m v=1ii", BadNumber, 7)
	f("m v=-1u", BadNumber, 5)
	f("m v=1\t", BadNumber, 6)
	f("m v=--1", BadNumber, 5)
	f("m v=tru", BadBool, 5)
	f("m v=tRUE", BadBool, 5)
	f("m v=falsey", BadBool, 5)
	f("m v=9223372036854775808i", IntegerRange, 5)
	f("m v=-9223372036854775809i", IntegerRange, 5)
	f("m v=99999999999999999999i", IntegerRange, 5)
	f("m v=18446744073709551616u", IntegerRange, 5)
	f("m v="+strings.Repeat("9", 60)+"u", IntegerRange, 5)
	f("m v=1e400", FloatRange, 5)
	f("m v=-1e400", FloatRange, 5)
	f("m v=0.0001e500", FloatRange, 5)
	f("m v=1.7976931348623159e308", FloatRange, 5)
	f("m v="+strings.Repeat("9", 310), FloatRange, 5)
	f("m v=1e99999999999999999999", FloatRange, 5)
	f("m v=NaN", NoFieldsLeft, 3)
	f("m v=NaN,w=-Inf 5", NoFieldsLeft, 3)

	f(`m v="a"b`, UnexpectedText, 8)
	f(`m v="a""b"`, UnexpectedText, 8)
	f(`m v="a`, UnterminatedString, 5)
	f(`m a="b",v="a`, UnterminatedString, 11)
	f(`m v="a\"`, UnterminatedString, 5)
	f(`m v="a\`, UnterminatedString, 5)

	f("m v=1 x", BadTimestamp, 7)
	f("m v=1 -", BadTimestamp, 7)
	f("m v=1 +5", BadTimestamp, 7)
	f("m v=1 5.0", BadTimestamp, 7)
	f("m v=1 1e9", BadTimestamp, 7)
	f("m v=1 5i", BadTimestamp, 7)
	f("m v=1 1234567812345678x", BadTimestamp, 7)
	f("m v=1 \"5\"", BadTimestamp, 7)
	f("m v=1 5 6", UnexpectedText, 9)
	f("m v=1 5 x=1", UnexpectedText, 9)
	f("m v=1 9223372036854775807", TimestampRange, 7)
	f("m v=1 -9223372036854775807", TimestampRange, 7)
	f("m v=1 9223372036854775808", TimestampRange, 7)
	f("m v=1 99999999999999999999", TimestampRange, 7)
	f("m v=1 -99999999999999999999", TimestampRange, 7)

	f("m\t v=1", ControlCharacter, 2)
	f("m\rx v=1", ControlCharacter, 2)
	f("\rm v=1", ControlCharacter, 1)
	f("m,\x01=a v=1", ControlCharacter, 3)
	f("m,t\x00=a v=1", ControlCharacter, 4)
	f("m,t=a\x1f v=1", ControlCharacter, 6)
	f("m a\tb=1", ControlCharacter, 4)
	f("m\x7f v=1", ControlCharacter, 2)
	f("m,t\x7f=a v=1", ControlCharacter, 4)
	f("m,t=a\x7fb v=1", ControlCharacter, 6)
	f("m a\x7fb=1", ControlCharacter, 4)
	f("m,t=a\\ \x7fb v=1", ControlCharacter, 8)
	f("m a\x7fb=NaN,v=1", ControlCharacter, 4)
	f("m\xff v=1", InvalidUTF8, 2)
	f("m,t=\xc3\x28 v=1", InvalidUTF8, 5)
	f("m,t=ä\xc3 v=1", InvalidUTF8, 7)
	f("m\\ uvwxyzabc\xff v=1", InvalidUTF8, 13)
	f("m,t\\ uvwxyzabc\xff=a v=1", InvalidUTF8, 15)
	f("m,t=\\ uvwxyzabc\xff v=1", InvalidUTF8, 16)
	f("m v\\ uvwxyzabc\xff=1", InvalidUTF8, 15)
	f("m v=\"\xe2\x82\"", InvalidUTF8, 6)
	f("m v=\"\xed\xa0\x80\"", InvalidUTF8, 6)
	f("m v=\"\\\"\xff\"", InvalidUTF8, 8)
}

// After an error the next line begins behind the first LF that follows; strings that were closed before
// are not split, one that never ends costs its first line alone.
func TestDecodeRecovers(t *testing.T) {
	var d Decoder
	var p point.Point
	f := func(payload string, want ...string) {
		t.Helper()
		for range 2 {
			got := decoded(&d, &p, payload, Nanosecond)
			if strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Fatalf("%q gives\n%s\nwant\n%s", payload, strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		}
	}
	good := `"m" | "v"=f:1`
	f("m v=\"a\nm v=1\n\nm v=1", `!unterminated_string:5:m v="a`, good, good)
	f("m a=\"x\ny\",v=? 5\nm v=1", "!bad_value:13:m a=\"x\ny\",v=? 5", good)
	f("m a=\"x\ny\",v=\"z\nm v=1", "!unterminated_string:13:m a=\"x\ny\",v=\"z", good)
	f("m,t= a=\"x\ny\" 5\nm v=1", `!missing_tag_value:5:m,t= a="x`, `!missing_field_value:5:y" 5`,
		good)
	f("m a=\"\xff\n\" 5\nm v=1", "!invalid_utf8:6:m a=\"\xff\n\" 5", good)
	f("m a=NaN,b=inf\nm v=1", `!no_fields_left:3:m a=NaN,b=inf`, good)
	f("m\nm v=1\nm\n", `!missing_fields:2:m`, good, `!missing_fields:2:m`)
	f("\n\n  m\n", `!missing_fields:4:  m`)
}
