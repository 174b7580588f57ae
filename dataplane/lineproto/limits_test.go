package lineproto

import (
	"fmt"
	"strings"
	"testing"

	"culvert/dataplane/point"
)

func TestPrecision(t *testing.T) {
	var d Decoder
	var p point.Point
	f := func(name, stamp, want string) {
		t.Helper()
		precision, ok := ParsePrecision(name)
		if !ok || precision.String() != name {
			t.Fatalf("precision %q reads as %s, %t", name, precision, ok)
		}
		if got := decoded(&d, &p, "m v=1 "+stamp, precision); got[0] != `"m" | "v"=f:1 @`+want {
			t.Fatalf("timestamp %s in %s gives %s, want time %s", stamp, name, got[0], want)
		}
		if copied := p.Stamp != 0; copied {
			t.Fatalf("timestamp %s in %s is copied as nanoseconds", stamp, name)
		}
	}
	f("us", "1", "1000")
	f("us", "9223372036854775", "9223372036854775000")
	f("us", "-9223372036854775", "-9223372036854775000")
	f("ms", "1700000000123", "1700000000123000000")
	f("ms", "9223372036854", "9223372036854000000")
	f("s", "-1", "-1000000000")
	f("s", "9223372036", "9223372036000000000")
	f("s", "-9223372036", "-9223372036000000000")
	for name, stamp := range map[string]string{
		"us": "9223372036854776", "ms": "9223372036855", "s": "9223372037", "ns": "9223372036854775807",
	} {
		for _, sign := range []string{"", "-"} {
			precision, _ := ParsePrecision(name)
			got := decoded(&d, &p, "m v=1 "+sign+stamp, precision)
			if want := "!timestamp_range:7:m v=1 " + sign + stamp; got[0] != want {
				t.Fatalf("in %s: got %s, want %s", name, got[0], want)
			}
		}
	}
	for _, name := range []string{"", "n", "u", "m", "h", "NS", "ns "} {
		if precision, ok := ParsePrecision(name); ok {
			t.Fatalf("%q is precision %s", name, precision)
		}
	}
}

func TestVerbatim(t *testing.T) {
	var d Decoder
	var p point.Point
	f := func(line string, verbatim bool, stamp string) {
		t.Helper()
		p.ScratchBytes = p.ScratchBytes[:0]
		d.Start([]byte(line), Nanosecond, &p)
		if outcome := d.Next(&p); outcome != OK {
			t.Fatalf("%q gives %s, %s", line, outcome, d.Reason())
		}
		if p.Verbatim != verbatim || string(p.Bytes(p.Stamp)) != stamp {
			t.Fatalf("%q: verbatim is %t, stamp %q; want %t, %q",
				line, p.Verbatim, p.Bytes(p.Stamp), verbatim, stamp)
		}
	}
	f("m v=1 5", true, "5")
	f("m v=1 -5", true, "-5")
	f("m v=1 05", true, "")
	f("m v=1 -0", true, "")
	f("m v=1 0", true, "")
	f("m v=1", true, "")
	f("m   v=1   5   ", true, "5")
	f(`m\ m,t=a\,b f\==1i,g=2u,h="x",i=t,j=-1.5e-3,k=1e5 5`, true, "5")
	f(`m v="say \"no\" \\" 5`, true, "5")
	f("m v=\"a\nb\" 5", true, "5")
	f(`m v="C:\dir" 5`, false, "5")
	f("m v=1. 5", false, "5")
	f("m v=.5 5", false, "5")
	f("m v=-.5e3", false, "")
	f("m v=1,w=NaN", false, "")
	f("m v=1,v=2", false, "")
}

