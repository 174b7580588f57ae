package rules

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strconv"
	"testing"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
)

// thresholds compares a number with a constant by a glance at its text, where that decides, and by the floats
// or integers that both are. The glance is that of a rule whose program is compiled.
type thresholds struct {
	decoder lineproto.Decoder
	point   point.Point
	decided int
	by      [8]int // relations that a glance said
}

// check tells whether the decoder takes the number and the constant is right.
func (c *thresholds) check(t testing.TB, text, constant string) bool {
	t.Helper()
	set, wrong := Compile([]Group{{Name: textOf("g"), Rules: []Rule{ruleOf("A", "m", "x > "+constant)}}})
	if len(wrong) > 0 {
		return false
	}
	if len(set.plans[0].always) != 1 || len(set.plans[0].always[0].glances) != 1 {
		// A constant that is folded to an infinity has no glance.
		return false
	}
	line := []byte("m,a=b x=" + text + ",more=1 1700000000000000000\n")
	c.decoder.Start(line, lineproto.Nanosecond, &c.point)
	if c.decoder.Next(&c.point) != lineproto.OK || len(c.point.Fields) != 2 {
		return false
	}
	f, g := &c.point.Fields[0], &set.plans[0].always[0].glances[0]
	got := g.relate(f, c.point.PayloadBytes)
	if f.Known {
		t.Errorf("%s was read at a glance", text)
	}
	want := relateNumbers(value{c.point.Number(f), f.Kind}, value{g.imm, g.kind})
	if got != 0 && got != want {
		t.Errorf("%s to %s is %d by its text, %d by its value", text, constant, got, want)
	}
	if known := g.relate(f, c.point.PayloadBytes); known != want {
		t.Errorf("%s to %s is %d when it is read, not %d", text, constant, known, want)
	}
	if got != 0 {
		c.decided++
		c.by[got&7]++
	}
	return true
}

// Goal: a glance never says anything but what values say, where decimal numbers and floats part: at halves
// between floats, around powers of two and ten, with signs, zeros, exponents and lengths around the words
// that are read. Method: for each constant its own text, its neighbours among the floats, numbers halfway to
// them, and digits added, taken off and changed.
func TestGlancesSayWhatValuesSay(t *testing.T) {
	constants := []string{
		"0", "0.0", "-0.0", "1", "-1", "0.1", "0.3", "95", "95.0", "-95.5", "0.5", "100", "999.999", "1000",
		"9999999", "10000000", "9999999.5", "99999999", "100000000", "1e8", "1e15", "9007199254740993",
		"9007199254740992.0", "18446744073709551615", "-9223372036854775807", "0.1234567", "0.12345678",
		"0.123456789", "1234567.12345678", "12345.678901234567", "1e-5", "1e-300", "5e-324", "1e300", "2.5",
	}
	var c thresholds
	tried := 0
	for _, constant := range constants {
		for _, text := range around(constant) {
			for _, form := range []string{text, "-" + text, "0" + text, text + "0", text + "e0", text + "e1",
				text + "i", text + "u", "-" + text + "i", text + "00000000", text + ".0", text + "."} {
				if c.check(t, form, constant) {
					tried++
				}
			}
		}
	}
	if tried < 4000 || c.decided < tried/3 {
		t.Errorf("%d comparisons, of which a glance decided %d", tried, c.decided)
	}
	for _, r := range []relation{less, equal, greater} {
		if c.by[r] == 0 {
			t.Errorf("no glance said %d", r)
		}
	}
}

