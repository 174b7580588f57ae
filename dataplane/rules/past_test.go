package rules

import (
	"fmt"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"culvert/dataplane/point"
)

// TestPastOfAKey plays points with x to a function of the past and compares what it comes to at each: "-" is
// a point without x, "!" behind a value a point that comes late, and "." in what is wanted stands for
// missing.
func TestPastOfAKey(t *testing.T) {
	f := func(expr, points, want string) {
		t.Helper()
		set := compileOf(t, ruleOf("A", "m", expr, "machine"))
		e := alone(set)
		call := pastCalls(set)[0]
		now := int64(1e12)
		var got []string
		for _, p := range strings.Fields(points) {
			now += 1e9
			at := now
			if rest, ok := strings.CutSuffix(p, "!"); ok {
				p, at = rest, now-5e9
			}
			field := "y=1"
			if p != "-" {
				field = "x=" + p
			}
			e.Eval(pointOf(t, fmt.Sprintf("m,machine=a %s %d", field, at)), now)
			v := e.machine.recall(call.i)
			text := formatValue(numberOf(v.kind, v.bits))
			if v.kind == 0 {
				text = "."
			}
			got = append(got, strings.TrimSuffix(text, ".0"))
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("%s of %s is %s, want %s", expr, points, s, want)
		}
	}
	f("prev(x) > 1", "1 2 - 3 7", ". 1 2 2 3")
	f("prev(x) > 1", "1 2 3 9! 4 -", ". 1 2 . 3 4")
	f("prev(x) > 1", "1i 2.5 t f", ". 1 2.5 true")
	f(`prev(x) == 1`, `"a" "b"`, ". .")
	f("changed(x)", "1 1 2 - 2 3 9! 3", "false false true false false true false false")
	f("changed(x)", `"a" "a" "b" "b" - "b"`, "false false true false false false")
	f("changed(x)", `t f f 1 1i 1u 2u "2"`, "false true false true false false true true")
	f("followed_by(x == 1, x == 2, 3s)", "1 2 2 3 2", "false true true false false")
	f("followed_by(x == 1, x == 2, 3s)", "1 - - 2", "false false false true")
	f("followed_by(x == 1, x == 2, 3s)", "1 - - - 2 1 2", "false false false false false false true")
	f("followed_by(x == 1, x == 2, 3s)", "2 1 1 - - 2 2", "false false false false false true true")
	f("followed_by(x >= 1, x >= 2, 3s)", "2 2 1 2", "false true false true")
	f("ewma(x, 1s) > 1", "8 8 - 8", "8 8 8 8")
}

// TestEwma: after the duration an average has moved by 1−1/e towards a new level, however many points came.
func TestEwma(t *testing.T) {
	for _, steps := range []int64{1, 3, 100} {
		set := compileOf(t, ruleOf("A", "m", "ewma(x, 10s) > 1", "machine"))
		e := alone(set)
		e.Eval(pointOf(t, "m x=0 1000000000"), 1)
		for i := range steps {
			e.Eval(pointOf(t, fmt.Sprintf("m x=1 %d", int64(1e9)+(i+1)*int64(10e9)/steps)), 2)
		}
		got, _ := e.machine.recall(pastCalls(set)[0].i).float()
		if want := 1 - 1/math.E; math.Abs(got-want) > 1e-9 {
			t.Errorf("after the duration in %d steps the average is %g, want %g", steps, got, want)
		}
	}
}

// TestDelta: delta takes part in arithmetic of integers.
func TestDelta(t *testing.T) {
	p := playerOf(t, ruleOf("A", "m", "delta(x) >= 5", "machine"))
	for i, x := range []string{"1i", "5i", "10i", "9i", "14u"} {
		p.point(int64(1000+i), "m,machine=a x="+x)
	}
	if got := p.told(); got != "firing@1002; ok@1003; firing@1004" {
		t.Errorf("told %q", got)
	}
}