func TestLimits(t *testing.T) {
	var d Decoder
	var p point.Point
	f := func(line string, want Reason) {
		t.Helper()
		payload := line + "\nm v=1"
		for range 2 {
			d.Start([]byte(payload), Nanosecond, &p)
			if outcome := d.Next(&p); outcome == OK && want != Reasons {
				t.Fatalf("%.60q… of %d bytes is accepted, want %s", line, len(line), want)
			} else if outcome == Rejected && d.Reason() != want {
				t.Fatalf("%.60q… of %d bytes is rejected: %s", line, len(line), d.Reason())
			}
			if d.Next(&p) != OK || d.Next(&p) != End {
				t.Fatalf("%.60q… of %d bytes takes the next line with it", line, len(line))
			}
		}
	}
	const accepted = Reasons
	name := func(n int) string { return strings.Repeat("n", n) }
	f("m "+name(KeyLengthMax-keyFieldGap-1)+"=1", accepted)
	f("m "+name(KeyLengthMax-keyFieldGap)+"=1", KeyTooLong)
	f(name(KeyLengthMax-keyFieldGap-1)+" v=1", accepted)
	f(name(KeyLengthMax-keyFieldGap)+" v=1", KeyTooLong)
	f(name(KeyLengthMax+1)+" v=1", KeyTooLong)
	f("m,t="+name(KeyLengthMax-3)+" v=1", KeyTooLong)

	f(`m v="`+name(StringLengthMax)+`"`, accepted)
	f(`m v="`+name(StringLengthMax+1)+`"`, StringTooLong)

	list := func(n int, format string) string {
		var parts []string
		for i := range n {
			parts = append(parts, fmt.Sprintf(format, i))
		}
		return strings.Join(parts, ",")
	}
	f("m,"+list(TagsMax, "t%d=a")+" v=1", accepted)
	f("m,"+list(TagsMax+1, "t%d=a")+" v=1", TooManyTags)
	f("m,"+list(TagsMax, "t%d=a")+",t700=b v=1", DuplicateTag)
	f("m "+list(FieldsMax, "f%d=1"), accepted)
	f("m "+list(FieldsMax+1, "f%d=1"), TooManyFields)
	f("m "+list(FieldsMax, "f%d=1")+",f9=2", accepted)
	f("m,"+list(40, "n%d=a")+" "+list(40, "n%d=1"), accepted) // A tag and a field may share a name.
	f("m,"+list(40, `\ %d=a`)+" v=1", accepted)
	f("m,"+list(40, `\ %d=a`)+`,\ 3=b v=1`, DuplicateTag)
}

// Of many fields of one name the last wins, in the place of the first.
func TestWideDuplicates(t *testing.T) {
	var d Decoder
	var p point.Point
	for _, names := range []int{1, 2, fewNames - 1, fewNames, fewNames + 1, 5 * fewNames} {
		var line strings.Builder
		line.WriteString("m ")
		for i := range 3 * names {
			fmt.Fprintf(&line, "field%d=%di,", i%names, i)
		}
		d.Start([]byte(line.String()+"last=1u"), Nanosecond, &p)
		if outcome := d.Next(&p); outcome != OK {
			t.Fatalf("%d names: %s, %s", names, outcome, d.Reason())
		}
		if len(p.Fields) != names+1 || d.FieldsDropped() != 2*names || p.Verbatim || !p.HasUint {
			t.Fatalf("%d names: %d fields, %d dropped", names, len(p.Fields), d.FieldsDropped())
		}
		for i := range names {
			got := fmt.Sprintf("%s=%d", p.Bytes(p.Fields[i].Name), p.Int(&p.Fields[i]))
			if want := fmt.Sprintf("field%d=%d", i, 2*names+i); got != want {
				t.Fatalf("%d names: field %d is %s, want %s", names, i, got, want)
			}
		}
	}
}

