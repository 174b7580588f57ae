package rules

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"culvert/dataplane/point"
)

// TestEvalAllocatesNothing covers every instruction, dispatch, keys, states and hand-over.
func TestEvalAllocatesNothing(t *testing.T) {
	rules := []Rule{
		ruleOf("Plain", "m", "f > 95 && i < 100 && tags.line == \"a\"", "machine"),
		ruleOf("Series", "m", "f > 95"),
		ruleOf("Text", "m", "tags.machine =~ `^m\\d+$` && s in [\"text\"] && contains(s, \"ex\")", "line"),
		ruleOf("Sum", "m|x*", "abs(n) * 2 + sqrt(f) / (i - 3) > 1 && has(t) && t == (u > 5)", "line"),
		ruleOf("Chosen", "m", `tags.machine in ["m17", "m18"] && missing > 1`, "line"),
		ruleOf("Flips", "m", "time % 2 == 0", "machine"),
	}
	set := compileOf(t, rules...)
	for workers := 1; workers <= 3; workers++ {
		e := NewEvaluator(set, Config{Worker: workers - 1, Workers: workers, Owners: 1, KeysMax: 10})
		points := make([]*point.Point, 64)
		for i := range points {
			points[i] = pointOf(t, strings.Replace(samplePoint, "m17", fmt.Sprintf("m%d", i%20), 1))
			points[i].Time = int64(i / 20)
		}
		arrival := int64(0)
		turn := func() {
			for _, p := range points {
				arrival++
				e.Eval(p, arrival)
			}
			for peer := range workers {
				if peer != workers-1 {
					e.Sent(peer, len(e.Outbox(peer)))
				}
			}
			e.Taken(len(e.Transitions()))
			e.Tick(arrival)
		}
		for range 50 {
			turn()
		}
		if n := testing.AllocsPerRun(50, turn); n != 0 && !raceDetector {
			t.Errorf("with %d workers 64 points allocate %g times", workers, n)
		}
	}
}

// TestHandoverAllocatesNothing plays an owner that hears of keys that come and go.
func TestHandoverAllocatesNothing(t *testing.T) {
	set := compileOf(t, ruleOf("High", "m", "f > 95", "machine"))
	owner := NewEvaluator(set, Config{Worker: 0, Workers: 2, Owners: 1, KeysMax: 10})
	other := NewEvaluator(set, Config{Worker: 1, Workers: 2, Owners: 1, KeysMax: 10})
	high, low := pointOf(t, "m,machine=a f=96"), pointOf(t, "m,machine=a f=1")
	arrival := int64(0)
	exchange := func() {
		out := other.Outbox(0)
		for i := range out {
			owner.Receive(&out[i])
		}
		other.Sent(0, len(out))
		back := owner.Outbox(1)
		for i := range back {
			other.Receive(&back[i])
		}
		owner.Sent(1, len(back))
		owner.Taken(len(owner.Transitions()))
	}
	turn := func() {
		for _, p := range []*point.Point{high, low} {
			arrival++
			other.Eval(p, arrival)
			exchange()
		}
	}
	turn()
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Errorf("a hand-over allocates %g times", n)
	}
	if owner.stats[0].Transitions < 200 {
		t.Errorf("%d transitions, want two for each turn", owner.stats[0].Transitions)
	}
}

func TestKeysTooLong(t *testing.T) {
	e := alone(compileOf(t, ruleOf("High", "m", "f > 95", "machine"), ruleOf("Series", "m", "f > 95")))
	longest := KeyMax - 2 - len("m") - 2
	f := func(length int, firing, tooLong int) {
		t.Helper()
		before := e.stats[0].TooLong
		e.Eval(pointOf(t, "m,machine="+strings.Repeat("x", length)+" f=96"), 1)
		if n := len(e.Transitions()); n != firing {
			t.Errorf("a key of %d bytes: %d transitions, want %d", length, n, firing)
		}
		if n := int(e.stats[0].TooLong - before); n != tooLong {
			t.Errorf("a key of %d bytes: counted %d times, want %d", length, n, tooLong)
		}
		for i := range e.Transitions() {
			if a := e.set.Render(&e.Transitions()[i]); len(a.Labels["machine"]) != length {
				t.Errorf("the label has %d bytes, want %d", len(a.Labels["machine"]), length)
			}
		}
		e.Taken(len(e.Transitions()))
	}
	// The name of the tag makes the key of the series longer by nine bytes.
	f(longest-9, 2, 0)
	f(longest, 1, 0)
	f(longest+1, 0, 1)
	f(64<<10, 0, 1)
}

func TestCapturesAreCutOff(t *testing.T) {
	rule := ruleOf("High", "m", `f > 1 && contains(s, "x") && g > 1`, "machine")
	rule.Annotations = []Pair{{textOf("a"), textOf("{{ s }}")}}
	e := alone(compileOf(t, rule))
	line := "m,machine=a f=2,s=\"" + strings.Repeat("x", 60_000) + "\",g=3"
	e.Eval(pointOf(t, line), 1)
	a := e.set.Render(&e.Transitions()[0])
	if n := len(a.Annotations["a"]); n < TextMax-KeyMax || n > TextMax {
		t.Errorf("annotation has %d bytes", n)
	}
}