// around is decimal numbers at a constant and close to it, without a sign.
func around(constant string) []string {
	f, _ := strconv.ParseFloat(constant, 64)
	f = math.Abs(f)
	whole := strconv.FormatFloat(math.Floor(f), 'f', -1, 64)
	out := []string{"0", "1", "9", "0.0", "00.5", whole, whole + ".5", whole + ".99999999999999999999"}
	for _, next := range []float64{
		f, math.Nextafter(f, math.Inf(1)), math.Nextafter(f, 0), f + 1, max(f-1, 0), f * 10, f / 10,
	} {
		out = append(out, strconv.FormatFloat(next, 'f', -1, 64), strconv.FormatFloat(next, 'e', -1, 64))
		for _, digits := range []int{1, 2, 5, 14, 17, 20} {
			out = append(out, strconv.FormatFloat(next, 'f', digits, 64))
		}
		// Halfway to the next float, exactly, and a digit beyond.
		half, above := new(big.Float).SetPrec(200), math.Nextafter(next, math.Inf(1))
		half.Add(big.NewFloat(next), big.NewFloat(above))
		half.Quo(half, big.NewFloat(2))
		out = append(out, half.Text('f', 30), half.Text('f', 30)+"1")
	}
	return out
}

// TestRandomGlances is the same for numbers like those that sensors send. CULVERT_SEED repeats a run.
func TestRandomGlances(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 0))
	number := func() string {
		f := math.Pow(10, float64(random.IntN(10)-1)) * (random.Float64() - 0.2)
		switch random.IntN(4) {
		case 0:
			return strconv.FormatFloat(f, 'f', -1, 64)
		case 1:
			return fmt.Sprintf("%d", int64(f))
		}
		return strconv.FormatFloat(f, 'f', random.IntN(8), 64)
	}
	var c thresholds
	for range 20_000 {
		text, constant := number(), number()
		switch random.IntN(6) {
		case 0:
			constant = text
		case 1:
			text = fmt.Sprintf("%di", random.IntN(2000)-500)
		}
		if !c.check(t, text, constant) {
			t.Fatalf("%s or %s is not taken", text, constant)
		}
	}
	if c.decided < 15_000 {
		t.Errorf("a glance decided %d of 20000 comparisons", c.decided)
	}
}

// FuzzGlance: whatever a decoder takes for a number, a glance says what its value says.
func FuzzGlance(f *testing.F) {
	for _, s := range [][2]string{
		{"45.12", "95.0"}, {"95", "95.0"}, {"-0.0", "0"}, {"7i", "7"}, {"1e3", "1"}, {".5", "0.5"},
		{"94.99999999999999999999", "95"}, {"0000007.5", "7.5"}, {"12345678", "12345678"}, {"3u", "-3"},
	} {
		f.Add(s[0], s[1])
	}
	var c thresholds
	f.Fuzz(func(t *testing.T, text, constant string) { c.check(t, text, constant) })
}

// Goal: rules that a glance excludes are as if their programs had run, for points that come from a decoder.
// Method: two Sets of the same conditions, one with its glances taken away, over random points; what fires is
// the same. CULVERT_SEED repeats a run.
func TestGlancesExcludeWhatProgramsExclude(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 1))
	var rules []Rule
	for i := range 60 {
		field, other := string(rune('a'+random.IntN(4))), string(rune('a'+random.IntN(4)))
		comparison := [...]string{">", "<", "==", "!=", "<=", ">="}[i%6]
		expr := fmt.Sprintf("%s %s %d.%d && %s != 3", field, comparison, random.IntN(12), random.IntN(2)*5,
			other)
		switch i % 4 {
		case 0:
			expr = fmt.Sprintf(`tags.line == "l%d" && `, random.IntN(4)) + expr
		case 1:
			expr = "!(" + expr + ")"
		case 2:
			expr += fmt.Sprintf(" || %s > 11", other)
		case 3:
			expr = fmt.Sprintf(`tags.line == "l2" && %s > 3 && tags.line %s "l%d"`, field, comparison,
				random.IntN(4))
		}
		rules = append(rules, ruleOf(fmt.Sprintf("A%d", i), [...]string{"m", "*"}[i%2], expr, "line"))
	}
	with, without := compileOf(t, rules...), compileOf(t, rules...)
	glances, complete := 0, 0
	for _, steps := range allSteps(without) {
		for i := range steps {
			glances += len(steps[i].glances)
			if steps[i].complete {
				complete++
			}
			steps[i].glance, steps[i].glances, steps[i].complete = glance{}, nil, false
		}
	}
	if glances < 40 || complete < 10 {
		t.Fatalf("there are %d glances, %d rules of nothing else", glances, complete)
	}
	a, b := alone(with), alone(without)
	var d lineproto.Decoder
	var p point.Point
	for n := range 20_000 {
		line := randomLine(random)
		for _, e := range []*Evaluator{a, b} {
			d.Start([]byte(line), lineproto.Nanosecond, &p)
			if d.Next(&p) != lineproto.OK {
				t.Fatalf("%q is rejected: %s", line, d.Reason())
			}
			e.Eval(&p, int64(n+1))
		}
		x, y := a.Transitions(), b.Transitions()
		if len(x) != len(y) {
			t.Fatalf("%q: %d changes with glances, %d without", line, len(x), len(y))
		}
		for i := range x {
			if x[i].Rule != y[i].Rule || x[i].Firing != y[i].Firing {
				t.Fatalf("%q: rule %d firing %t with glances, rule %d firing %t without", line, x[i].Rule,
					x[i].Firing, y[i].Rule, y[i].Firing)
			}
		}
		a.Taken(len(x))
		b.Taken(len(y))
	}
	if a.stats[0].Transitions == 0 {
		t.Error("the first rule never fired")
	}
}

