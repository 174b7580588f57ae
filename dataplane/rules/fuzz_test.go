package rules

import (
	"testing"

	"culvert/dataplane/point"
)

// checkExpression compares program and interpreter on one point, and tells whether the expression is right.
func checkExpression(t testing.TB, expr string, p *point.Point) bool {
	t.Helper()
	got, ok := compiled(t, expr, p)
	if !ok {
		return false
	}
	tree, err := parse(expr)
	if err != nil {
		t.Fatalf("%q compiles, but does not parse: %s", expr, err.message)
	}
	if want := interpret(tree, p) == true; got != want {
		t.Errorf("%s is %t, interpreted %t", expr, got, want)
	}
	return true
}

var fuzzSeeds = []string{
	`f > 95.0 && tags.line == "a"`, `!(missing > 1) || t`, `i / z > 0 && u % 3 == 1.5`, `tags["x"] =~ "^a+$"`,
	`fields["odd name"] in [1, 2.5, -3] || s in ["a"]`, `clamp(min(f, i, 3), -1, 1e3) >= round(f)`,

	`(t && missing) == (time > 250ms)`, `starts_with(tags.machine, "m") != false`, "s =~ `\\d`",
	`"\"" == 'a'`,
	`-(-(-9223372036854775807 - 1)) > u`, `{{`, `tags.`, `5kg`, `avg(x[10s])`, `((((`,
}

// FuzzCompile compiles arbitrary text as every part of a rule: no panic, and each error has a place.
func FuzzCompile(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		group := Group{Name: textOf("g"), Rules: []Rule{
			ruleOf("A", "m", text),
			{
				Alert: textOf(text), On: textsFrom(text), Expr: textOf("a > 1"),
				By: textsFrom(text), HasBy: true, Actions: textsFrom(text),
				Labels:      []Pair{{textOf("a"), textOf(text)}},
				Annotations: []Pair{{textOf(text), textOf(text)}},
			},
		}}
		_, errs := Compile([]Group{group})
		for _, err := range errs {
			if err.Position.Column < 1 || err.Position.Column > len(text)+2 || err.Detail() == "" {
				t.Errorf("%q: error outside of the text: %s", text, err)
			}
		}
	})
}

// FuzzEval: a program gives what interpreting the tree gives, whatever the expression and the values.
func FuzzEval(f *testing.F) {
	for _, s := range fuzzSeeds {
		f.Add(s, 96.5, int64(7), uint64(1<<63), "a")
	}
	f.Fuzz(func(t *testing.T, expr string, float float64, integer int64, unsigned uint64, text string) {
		p := pointOf(t, samplePoint)
		p.ScratchBytes = []byte(text)
		for i := range p.Fields {
			field := &p.Fields[i]
			switch string(p.Bytes(field.Name)) {
			case "f":
				field.Bits = floatValue(float).bits
			case "i":
				field.Bits = uint64(integer)
			case "u":
				field.Bits = unsigned
			case "s":
				field.Value = point.MakeSpan(point.Scratch, 0, len(text))
			}
		}
		checkExpression(t, expr, p)
	})
}
