package rules

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
)

const samplePoint = `m,line=a,machine=m17 f=96.5,i=7i,n=-7i,u=18446744073709551615u,t=t,z=0i,zf=0,` +
	`s="text" 1000`

// expressionTest checks an expression over samplePoint, compiled and interpreted.
func expressionTest(t *testing.T) func(expr string, want bool) {
	p := pointOf(t, samplePoint)
	return func(expr string, want bool) {
		t.Helper()
		got, ok := compiled(t, expr, p)
		if !ok {
			t.Errorf("%s does not compile", expr)
		} else if got != want {
			t.Errorf("%s is %t, want %t", expr, got, want)
		}
		if tree, err := parse(expr); err == nil && (interpret(tree, p) == true) != want {
			t.Errorf("%s is %v to the interpreter, want %t", expr, interpret(tree, p), want)
		}
	}
}

func TestComparisons(t *testing.T) {
	f := expressionTest(t)
	f(`f > 95.0`, true)
	f(`f > 96.5`, false)
	f(`f >= 96.5 && f <= 96.5 && f == 96.5 && !(f != 96.5)`, true)
	f(`96 < f`, true)
	f(`i == 7 && i == 7.0 && i < 7.5`, true)
	f(`missing > 1`, false)
	f(`missing <= 1`, false)
	f(`missing != 1`, false)
	f(`!(missing > 1)`, true)
	f(`missing == missing`, false)
	f(`s > 1`, false)
	f(`s != 1`, false)
	f(`f == "96.5"`, false)
	f(`u > 9223372036854775807 && u == 18446744073709551615 && u > n`, true)
	f(`n < u && n == -7`, true)
	f(`t`, true)
	f(`t == true && t != false`, true)
	f(`!missing`, true)
	f(`s`, false)
	f(`(t && missing) == false`, true)
	f(`(f > 1) == t`, true)
}

func TestNames(t *testing.T) {
	f := expressionTest(t)
	f(`tags.line == "a" && tags["machine"] == 'm17'`, true)
	f(`fields["f"] > 1 && fields.f > 1`, true)
	f(`measurement == "m" && time == 1000 && time < 1s`, true)
	f(`tags.line < "b" && tags.line >= "a" && "a" == tags.line`, true)
	f(`tags.none == "a"`, false)
	f(`tags.line != "b"`, true)
	f(`tags.none != "b"`, false)
	f(`tags.line == s`, false)
	f(`has(f) && has(tags.line) && !has(missing) && !has(tags.f)`, true)
}

func TestArithmetic(t *testing.T) {
	f := expressionTest(t)
	f(`i + 1 == 8 && i - 8 == -1 && i * 2 == 14 && i / 2 == 3 && i % 4 == 3`, true)
	f(`n / 2 == -3 && n % 4 == -3`, true)
	f(`i / 2.0 == 3.5`, true)
	f(`i / z > 0 || i % z >= 0 || f / zf > 0 || f % zf > 0 || i / zf > 0`, false)
	f(`!(i / z == i / z)`, true)
	f(`u + 1 > 0`, false)
	f(`u - 1 == 18446744073709551614`, true)
	f(`-u < 0`, false)
	f(`i * 9223372036854775807 > 0`, false)
	f(`i * 2000000000000000000 == 14000000000000000000`, true)
	f(`2 + 3 * 4 == 14 && (2 + 3) * 4 == 20 && 2 - 3 - 4 == -5 && -i == n`, true)
	f(`7 - -7 == 14 && - -i == 7`, true)
	f(`f * 2 == 193`, true)
	f(`s + 1 > 0`, false)
	f(`t + 1 > 0`, false)
	f(`sqrt(n) > 0 || sqrt(n) <= 0 || sqrt(n) != 0`, false)
	f(`abs(n) == 7 && abs(-1.5) == 1.5 && min(i, n) == -7 && max(i, n, 9) == 9`, true)
	f(`floor(f) == 96 && ceil(f) == 97 && round(f) == 97 && round(i) == 7`, true)
	f(`sqrt(49) == i && pow(2, 10) == 1024 && log(exp(2)) > 1.99 && clamp(f, 0, 50) == 50`, true)
	f(`clamp(n, 0, 50) == 0 && min(1, 2.5) == 1.0`, true)
	f(`min(missing, 1) <= 1`, false)
}