// TestFieldsOfReservedNames: a field called time is not the point's time, nor are their pasts one.
func TestFieldsOfReservedNames(t *testing.T) {
	p := playerOf(t, ruleOf("A", "m", `delta(time) == 1s && delta(fields["time"]) == 9 &&`+
		`max(fields["time"], 0) == 10 && max(time, 0) > 10 && fields["true"] == 5`, "machine"))
	p.point(1000, "m,machine=a time=1,true=5")
	p.point(2000, "m,machine=a time=10,true=5")
	if got := p.told(); got != "firing@2000" {
		t.Errorf("told %q", got)
	}
}

// TestAbsent: an alert fires when a key has no point for the time, and ends with its next point. Alerts of
// different durations go their own ways.
func TestAbsent(t *testing.T) {
	ruleFor := func(name, absent string) Rule {
		r := ruleOf(name, "m", "", "machine")
		r.Absent = textOf(absent)
		return r
	}
	p := playerOf(t, ruleFor("Silent", "10s"), ruleFor("Longer", "1m"))
	told := func(want string) {
		t.Helper()
		if got := told(p.Evaluator); got != want {
			t.Errorf("at %d ms told %q, want %q", p.now/1e6, got, want)
		}
	}
	p.point(1000, "m,machine=a f=1")
	p.point(1000, "m,machine=b f=2")
	p.point(9000, "m,machine=a f=3")
	p.at(10_999)
	told("")
	p.at(11_000)
	told("Silent firing machine=b")
	p.at(18_999)
	told("")
	p.at(19_000)
	told("Silent firing machine=a")
	p.point(20_000, "m,machine=b f=4")
	told("Silent ok machine=b")
	p.at(29_999)
	told("")
	p.at(30_000)
	told("Silent firing machine=b")
	p.at(69_000)
	told("Longer firing machine=a")
	p.at(3_600_000_000)
	told("Longer firing machine=b")
	p.point(3_600_000_001, "m,machine=a f=5")
	told("Silent ok machine=a; Longer ok machine=a")
	var stats [2]RuleStats
	if p.Stats(stats[:]); stats[0].Firing != 1 || stats[0].Keys != 2 {
		t.Errorf("stats are %+v", stats[0])
	}
}

// TestAbsentShowsTheLastValues: annotations of an absent alert show the last point there was.
func TestAbsentShowsTheLastValues(t *testing.T) {
	first, second := ruleOf("A", "m", "", "machine"), ruleOf("B", "m", "", "machine")
	first.Absent, second.Absent = textOf("10s"), textOf("10s")
	first.Annotations = []Pair{{textOf("s"), textOf("{{ s }} {{ f }}")}}
	second.Annotations = []Pair{{textOf("s"), textOf("{{ g }}")}}
	p := playerOf(t, first, second)
	p.point(1, `m,machine=a f=1,s="`+strings.Repeat("x", 90)+`",g=7`)
	p.point(2, `m,machine=a f=2,s="end",g=8`)
	p.at(11_000)
	var got []string
	for i := range p.Transitions() {
		got = append(got, p.set.Render(&p.Transitions()[i]).Annotations["s"])
	}
	if s := strings.Join(got, ";"); s != "end 2;8" {
		t.Errorf("annotations are %q", s)
	}
}