func TestHostilePoints(t *testing.T) {
	rules := []Rule{ruleOf("Sum", "*", "f0 + f9999 > 1", "machine")}
	terms := make([]string, 1000)
	for i := range terms {
		terms[i] = fmt.Sprintf("f%d >= 0", i)
	}
	rules = append(rules, ruleOf("Terms", "*", strings.Join(terms, " && "), "machine"))
	e := alone(compileOf(t, rules...))
	var fields []string
	for i := range 10_000 {
		fields = append(fields, fmt.Sprintf("f%d=%di", i, i))
	}
	e.Eval(pointOf(t, "m,machine=a "+strings.Join(fields, ",")), 1)
	if got := told(e); got != "Sum firing machine=a measurement=m; Terms firing machine=a measurement=m" {
		t.Errorf("told %q", got)
	}
	// Ten thousand measurements, and as many keys: what is kept is bounded.
	for i := range 10_000 {
		e.Eval(pointOf(t, fmt.Sprintf("m%d,machine=a f0=1,f9999=1", i)), int64(i))
		e.Taken(len(e.Transitions()))
	}
	if e.records.used != 1000+1 || e.stats[0].Evicted != 9001 {
		t.Errorf("%d records after %d evictions, want 1001 after 9001", e.records.used, e.stats[0].Evicted)
	}
}

func TestWrongNestingAndSizes(t *testing.T) {
	f := func(expr, want string) {
		t.Helper()
		_, errs := Compile([]Group{{Name: textOf("g"), Rules: []Rule{ruleOf("A", "m", expr)}}})
		if len(errs) != 1 || !strings.Contains(errs[0].Message, want) {
			t.Errorf("%.40s… gives %v, want %q", expr, errs, want)
		}
	}
	f(strings.Repeat("(", 500)+"a"+strings.Repeat(")", 500), "nested more than 200 deep")
	f(strings.Repeat("!", 500)+"a", "nested more than 200 deep")
	f(strings.Repeat("a && ", 30_000)+"a", "bytes, more than")
	deep := strings.Repeat("a + (", 98) + "b" + strings.Repeat(")", 98) + " > 1"
	group := Group{Name: textOf("g"), Rules: []Rule{ruleOf("A", "m", deep)}}
	if _, errs := Compile([]Group{group}); len(errs) > 0 {
		t.Errorf("98 levels: %v", errs[0])
	}
}

func TestDetailShowsThePlace(t *testing.T) {
	text := Text{
		Source: "tags.a > 1", Position: Position{File: "r.yaml", Line: 2, Column: 8},
		Document: &Document{Name: "r.yaml", Lines: []string{"x", "\texpr: tags.a > 1"}},
	}
	rule := ruleOf("A", "m", "")
	rule.Expr = text
	_, errs := Compile([]Group{{Name: textOf("g"), Rules: []Rule{rule}}})
	want := "r.yaml:2:15: a string is compared with a number\n    \texpr: tags.a > 1\n    \t             ^"
	if len(errs) != 1 || errs[0].Detail() != want {
		t.Errorf("detail is\n%s\nwant\n%s", errs[0].Detail(), want)
	}
}

// TestHostileKeysWithAPast: with as many keys as points, keys of every length, and rules of a thousand terms
// that look at the past, memory stays within max_keys, and what was let go is counted.
func TestHostileKeysWithAPast(t *testing.T) {
	const keysMax, points = 500, 50_000
	terms := make([]string, 1000)
	for i := range terms {
		terms[i] = fmt.Sprintf("max(f%d[10s]) >= %d", i%40, i)
	}
	absent := ruleOf("Absent", "*", "", "machine")
	absent.Absent = textOf("5s")
	rules := []Rule{
		absent, ruleOf("Terms", "*", strings.Join(terms, " || "), "machine"), ruleOf("Series", "*",
			"count(f0[1s]) > 1e9"),
		recordOf("r", "*", "1s", []string{"machine"}, "n=count(f0[1s])"),
	}
	e := NewEvaluator(compileOf(t, rules...), Config{Workers: 1, KeysMax: keysMax})
	random := rand.New(rand.NewPCG(seedOf(t), 16))
	p := pointOf(t, "m,machine=m f0=1,f1=2 1")
	var keys, made int
	for i := range points {
		at := int64(i+1) * 1e6
		name := fmt.Sprintf("m%d", i)
		if i%100 == 0 {
			name += strings.Repeat("x", random.IntN(1000))
		}
		p.ScratchBytes = []byte(name)
		p.Tags[0].Value = point.MakeSpan(point.Scratch, 0, len(name))
		p.Time = at
		e.Eval(p, at)
		e.Tick(at)
		e.Taken(len(e.Transitions()))
		made += len(e.Derived())
		e.DerivedTaken(len(e.Derived()))
		for c := range e.pasts {
			keys = max(keys, e.pasts[c].list.length)
		}
	}
	var stats [4]RuleStats
	e.Stats(stats[:])
	if keys != keysMax || stats[0].Evicted < points/2 || stats[0].TooLong == 0 || made == 0 {
		t.Errorf("%d keys at most, %d records made, stats %+v", keys, made, stats[0])
	}
	if n := e.keyTimers.wheel.length; n > 3*keysMax {
		t.Errorf("%d timers are set for %d keys", n, keysMax)
	}
	blocks := 0
	for i := range e.texts.classes {
		blocks += int(e.texts.classes[i].used - e.texts.classes[i].freed)
	}
	if blocks > 6*keysMax {
		t.Errorf("%d texts are kept for at most %d keys and alerts", blocks, 6*keysMax)
	}
}
