package oracle

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
)

// text is a JSON string, or {"binary": base64} where the bytes are no valid UTF-8.
type text string

func (x *text) UnmarshalJSON(b []byte) error {
	var binary struct{ Binary []byte }
	if len(b) > 0 && b[0] == '{' {
		err := json.Unmarshal(b, &binary)
		*x = text(binary.Binary)
		return err
	}
	return json.Unmarshal(b, (*string)(x))
}

type corpusPoint struct {
	Time   int64
	Name   text
	Tags   []struct{ Key, Value text }
	Fields []struct {
		Key   text
		Value struct {
			Float  *json.Number
			Int    *int64
			Uint   *uint64
			Bool   *bool
			String *text
		}
	}
}

type corpus struct {
	Decode map[string]struct {
		Input struct {
			Text        text
			DefaultTime int64
			Precision   string
		}
		Output struct {
			Result []corpusPoint
			Error  string
		}
	}
	Encode map[string]struct {
		Input  struct{ Point corpusPoint }
		Output struct {
			Result text
			Error  string
		}
	}
}

// readCorpus reads the cases that lie in the library's module.
func readCorpus(t testing.TB) *corpus {
	t.Helper()
	const module = "github.com/influxdata/line-protocol/v2"
	directory, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("find module %s: %v", module, err)
	}
	place := filepath.Join(strings.TrimSpace(string(directory)), "lineprotocol", "testdata", "corpus.json")
	b, err := os.ReadFile(place)
	if err != nil {
		t.Fatal(err)
	}
	var c corpus
	if err := json.Unmarshal(b, &c); err != nil {
		t.Fatalf("read %s: %v", place, err)
	}
	return &c
}

func (p *corpusPoint) content(t *testing.T) content {
	c := content{measurement: string(p.Name), time: p.Time, hasTime: true}
	for _, tag := range p.Tags {
		c.tags = append(c.tags, fmt.Sprintf("%q=%q", tag.Key, tag.Value))
	}
	fields := map[string]string{}
	for _, f := range p.Fields {
		switch v := f.Value; {
		case v.Float != nil:
			value, err := v.Float.Float64()
			if err != nil {
				t.Fatalf("a float of the corpus: %v", err)
			}
			fields[string(f.Key)] = showFloat(value)
		case v.Int != nil:
			fields[string(f.Key)] = fmt.Sprintf("int:%d", *v.Int)
		case v.Uint != nil:
			fields[string(f.Key)] = fmt.Sprintf("uint:%d", *v.Uint)
		case v.Bool != nil:
			fields[string(f.Key)] = fmt.Sprintf("bool:%t", *v.Bool)
		case v.String != nil:
			fields[string(f.Key)] = showString(string(*v.String))
		default:
			t.Fatalf("field %q of the corpus has no value", f.Key)
		}
	}
	c.sorted(fields)
	return c
}

var corpusUnits = map[string]lineproto.Precision{
	"1ns": lineproto.Nanosecond, "1µs": lineproto.Microsecond, "1ms": lineproto.Millisecond,
	"1s": lineproto.Second,
}

// Every case of the corpus is decoded as the corpus says, and as the library of today does, except for the
// deliberate differences, which are counted.
func TestCorpusDecode(t *testing.T) {
	cases := readCorpus(t).Decode
	if len(cases) < 6000 {
		t.Fatalf("the corpus has %d cases; is it read whole?", len(cases))
	}
	shown := map[string]int{}
	agreed := 0
	for _, key := range slices.Sorted(maps.Keys(cases)) {
		input, output := cases[key].Input, cases[key].Output
		precision, ok := corpusUnits[input.Precision]
		if !ok {
			t.Fatalf("%s: precision %q", key, input.Precision)
		}
		differs := compare(t, string(input.Text), precision)
		for _, name := range differs {
			shown[name]++
		}
		if differs != nil {
			continue
		}
		agreed++
		// The corpus gives a text's points only if all its lines are good.
		mine := ours(string(input.Text), precision)
		if mine.because != lineproto.Reasons {
			if output.Error == "" {
				t.Fatalf("%s: %q is rejected, %s", key, input.Text, mine.because)
			}
			continue
		}
		got := mine.points
		if output.Error != "" || len(got) != len(output.Result) {
			t.Fatalf("%s: %q gives %d points, want %d (%s)", key, input.Text, len(got), len(output.Result),
				output.Error)
		}
		for i := range got {
			want := output.Result[i].content(t)
			if !got[i].hasTime {
				got[i].time, got[i].hasTime = want.time, true
			}
			for j := range got[i].fields {
				// The corpus does not tell -0 from 0.
				if name, zero := strings.CutSuffix(got[i].fields[j], "=float:-0"); zero {
					got[i].fields[j] = name + "=float:0"
				}
			}
			if !got[i].equal(&want) {
				t.Fatalf("%s: %q gives %s, want %s", key, input.Text, &got[i], &want)
			}
		}
	}
	t.Logf("%d of %d cases agree; differences: %v", agreed, len(cases), shown)
}

// Every point of the corpus is written so that the library reads the same point back, or refused where the
// library refuses it.
func TestCorpusEncode(t *testing.T) {
	cases := readCorpus(t).Encode
	if len(cases) < 100 {
		t.Fatalf("the corpus has %d cases; is it read whole?", len(cases))
	}
	for _, key := range slices.Sorted(maps.Keys(cases)) {
		in, failure := cases[key].Input.Point, cases[key].Output.Error
		var e lineproto.Encoder
		p := in.point(t)
		line, ok := e.Append(nil, p)
		if !ok && pairBeforeEscape.MatchString(string(cases[key].Output.Result)) {
			continue // The difference "backslashes before an escape", from the other side.
		}
		if ok == (failure != "") || len(line) > e.Bound(p) {
			t.Fatalf("%s: %+v gives %q, %t; the library says %q", key, in, line, ok, failure)
		}
		if !ok {
			continue
		}
		back, err := theirs(string(line), lineproto.Nanosecond)
		if want := in.content(t); err != nil || len(back) != 1 || !back[0].equal(&want) {
			t.Fatalf("%s: %+v is written as %q, which the library reads as %v, %v", key, in, line, back, err)
		}
	}
}

// point makes the corpus's point one of ours.
func (p *corpusPoint) point(t *testing.T) *point.Point {
	q := &point.Point{Time: p.Time, HasTime: true}
	add := func(s text) point.Span {
		q.ScratchBytes = append(q.ScratchBytes, s...)
		return point.MakeSpan(point.Scratch, len(q.ScratchBytes)-len(s), len(s))
	}
	q.Measurement = add(p.Name)
	for _, tag := range p.Tags {
		q.Tags = append(q.Tags, point.Tag{Name: add(tag.Key), Value: add(tag.Value)})
	}
	for _, f := range p.Fields {
		field := point.Field{Name: add(f.Key)}
		switch v := f.Value; {
		case v.Float != nil:
			value, err := v.Float.Float64()
			if err != nil {
				t.Fatal(err)
			}
			field.Known, field.Kind, field.Bits = true, point.Float, math.Float64bits(value)
		case v.Int != nil:
			field.Known, field.Kind, field.Bits = true, point.Int, uint64(*v.Int)
		case v.Uint != nil:
			field.Known, field.Kind, field.Bits = true, point.Uint, *v.Uint
		case v.Bool != nil:
			field.Known, field.Kind = true, point.Bool
			if *v.Bool {
				field.Bits = 1
			}
		case v.String != nil:
			field.Kind, field.Value = point.String, add(*v.String)
		}
		q.Fields = append(q.Fields, field)
	}
	return q
}