// Goal: a device whose clock runs ahead is alive, although its points are no use: it wakes nobody while it
// sends, and somebody when it ceases to, be its clock ever so wrong from the first point on. The gateway's
// clock stands for its own. Method: points an hour ahead, at the owner and by way of another worker.
func TestAbsentOfAClockAhead(t *testing.T) {
	absent := ruleOf("Silent", "m", "", "machine")
	absent.Absent = textOf("10s")
	p := playerOf(t, absent, ruleOf("Hot", "m", "max(f[10s]) > 50", "machine"))
	expect := func(want string) {
		t.Helper()
		if got := p.told(); got != want {
			t.Errorf("at %d ms told %q, want %q", p.now/1e6, got, want)
		}
	}
	ahead := func(ms int64, machine string) {
		p.at(ms)
		p.Eval(pointOf(t, fmt.Sprintf("m,machine=%s f=99 %d", machine, p.now+3600e9)), p.now)
	}
	p.point(1000, "m,machine=a f=1")
	for ms := int64(9000); ms <= 54_000; ms += 9000 {
		ahead(ms, "a")
	}
	p.at(63_999)
	expect("")
	p.at(64_000)
	expect("firing@64000")
	ahead(70_000, "a")
	expect("ok@70000")
	p.point(71_000, "m,machine=a f=1")
	p.at(81_000)
	expect("firing@81000")
	ahead(90_000, "b")
	p.at(99_999)
	expect("")
	p.at(100_000)
	expect("firing@100000")
	p.point(101_000, "m,machine=b f=1")
	expect("ok@101000")
	var stats [2]RuleStats
	if p.Stats(stats[:]); stats[0].Ahead != 8 || stats[0].Keys != 2 || stats[1].Transitions != 0 {
		t.Errorf("stats are %+v", stats)
	}

	set := compileOf(t, absent)
	owner := NewEvaluator(set, Config{Worker: 0, Workers: 2, Owners: 1})
	other := NewEvaluator(set, Config{Worker: 1, Workers: 2, Owners: 1})
	for at := int64(1e9); at <= 17e9; at += 8e9 {
		other.Eval(pointOf(t, fmt.Sprintf("m,machine=a f=1 %d", at+3600e9)), at)
		for out := other.Outbox(0); len(out) > 0; out = other.Outbox(0) {
			owner.Receive(&out[0])
			other.Sent(0, 1)
		}
	}
	for _, c := range []struct {
		at   int64
		want string
	}{{26_999e6, ""}, {27_000e6, "Silent firing machine=a"}} {
		owner.Tick(c.at)
		if got := told(owner); got != c.want {
			t.Errorf("at %d told %q, want %q", c.at, got, c.want)
		}
	}
}

// TestLatePointCorrects: a point that comes late and changes the window takes its alert back.
func TestLatePointCorrects(t *testing.T) {
	p := playerOf(t, ruleOf("Few", "m", "count(x[1s:1s]) > 0 && avg(x[1s:1s]) > 50", "machine"))
	p.Eval(pointOf(t, "m,machine=a x=1 1000000000"), 1e9)
	p.Eval(pointOf(t, "m,machine=a x=80 2500000000"), 25e8)
	p.Eval(pointOf(t, "m,machine=a x=1 2200000000"), 26e8)
	if got := p.told(); got != "firing@2500; ok@2200 corrected" {
		t.Errorf("told %q", got)
	}
	// One that begins an alert, at once or after a while, has no such reason.
	high := ruleOf("High", "m", "max(x[1s:1s]) > 50", "machine")
	late := high
	late.Alert, late.For = textOf("Later"), textOf("1s")
	p = playerOf(t, high, late)
	p.Eval(pointOf(t, "m,machine=a x=1 1000000000"), 1e9)
	p.Eval(pointOf(t, "m,machine=a x=1 2500000000"), 25e8)
	p.Eval(pointOf(t, "m,machine=a x=80 2200000000"), 26e8)
	p.at(3600)
	if got := p.told(); got != "firing@2200; firing@3200" {
		t.Errorf("begun by a late point, told %q", got)
	}
}

// TestUnknownPast: a window that reaches back before the start has no value, but that of a key that appears
// later has, since all of its points were seen. After a key was let go, new ones may be old ones.
func TestUnknownPast(t *testing.T) {
	set := compileOf(t, ruleOf("A", "m", "count(x[10s]) >= 1", "machine"))
	p := &player{Evaluator: NewEvaluator(set, Config{KeysMax: 2, Seed: [2]uint64{1, 2}}), t: t}
	p.point(1000, "m,machine=a x=1")
	p.point(9000, "m,machine=a x=1")
	if got := p.told(); got != "" {
		t.Errorf("before a whole window has passed told %q", got)
	}
	p.point(11_000, "m,machine=a x=1")
	p.point(12_000, "m,machine=b x=1")
	if got := p.told(); got != "firing@11000; firing@12000" {
		t.Errorf("after a whole window told %q", got)
	}
	p.point(20_000, "m,machine=c x=1")
	p.point(21_000, "m,machine=a x=1")
	if got := p.told(); got != "ok@11000 evicted; ok@12000 evicted" {
		t.Errorf("after keys were let go told %q", got)
	}
	var stats [1]RuleStats
	if p.Stats(stats[:]); stats[0].Evicted != 2 || stats[0].Keys != 2 {
		t.Errorf("stats are %+v", stats[0])
	}
}