func TestStringsAndLists(t *testing.T) {
	f := expressionTest(t)
	f(`starts_with(tags.machine, "m1") && ends_with(tags.machine, "17") && contains(s, "ex")`, true)
	f(`starts_with(tags.none, "") || contains(f, "9")`, false)
	f(`tags.machine =~ "^m[0-9]+$" && tags.machine !~ "x"`, true)
	f(`s =~ "^text$" && s =~ "^te" && s =~ "xt$"`, true)
	f(`tags.none !~ "x" || f =~ "9" || s =~ "^ext"`, false)
	f("tags.machine =~ `^m\\d+$`", true)
	f(`tags.line in ["b", "a"] && i in [1, 7] && f in [96.5] && t in [true] && i in [7.0]`, true)
	f(`tags.line in ["b"] || i in [1, 2.5] || missing in [1] || s in [1] || n in [7]`, false)
	f(`u in [18446744073709551614, 18446744073709551615] && n in [-7]`, true)
	f(`!(i in [1])`, true)
}

func TestJunctionsAndConstants(t *testing.T) {
	f := expressionTest(t)
	f(`true || missing > 1`, true)
	f(`false && t`, false)
	f(`true && t && !false`, true)
	f(`i > 1 || i > 2 && i > 100`, true)
	f(`(i > 1 || i > 2) && i > 100`, false)
	f(`1 < 2 && "a" < "b" && 1.5 > 1`, true)
	f(`250ms == 250000000 && 1m30s == 90s`, true)
}

// generator makes right expressions at random.
type generator struct {
	*rand.Rand
}

func (g generator) pick(from ...string) string { return from[g.IntN(len(from))] }

func (g generator) number(depth int) string {
	if depth == 0 || g.IntN(3) == 0 {
		return g.pick("f", "i", "n", "u", "z", "zf", "s", "t", "missing", "time", "1", "2.5", "0.5", "7",
			"96.5", "9223372036854775807", "18446744073709551615", `fields["i"]`)
	}
	a, b := g.number(depth-1), g.number(depth-1)
	switch g.IntN(6) {
	case 0:
		return "-" + a
	case 1:
		return g.pick("abs", "floor", "ceil", "round", "sqrt", "log", "exp") + "(" + a + ")"
	case 2:
		return g.pick("min", "max", "pow") + "(" + a + ", " + b + ")"
	}
	return "(" + a + " " + g.pick("+", "-", "*", "/", "%") + " " + b + ")"
}

func (g generator) text() string {
	return g.pick("tags.line", "tags.machine", "tags.none", "s", "measurement", `"a"`, `"m17"`, `""`, "f",
		"missing")
}

func (g generator) condition(depth int) string {
	if depth > 0 && g.IntN(3) > 0 {
		a, b := g.condition(depth-1), g.condition(depth-1)
		switch g.IntN(5) {
		case 0:
			return "!(" + a + ")"
		case 1:
			return "(" + a + ") " + g.pick("==", "!=") + " (" + b + ")"
		}
		return "(" + a + " " + g.pick("&&", "||") + " " + b + ")"
	}
	switch g.IntN(8) {
	case 0:
		return g.text() + " " + g.pick("==", "!=", "<", "<=", ">", ">=") + " " + g.text()
	case 1:
		return g.text() + " " + g.pick("=~", "!~") + " " +
			g.pick(`"^m"`, `"1"`, `"a$"`, `"^text$"`, `"[a-m]"`, `""`)
	case 2:
		return g.pick("starts_with", "ends_with", "contains") + "(" + g.text() + ", " + g.text() + ")"
	case 3:
		return g.text() + " in [" + g.pick(`"a"`, `"a", "m17"`, `"x", "text", "b"`) + "]"
	case 4:
		return g.number(1) + " in [" + g.pick("1", "7, -7", "96.5, 1, 7.0", "18446744073709551615, 1") + "]"
	case 5:
		return g.pick("t", "has(f)", "has(tags.none)", "missing", "true", "false", "!t")
	}
	return g.number(depth+1) + " " + g.pick("==", "!=", "<", "<=", ">", ">=") + " " + g.number(depth+1)
}