// allSteps is every list of steps of a Set.
func allSteps(s *Set) (all [][]step) {
	for i := range s.plans {
		all = append(all, s.plans[i].always)
		for j := range s.plans[i].selects {
			all = append(all, s.plans[i].selects[j].rules...)
		}
	}
	return all
}

func randomLine(random *rand.Rand) string {
	line := fmt.Sprintf("m,line=l%d,unit=u1 ", random.IntN(5))
	for i, at := range random.Perm(4)[:1+random.IntN(4)] {
		if i > 0 {
			line += ","
		}
		line += string(rune('a'+at)) + "="
		switch random.IntN(6) {
		case 0:
			line += fmt.Sprintf("%di", random.IntN(14)-1)
		case 1:
			line += `"3"`
		case 2:
			line += strconv.FormatFloat(random.Float64()*13, 'g', -1, 64)
		case 3:
			line += "t"
		default:
			line += fmt.Sprintf("%d.%d", random.IntN(14)-1, random.IntN(2)*5)
		}
	}
	return line + fmt.Sprintf(" %d\n", 1700000000000000000+random.Int64N(1000))
}

// Goal: a name is taken for another in no place and at no length, and is recognised wherever there are words
// to read. Method: names of 1 to 20 bytes, at the payload's begin, within it and at its end, and the same
// with each single bit changed, a byte added or taken away.
func TestTextPlaces(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 2))
	for n := 1; n <= 20; n++ {
		for range 20 {
			name := make([]byte, n)
			for i := range name {
				name[i] = byte(random.IntN(256))
			}
			place := newTextPlace(name)
			at := func(text []byte, before, behind int) bool {
				payload := append(append(make([]byte, before, 64), text...), make([]byte, behind)...)
				return place.isAt(point.MakeSpan(point.Payload, before, len(text)), payload)
			}
			if short := n <= spellingShort; at(name, 3, 8) != short || at(name, 0, 8) != short {
				t.Fatalf("%q is not recognised, or too long and is", name)
			}
			if n < 8 && at(name, 3, 0) {
				t.Fatalf("%q: words are read beyond the payload", name)
			}
			for bit := range 8 * n {
				other := append([]byte(nil), name...)
				other[bit/8] ^= 1 << (bit % 8)
				if at(other, 3, 8) {
					t.Fatalf("%q is taken for %q", other, name)
				}
			}
			if at(append(name[:n:n], 'x'), 3, 8) || n > 1 && at(name[:n-1], 3, 8) {
				t.Fatalf("%q is taken for one of another length", name)
			}
			elsewhere := append(append(make([]byte, 3), name...), name...)
			if place.isAt(point.MakeSpan(point.Scratch, 3, n), elsewhere) {
				t.Fatalf("%q is recognised in another arena", name)
			}
		}
	}
}