// TestCounterFrom1970: the first second of all times, with which tests of rules like to begin, counts.
func TestCounterFrom1970(t *testing.T) {
	p := playerOf(t, ruleOf("Fast", "m", "rate(x[2s:1s]) >= 10", "machine"))
	for i, x := range []string{"0", "15", "20", "21"} {
		p.point(int64(i)*1000, "m,machine=a x="+x)
	}
	w := window{length: 4e9, slide: 1e9, part: partCounter}
	words := make([]uint64, w.lay())
	for _, at := range []int64{-1e9, 0, 1e9} {
		w.advance(words, at)
		w.add(words, at, 20+float64(at)/1e9)
	}
	pane := make([]uint64, w.width)
	w.whole(words, pane)
	if rate, ok := counter(pane[1:]).rate(); !ok || rate != 1 {
		t.Errorf("the rate over 1970 is %g (%t), want 1", rate, ok)
	}
	if got := p.told(); got != "firing@1000; ok@2000" {
		t.Errorf("told %q", got)
	}
}

// TestExtremeTimes: no timestamp makes a window do more than its panes allow, or count wrongly.
func TestExtremeTimes(t *testing.T) {
	e := alone(compileOf(t, ruleOf("A", "m", "quantile(0.5, x[2m:1s]) > 1 && rate(x[10s]) > 1", "machine")))
	for _, at := range []int64{1 << 62, -1 << 62, math.MaxInt64, math.MinInt64, 0, 1, -1, 1 << 61, 5} {
		e.SetWall(1 << 62)
		e.Eval(pointOf(t, fmt.Sprintf("m,machine=a x=1 %d", at)), 1)
	}
	var stats [1]RuleStats
	if e.Stats(stats[:]); stats[0].Ahead != 2 || stats[0].Late == 0 {
		t.Errorf("stats are %+v", stats[0])
	}
	e.SetWall(0)
	e.Eval(pointOf(t, "m,machine=b x=1 60000000002"), 1)
	if e.Stats(stats[:]); stats[0].Ahead != 3 {
		t.Errorf("a point a minute and more ahead is not counted: %+v", stats[0])
	}
}

// TestPastOverManyWorkers: with the points of a key spread over workers, the owner's windows hold all of
// them.
func TestPastOverManyWorkers(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 10))
	for range 20 {
		absent := ruleOf("Absent", "m", "", "machine")
		absent.Absent = textOf("1h")
		set := compileOf(t, absent, ruleOf("Count", "m",
			`sum(f[1h]) > 0 && contains(s, "x") && tags.line != ""`, "machine"))
		workers := 2 + random.IntN(3)
		w := newWorkshop(random, set, workers, 1+random.IntN(workers), 64, 1000)
		sums := map[int]int{}
		for range 300 {
			machine, f := random.IntN(5), random.IntN(100)
			sums[machine] += f
			w.point(random.IntN(workers), fmt.Sprintf(`m,machine=m%d,line=l f=%d,s="x%d" %d`, machine, f, f,
				w.now+1))
			for range 4 + random.IntN(12) {
				w.step(t)
			}
		}
		w.settle(t)
		total, want, keys := 0.0, 0, 0
		for _, e := range w.evaluators {
			call := pastCalls(set)[0]
			var stats [2]RuleStats
			e.Stats(stats[:])
			if stats[0].Missed+stats[0].TooLong+stats[0].Ahead > 0 {
				t.Errorf("stats are %+v", stats[0])
			}
			keys += stats[0].Keys
			for i := range e.pasts[0].cut {
				words := e.pasts[0].memory(i)[call.memo.at:]
				v, _ := call.memo.window.average(words, pastSum).float()
				total += v
			}
		}
		for _, s := range sums {
			want += s
		}
		if total != float64(want) || keys != len(sums) {
			t.Errorf("all windows sum up to %g over %d keys, want %d over %d", total, keys, want, len(sums))
		}
	}
}