// TestCompiledEqualsInterpreted compares both on random expressions. CULVERT_SEED repeats a run.
func TestCompiledEqualsInterpreted(t *testing.T) {
	seed := seedOf(t)
	g := generator{rand.New(rand.NewPCG(seed, 1))}
	p := pointOf(t, samplePoint)
	right := 0
	for range 20_000 {
		if checkExpression(t, g.condition(1+g.IntN(4)), p) {
			right++
		}
	}
	if right < 10_000 {
		t.Errorf("only %d of 20000 expressions were right", right)
	}
}

func seedOf(t testing.TB) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("CULVERT_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("read CULVERT_SEED: %v", err)
		}
	}
	t.Logf("CULVERT_SEED=%d", seed)
	return seed
}

// TestDispatchChangesNothing compares a rule that is found by a tag with the same rule that is not.
func TestDispatchChangesNothing(t *testing.T) {
	for _, by := range []string{"machine", "line"} {
		chosen := ruleOf("chosen", "m", `f > 95 && tags.machine in ["m1", "m2"]`, by)
		plain := ruleOf("plain", "m", `f > 95 && !(tags.machine != "m1" && tags.machine != "m2")`, by)
		e := alone(compileOf(t, chosen, plain))
		if len(e.set.rules[0].choice.values) != 2 || len(e.set.rules[1].choice.values) != 0 {
			t.Fatal("the first rule is to be found by its tag, the second is not")
		}
		random := rand.New(rand.NewPCG(seedOf(t), 2))
		states := [2]map[string]string{{}, {}}
		for i := range 2000 {
			line := fmt.Sprintf("m,machine=m%d,line=%d f=%d",
				random.IntN(4), random.IntN(2), 94+random.IntN(3))
			e.Eval(pointOf(t, line), int64(i))
			for j := range e.Transitions() {
				a := e.set.Render(&e.Transitions()[j])
				states[e.Transitions()[j].Rule][a.Labels[by]] = a.State
			}
			e.Taken(len(e.Transitions()))
			if fmt.Sprint(states[0]) != fmt.Sprint(states[1]) {
				t.Fatalf("by %s after %s: %v when found by the tag, else %v", by, line, states[0], states[1])
			}
		}
	}
}

func TestGlobs(t *testing.T) {
	f := func(pattern, text string, want bool) {
		t.Helper()
		if got := matchGlob(pattern, []byte(text)); got != want {
			t.Errorf("%q matches %q: %t, want %t", pattern, text, got, want)
		}
	}
	f("*", "", true)
	f("*", "a", true)
	f("a*", "a", true)
	f("a*c", "abbc", true)
	f("a*c", "abb", false)
	f("a?c", "abc", true)
	f("a?c", "ac", false)
	f("*a*b*", "xxaxxbxx", true)
	f("*a*b*", "xxbxxaxx", false)
	f("", "", true)
	f(strings.Repeat("*a", 30)+"b", strings.Repeat("a", 2000), false)

	all := ruleOf("all", "*", "f > 1", "machine")
	pumps := ruleOf("pumps", "pump_*|motor", "f > 1", "machine")
	e := alone(compileOf(t, all, pumps))
	g := func(line, want string) {
		t.Helper()
		e.Eval(pointOf(t, line), 1)
		if got := told(e); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
	g("pump_1,machine=a f=2",
		"all firing machine=a measurement=pump_1; pumps firing machine=a measurement=pump_1")
	g("pump_2,machine=a f=2",
		"all firing machine=a measurement=pump_2; pumps firing machine=a measurement=pump_2")
	g("motor,machine=a f=2",
		"all firing machine=a measurement=motor; pumps firing machine=a measurement=motor")
	g("valve,machine=a f=2", "all firing machine=a measurement=valve")
	g("pump_1,machine=a f=1",
		"all ok machine=a measurement=pump_1; pumps ok machine=a measurement=pump_1")
}