// What a rejected line held counts for nothing, neither as dropped fields nor for the lines behind it.
func TestBadPayloadChangesNothing(t *testing.T) {
	var d Decoder
	var p point.Point
	good := "m,t=a\\ b v=1,w=\"x\\\"y\",u=3u 5\nn v=2.\n"
	want := strings.Join(decoded(&d, &p, good, Millisecond), "\n")
	bad := []string{
		"m v=\"", "m v=NaN,w=x", "m,a=1,a=2 v=1", "m\\", "m v=\"\\", ",",
		"m v=1 9999999999999999999999", "\xff\xff", "m,t=a\\ b v=1e999", strings.Repeat("m a=NaN,b\n", 50),
		strings.Repeat("\"", 1000), strings.Repeat("\\", 999), strings.Repeat("m,", 2000),
		strings.Repeat("m a=\"\\\"\n", 99),
	}
	for _, payload := range bad {
		for _, found := range decoded(&d, &p, payload, Nanosecond) {
			if found[0] != '!' {
				t.Fatalf("%q holds %s", payload, found)
			}
		}
		if d.FieldsDropped() != 0 {
			t.Fatalf("%q drops %d fields of rejected lines", payload, d.FieldsDropped())
		}
		if got := strings.Join(decoded(&d, &p, good, Millisecond), "\n"); got != want {
			t.Fatalf("after %q, %q gives\n%s\nwant\n%s", payload, good, got, want)
		}
		if strings.Contains(payload, `="`) {
			continue // Its last string goes on to the next quote, and takes lines with it.
		}
		got := decoded(&d, &p, strings.TrimSuffix(payload, "\n")+"\n"+good, Millisecond)
		if tail := strings.Join(got[max(0, len(got)-2):], "\n"); tail != want {
			t.Fatalf("behind %q in one payload, %q gives\n%s\nwant\n%s", payload, good, tail, want)
		}
	}
}

func TestWords(t *testing.T) {
	seen := map[string]bool{}
	for r := range Reasons + 1 {
		word := r.String()
		if word == "" || seen[word] || strings.Trim(word, "abcdefghijklmnopqrstuvwxyz_8") != "" {
			t.Fatalf("reason %d is called %q", r, word)
		}
		seen[word] = true
	}
	for outcome, want := range map[Outcome]string{End: "end", OK: "ok", Rejected: "rejected", 9: "unknown"} {
		if outcome.String() != want {
			t.Fatalf("outcome %d is called %q", outcome, outcome)
		}
	}
	if Precision(9).String() != "unknown" {
		t.Fatal("there is a tenth precision")
	}
}

// Decoding and encoding allocate nothing, whatever comes.
func TestNoAllocation(t *testing.T) {
	var wide strings.Builder
	wide.WriteString("wide,a=b ")
	for i := range 300 {
		fmt.Fprintf(&wide, "f%d=%d,", i%250, i)
	}
	wide.WriteString("z=1\n")
	payload := append(mixedPayload(), wide.String()...)
	payload = append(payload, "m v=1e400\nm v=-1e400,w=2\nm v=99999999999999999999i\nm\nm,a=1,a=2 v=1\n"+
		"m v=NaN,w=1,w=2\n"+
		"m v=123456789012345678901234567890,w=3.14159265358979323846264338e-5\nm v=\"\xff\"\nm v=\"open\n"...)
	var d Decoder
	var p point.Point
	e := Encoder{Tags: []Tag{{"site", "berlin"}}}
	dst := make([]byte, 0, 4*len(payload))
	accepted, rejected := 0, 0
	turn := func() {
		p.ScratchBytes, dst, accepted, rejected = p.ScratchBytes[:0], dst[:0], 0, 0
		d.Start(payload, Nanosecond, &p)
		for {
			outcome := d.Next(&p)
			if outcome == End {
				return
			}
			if outcome == Rejected {
				rejected++
				continue
			}
			accepted++
			for range 2 {
				dst, _ = e.Append(dst[:0:cap(dst)], &p)
				p.Verbatim = false
			}
		}
	}
	turn()
	if accepted < 100 || rejected != 7 {
		t.Fatalf("%d lines accepted, %d rejected", accepted, rejected)
	}
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Fatalf("%v allocations a payload, want none", n)
	}
}
