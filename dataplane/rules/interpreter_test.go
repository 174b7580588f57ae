package rules

import (
	"math"
	"math/big"
	"regexp"
	"strings"
	"testing"

	"culvert/dataplane/point"
)

// interpret is a slow, obvious evaluation of a tree as it was parsed: nil is missing, integers are big.
func interpret(n *node, p *point.Point) any { return interpretWith(n, p, nil) }

// interpretWith interprets functions of the past by a function of their own.
func interpretWith(n *node, p *point.Point, past func(n *node) any) any {
	arg := func(i int) any { return interpretWith(n.args[i], p, past) }
	truth := func(i int) bool { return arg(i) == true }
	switch n.kind {
	case nodePast:
		return past(n)
	case nodeConstant:
		return literalOf(n.value)
	case nodeName:
		return lookUp(n.name, p)
	case nodeNot:
		return !truth(0)
	case nodeAnd:
		return truth(0) && truth(1)
	case nodeOr:
		return truth(0) || truth(1)
	case nodeHas:
		return lookUp(n.name, p) != nil
	case nodeCompare:
		return compareSlowly(arg(0), arg(1), n.mask)
	case nodeIn:
		for _, c := range n.list {
			if compareSlowly(arg(0), literalOf(c), equal) {
				return true
			}
		}
		return false
	case nodeMatch:
		s, ok := arg(0).(string)
		return ok && regexp.MustCompile(n.value.text).MatchString(s) != n.negate
	case nodeText:
		a, ok1 := arg(0).(string)
		b, ok2 := arg(1).(string)
		tests := map[textTest]func(a, b string) bool{
			textStartsWith: strings.HasPrefix, textEndsWith: strings.HasSuffix,
			textContains: strings.Contains,
		}
		return ok1 && ok2 && tests[n.test](a, b)
	}
	if len(n.args) == 1 {
		return oneSlowly(n.op, arg(0))
	}
	return twoSlowly(n.op, arg(0), arg(1))
}

func literalOf(c constant) any { return slowValue(c.kind, c.number, c.text) }

func slowValue(kind point.Kind, number uint64, text string) any {
	switch kind {
	case point.Float:
		return math.Float64frombits(number)
	case point.Int:
		return big.NewInt(int64(number))
	case point.Uint:
		return new(big.Int).SetUint64(number)
	case point.Bool:
		return number != 0
	case point.String:
		return text
	}
	return nil
}

func lookUp(n name, p *point.Point) any {
	switch n.kind {
	case nameMeasurement:
		return string(p.Bytes(p.Measurement))
	case nameTime:
		if p.HasTime {
			return big.NewInt(p.Time)
		}
	case nameTag:
		if v, ok := p.Tag(n.text); ok {
			return string(p.Bytes(v))
		}
	case nameField:
		if f := p.Field(n.text); f != nil {
			return slowValue(f.Kind, p.Number(f), string(p.Bytes(f.Value)))
		}
	}
	return nil
}

func floatOf(v any) (float64, bool) {
	switch v := v.(type) {
	case float64:
		return v, true
	case *big.Int:
		f, _ := new(big.Float).SetInt(v).Float64()
		return f, true
	}
	return 0, false
}

func compareSlowly(a, b any, mask relation) bool {
	order := 0
	switch x := a.(type) {
	case string:
		y, ok := b.(string)
		if !ok {
			return false
		}
		order = strings.Compare(x, y)
	case bool:
		y, ok := b.(bool)
		return ok && (mask == equal && x == y || mask == less|greater && x != y)
	default:
		i, ok1 := a.(*big.Int)
		j, ok2 := b.(*big.Int)
		if ok1 && ok2 {
			order = i.Cmp(j)
			break
		}
		f, ok1 := floatOf(a)
		g, ok2 := floatOf(b)
		if !ok1 || !ok2 || math.IsNaN(f) || math.IsNaN(g) {
			return false
		}
		if f < g {
			order = -1
		} else if f > g {
			order = 1
		}
	}
	return map[int]relation{-1: less, 0: equal, 1: greater}[order]&mask != 0
}