// TestPastOfHandedOverPoints: an owner that gets all of its points from others knows since when, too.
func TestPastOfHandedOverPoints(t *testing.T) {
	set := compileOf(t, ruleOf("A", "m", "count(x[1s]) >= 1", "machine"))
	owner := NewEvaluator(set, Config{Worker: 0, Workers: 2, Owners: 1})
	other := NewEvaluator(set, Config{Worker: 1, Workers: 2, Owners: 1})
	for i, machine := range []string{"a", "b"} {
		at := int64(1+5*i) * 1e9
		other.Eval(pointOf(t, fmt.Sprintf("m,machine=%s x=1 %d", machine, at)), at)
		for out := other.Outbox(0); len(out) > 0; out = other.Outbox(0) {
			owner.Receive(&out[0])
			other.Sent(0, 1)
		}
	}
	if got := told(owner); got != "A firing machine=b" {
		t.Errorf("told %q, want the key that appeared later", got)
	}
}

// TestPastAllocatesNothing: windows of every kind, sequences, absent alerts and the way to the owner.
func TestPastAllocatesNothing(t *testing.T) {
	absent := ruleOf("Absent", "m", "", "machine")
	absent.Absent = textOf("10ms")
	set := compileOf(t, absent,
		ruleOf("All", "m", "quantile(0.9, f[1s]) > 1 && stddev(f[1s:100ms]) > 0 && rate(f[1s]) > 1"+
			"|| first(f[1s]) > last(f[1s])", "machine"),
		ruleOf("Others", "m", "followed_by(f > 1, f > 2, 1s) && changed(s) || ewma(f, 1s) > prev(f)",
			"machine"))
	for workers := 1; workers <= 2; workers++ {
		e := NewEvaluator(set, Config{Worker: workers - 1, Workers: workers, Owners: 1, KeysMax: 20})
		arrival := int64(1e9)
		p := pointOf(t, samplePoint)
		tag, _ := p.Tag("machine")
		value := p.Bytes(tag) // m17, changed in place so that there are more keys than room
		turn := func() {
			for i := range 40 {
				arrival += 1e6
				value[1], value[2] = '1'+byte(i%30/10), '0'+byte(i%10)
				p.Time = arrival + int64(i%3/2)*3600e9 // each third of a clock that runs ahead
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
			t.Errorf("with %d workers 40 points allocate %g times", workers, n)
		}
	}
}

// history is the points of one key, as the interpreter looks back on them.
type history struct {
	points []*point.Point // in the order of arrival, the one at hand last
	from   int64          // event time from which on the key's past is known
}

// past interprets a function of the past by looking at all points again.
func (h *history) past(n *node) any {
	value := func(arg *node, p *point.Point) any { return interpret(arg, p) }
	var all []sample
	for _, p := range h.points {
		v, ok := floatOf(value(n.args[0], p))
		known := ok && !math.IsNaN(v) && !math.IsInf(v, 0)
		all = append(all, sample{t: p.Time, v: v, known: known})
	}
	if n.past.isOfWindow() {
		slide := n.slide
		if slide == 0 {
			slide = n.length / panesMoving
		}
		v, ok := windowSlowly(n.past, math.Float64frombits(n.value.number), n.length, slide, h.from, all)
		switch {
		case !ok:
			return nil
		case n.past == pastCount:
			return big.NewInt(int64(v))
		}
		return v
	}
	if n.past == pastFollowed {
		return h.followed(n)
	}
	return h.before(n)
}

// followed plays the state of a sequence from its beginning.
func (h *history) followed(n *node) any {
	armed, matched, since := false, false, int64(0)
	for _, p := range h.points {
		if interpret(n.args[1], p) != true {
			matched = false
		} else if !matched && armed && p.Time >= since && p.Time-since <= n.length {
			matched, armed = true, false
		}
		if interpret(n.args[0], p) == true {
			armed, since = true, p.Time
		}
	}
	return matched
}

// before finds the values that prev and changed compare.
func (h *history) before(n *node) any {
	var newest, prev any
	newestTime, lateNow := int64(0), false
	for _, p := range h.points {
		v := interpret(n.args[0], p)
		lateNow = false
		switch {
		case v == nil:
			prev = newest
		case newest != nil && p.Time < newestTime:
			lateNow = true
		default:
			prev, newest, newestTime = newest, v, p.Time
		}
	}
	if lateNow {
		prev = nil
	}
	if n.past == pastPrev {
		if _, isText := prev.(string); isText {
			return nil
		}
		return prev
	}
	if prev == nil {
		return false
	}
	if _, ok := floatOf(prev); ok {
		if _, ok := floatOf(newest); ok {
			return !compareSlowly(prev, newest, equal)
		}
	}
	return prev != newest
}

// TestPastEqualsInterpreted: conditions at random over functions of the past and of the point, in rules that
// share what is written alike, come to what interpreting them over all points of the key comes to.
func TestPastEqualsInterpreted(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 15))
	// A deviation is rounded in another way than the interpreter's, so it is moved off the grid that all
	// other terms lie on.
	terms := []string{
		"avg(x[3s])", "sum(x[3s:1s])", "count(x[2s])", "max(x[3s]) - min(x[3s])", "range(x[3s])", "prev(x)",
		"delta(x)",
		"first(x[5s])", "last(x[5s:5s])", "rate(x[4s])", "x", "y * 2", "stddev(x[2s]) + 1.0317",
		"abs(delta(x) - 3)",
		"last((x + y)[2s])", "count(y[1s:1s])", "prev(x + y)", "clamp(avg(x[3s]), 10, 60)",
	}
	conditions := []string{
		"changed(s)", "changed(x)", "followed_by(x > 60, x < 40, 2s)", "followed_by(changedless, y > 1, 1s)",
		"has(y)", `tags.line == "l1"`, `s in ["1", "2"]`, "prev(x) == x",
	}
	pick := func(from []string) string { return from[random.IntN(len(from))] }
	condition := func() string {
		if random.IntN(3) == 0 {
			return strings.Replace(pick(conditions), "changedless", "x > 50", 1)
		}
		return fmt.Sprintf("%s %s %s", pick(terms), pick([]string{">", "<", ">=", "!="}),
			pick(append(terms, "30", "1", "50.5")))
	}
	compared := 0
	for range 60 {
		var rules []Rule
		for i := range 12 {
			expr := condition()
			for range random.IntN(3) {
				expr += pick([]string{" && ", " || "}) + pick([]string{"", "!"}) + "(" + condition() + ")"
			}
			rules = append(rules, ruleOf(fmt.Sprint("R", i), "m", expr, "machine"))
		}
		set := compileOf(t, rules...)
		e := alone(set)
		keys := map[int]*history{}
		now, start := int64(1e15), int64(0)
		for i := range 120 {
			now += random.Int64N(5e8)
			at, machine := now, random.IntN(2)
			if random.IntN(5) == 0 {
				at -= random.Int64N(3e9)
			}
			fields := []string{fmt.Sprintf(`s="%d"`, random.IntN(3))}
			if random.IntN(6) > 0 {
				fields = append(fields, fmt.Sprintf("x=%d", random.IntN(100))+[]string{"",
					"i"}[random.IntN(2)])
			}
			if random.IntN(3) == 0 {
				fields = append(fields, fmt.Sprintf("y=%g", float64(random.IntN(100))/4))
			}
			p := pointOf(t, fmt.Sprintf("m,machine=m%d,line=l%d %s %d", machine, random.IntN(2),
				strings.Join(fields, ","), at))
			if i == 0 {
				start = now
			}
			if keys[machine] == nil {
				keys[machine] = &history{from: at - (now - start)}
			}
			keys[machine].points = append(keys[machine].points, p)
			e.Eval(p, now)
			e.Taken(len(e.Transitions()))
			for r := range set.rules {
				if !set.rules[r].past {
					continue
				}
				tree, _ := parse(set.rules[r].expr)
				want := interpretWith(tree, p, keys[machine].past) == true
				if got := e.machine.run(set.rules[r].code); got != want {
					t.Fatalf("%s is %t, interpreted %t, at point %d", set.rules[r].expr, got, want, i)
				}
				compared++
			}
		}
	}
	if compared < 50_000 {
		t.Errorf("%d values were compared", compared)
	}
}
