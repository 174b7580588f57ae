package rules

import (
	"strconv"
	"strings"
	"testing"

	"culvert/dataplane/point"
)

// pointOf builds a point from text like Line Protocol, without escapes: "m,tag=v f=1.5,i=2i,u=3u,b=t,s=\"x\"
// 99". Strings hold no space and no comma.
func pointOf(t testing.TB, line string) *point.Point {
	t.Helper()
	p := &point.Point{PayloadBytes: []byte(line), LacksTags: ^uint64(0), LacksFields: ^uint64(0)}
	parts := strings.Split(line, " ")
	offset := 0
	span := func(s string) point.Span {
		at := strings.Index(line[offset:], s) + offset
		offset = at + len(s)
		return point.MakeSpan(point.Payload, at, len(s))
	}
	for i, word := range strings.Split(parts[0], ",") {
		if i == 0 {
			p.Measurement = span(word)
			continue
		}
		n, v, _ := strings.Cut(word, "=")
		p.Tags = append(p.Tags, point.Tag{Name: span(n), Value: span(v)})
		p.LacksTags &^= point.NameBit([]byte(n))
	}
	if len(parts) > 1 && parts[1] != "" {
		for _, word := range strings.Split(parts[1], ",") {
			n, v, _ := strings.Cut(word, "=")
			f := point.Field{Name: span(n)}
			p.LacksFields &^= point.NameBit([]byte(n))
			f.Kind, f.Bits = numberIn(t, v)
			f.Known = true
			f.Value = span(strings.Trim(v, `"`))
			p.Fields = append(p.Fields, f)
		}
	}
	if len(parts) > 2 {
		p.Time, _ = strconv.ParseInt(parts[2], 10, 64)
		p.HasTime = true
	}
	return p
}

func numberIn(t testing.TB, v string) (point.Kind, uint64) {
	t.Helper()
	if v[0] == '"' {
		return point.String, 0
	}
	switch v {
	case "t":
		return point.Bool, 1
	case "f":
		return point.Bool, 0
	}
	var err error
	var kind point.Kind
	var number uint64
	switch v[len(v)-1] {
	case 'i':
		var i int64
		i, err = strconv.ParseInt(v[:len(v)-1], 10, 64)
		kind, number = point.Int, uint64(i)
	case 'u':
		number, err = strconv.ParseUint(v[:len(v)-1], 10, 64)
		kind = point.Uint
	default:
		var f float64
		f, err = strconv.ParseFloat(v, 64)
		kind, number = point.Float, floatValue(f).bits
	}
	if err != nil {
		t.Fatalf("build a value of %q: %v", v, err)
	}
	return kind, number
}

// textOf makes a Text that stands at line 1 of a file.
func textOf(source string) Text {
	return Text{Source: source, Position: Position{File: "t.yaml", Line: 1, Column: 1}}
}

func textsFrom(sources ...string) []Text {
	var out []Text
	for _, s := range sources {
		out = append(out, textOf(s))
	}
	return out
}

// ruleOf makes a rule; without `by` every series is its own key.
func ruleOf(alert, on, expr string, by ...string) Rule {
	return Rule{
		Alert: textOf(alert), On: textsFrom(strings.Split(on, "|")...), Expr: textOf(expr),
		By: textsFrom(by...), HasBy: len(by) > 0,
	}
}

func compileOf(t testing.TB, rules ...Rule) *Set {
	t.Helper()
	set, errs := Compile([]Group{{Name: textOf("g"), Rules: rules}})
	for _, err := range errs {
		t.Errorf("%s", err.Detail())
	}
	if len(errs) > 0 {
		t.FailNow()
	}
	return set
}

// alone is the evaluator of the only worker.
func alone(set *Set) *Evaluator {
	return NewEvaluator(set, Config{Workers: 1, Owners: 1, KeysMax: 1000, Seed: [2]uint64{1, 2}})
}