var lowest, highest = new(big.Int).Lsh(big.NewInt(-1), 63), new(big.Int).SetUint64(math.MaxUint64)

func inRange(i *big.Int) any {
	if i.Cmp(lowest) < 0 || i.Cmp(highest) > 0 {
		return nil
	}
	return i
}

func oneSlowly(op operation, a any) any {
	if i, ok := a.(*big.Int); ok {
		switch op {
		case opNegate:
			return inRange(new(big.Int).Neg(i))
		case opAbs:
			return inRange(new(big.Int).Abs(i))
		case opFloor, opCeil, opRound:
			return i
		}
	}
	f, ok := floatOf(a)
	if !ok {
		return nil
	}
	return map[operation]func(float64) float64{
		opNegate: func(x float64) float64 { return -x }, opAbs: math.Abs, opFloor: math.Floor,
		opCeil: math.Ceil, opRound: math.Round, opSqrt: math.Sqrt, opLog: math.Log, opExp: math.Exp,
	}[op](f)
}

func twoSlowly(op operation, a, b any) any {
	i, ok1 := a.(*big.Int)
	j, ok2 := b.(*big.Int)
	if ok1 && ok2 && op != opPow {
		r := new(big.Int)
		switch op {
		case opAdd:
			r.Add(i, j)
		case opSubtract:
			r.Sub(i, j)
		case opMultiply:
			r.Mul(i, j)
		case opMin, opMax:
			if (i.Cmp(j) < 0) == (op == opMin) {
				return i
			}
			return j
		default:
			if j.Sign() == 0 {
				return nil
			}
			if op == opDivide {
				r.Quo(i, j)
			} else {
				r.Rem(i, j)
			}
		}
		return inRange(r)
	}
	f, ok1 := floatOf(a)
	g, ok2 := floatOf(b)
	if !ok1 || !ok2 || (op == opDivide || op == opRemainder) && g == 0 {
		return nil
	}
	return map[operation]func(a, b float64) float64{
		opAdd:      func(a, b float64) float64 { return a + b },
		opSubtract: func(a, b float64) float64 { return a - b },
		opMultiply: func(a, b float64) float64 { return a * b },
		opDivide:   func(a, b float64) float64 { return a / b },
		opMin:      func(a, b float64) float64 { return min(a, b) },
		opMax:      func(a, b float64) float64 { return max(a, b) },
		opPow:      math.Pow, opRemainder: math.Mod,
	}[op](f, g)
}

// compiled evaluates an expression by a program; ok is false if it is no right expression. It stands in two
// rules, so that they share what can be shared.
func compiled(t testing.TB, expr string, p *point.Point) (result, ok bool) {
	t.Helper()
	rule := ruleOf("A", "*", expr)
	set, errs := Compile([]Group{{Name: textOf("g"), Rules: []Rule{rule, rule}}})
	if len(errs) > 0 || set.rules[0].past {
		return false, false
	}
	e := alone(set)
	m := &e.machine
	m.mark, m.point = markStep, p
	m.guess = make([]uint8, len(set.slots))
	for i := range m.guess {
		m.guess[i] = noGuess
	}
	first := m.run(set.rules[0].code)
	if other := m.run(set.rules[1].code); other != first {
		t.Fatalf("%s gives %t, and %t in another rule", expr, first, other)
	}
	// Once more with the guesses of the first time.
	m.mark += markStep
	if second := m.run(set.rules[1].code); second != first {
		t.Fatalf("%s gives %t, then %t on the same point", expr, first, second)
	}
	glanced := step{code: set.rules[0].code}
	if glanced.glances, glanced.complete = set.newGlances(glanced.code, choice{}); len(glanced.glances) > 0 {
		glanced.glance = glanced.glances[0]
	}
	if excluded, sure := m.exclude([]step{glanced}); excluded == 1 && first || sure && !first {
		t.Fatalf("%s gives %t; by a glance %d are excluded, sure is %t", expr, first, excluded, sure)
	}
	return first, true
}
