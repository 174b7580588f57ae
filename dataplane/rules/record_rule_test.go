package rules

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"culvert/dataplane/point"
)

// recordOf makes a record of fields given as "name=expression".
func recordOf(name, on, every string, by []string, fields ...string) Rule {
	r := Rule{Kind: KindRecord, Record: textOf(name), On: textsFrom(on), By: textsFrom(by...),
		HasBy: by != nil}
	if every != "" {
		r.Every = textOf(every)
	}
	for _, f := range fields {
		name, expr, _ := strings.Cut(f, "=")
		r.Fields = append(r.Fields, Pair{textOf(name), textOf(expr)})
	}
	return r
}

// lineOf writes a point as Line Protocol without escapes.
func lineOf(p *point.Point) string {
	var out strings.Builder
	out.Write(p.Bytes(p.Measurement))
	for _, tag := range p.Tags {
		fmt.Fprintf(&out, ",%s=%s", p.Bytes(tag.Name), p.Bytes(tag.Value))
	}
	for i := range p.Fields {
		out.WriteByte(" ,"[min(i, 1)])
		fmt.Fprintf(&out, "%s=%s", p.Bytes(p.Fields[i].Name), p.Bytes(p.Fields[i].Value))
	}
	fmt.Fprintf(&out, " %d", p.Time/1e6)
	return out.String()
}

// derived takes all derived points and writes them, with their times in milliseconds.
func (p *player) derived() string {
	var out []string
	var made point.Point
	for i := range p.Derived() {
		p.Fill(&p.Derived()[i], &made)
		out = append(out, lineOf(&made))
	}
	p.DerivedTaken(len(p.Derived()))
	slices.Sort(out)
	return strings.Join(out, "; ")
}

func TestRecord(t *testing.T) {
	p := playerOf(t, recordOf("m_5s", "m", "5s", []string{"machine", "line"}, "avg=avg(x[10s:5s])",
		"n=count(x[5s])",
		"high=max(x[10s]) > 7"))
	f := func(want string) {
		t.Helper()
		if got := p.derived(); got != want {
			t.Errorf("at %d ms made %q, want %q", p.now/1e6, got, want)
		}
	}
	p.point(1000, "m,machine=a x=2")
	p.point(2000, "m,machine=a x=4")
	p.point(4000, "m,machine=b,line=l x=8")
	p.point(5050, "m,machine=a x=6") // beyond the window's end, before the watermark
	p.at(5099)
	f("")
	p.at(5100)
	f("m_5s,machine=a avg=3,n=2i,high=false,incomplete=true 5000; " +
		"m_5s,machine=b,line=l avg=8,n=1i,high=true,incomplete=true 5000")
	p.at(10_100)
	f("m_5s,machine=a avg=4,n=1i,high=false,incomplete=true 10000; " +
		"m_5s,machine=b,line=l avg=8,n=0i,high=true,incomplete=true 10000")
	// A source that falls silent holds nothing open, and makes nothing once its windows are empty.
	p.at(15_100)
	f("m_5s,machine=a avg=6,n=0i,high=false 15000")
	p.at(100_000)
	f("")
	p.point(101_000, "m,machine=a x=1")
	p.at(105_100)
	f("m_5s,machine=a avg=1,n=1i,high=false 105000")
}

// TestRecordIsCorrected: a point that comes after its record was made, but before it is final, makes the
// record anew, once; a later one is counted.
func TestRecordIsCorrected(t *testing.T) {
	p := playerOf(t, recordOf("m_1s", "m", "1s", []string{"machine"}, "sum=sum(x[1s])"))
	// A tenth of the points and a bit come two seconds late.
	at := int64(1000)
	for i := range 2000 {
		at += 10
		late := int64(0)
		if i%50 == 7 {
			late = 1800
		}
		p.Tick(at * 1e6)
		p.Eval(pointOf(t, fmt.Sprintf("m,machine=a x=1 %d", (at-late)*1e6)), at*1e6)
	}
	p.at(at + 10_000)
	times := map[int64][]float64{}
	for i := range p.Derived() {
		d := &p.Derived()[i]
		v := math.Float64frombits(leUint64(d.text[d.keyBytes+1:]))
		times[d.Time/1e9] = append(times[d.Time/1e9], v)
	}
	for second := int64(5); second < 18; second++ {
		made := times[second]
		if len(made) != 2 || made[0] >= made[1] || made[1] != 100 {
			t.Errorf("the record of second %d was made as %v, want twice, 100 at last", second, made)
		}
	}
	var stats [1]RuleStats
	p.Stats(stats[:])
	if stats[0].Late != 0 {
		t.Errorf("%d values were late", stats[0].Late)
	}
	p.Eval(pointOf(t, fmt.Sprintf("m,machine=a x=1 %d", (at-3500)*1e6)), (at+10_000)*1e6)
	if p.Stats(stats[:]); stats[0].Late != 1 {
		t.Errorf("%d values were late, want the one behind the final watermark", stats[0].Late)
	}
}

// TestOneCorrectionIsOne: a point that comes late makes the records anew whose windows it lies in, and no
// other. The points of another machine come late all the time, so that records wait for them.
func TestOneCorrectionIsOne(t *testing.T) {
	p := playerOf(t, recordOf("m_1s", "m", "1s", []string{"machine"}, "n=count(x[2s])"))
	made := map[int64]int{}
	at := int64(1000)
	for i := range 2000 {
		at += 10
		p.Tick(at * 1e6)
		for _, machine := range []string{"a", "b"} {
			late := int64(0)
			if machine == "b" && i%50 == 7 || i == 1000 {
				late = 1800
			}
			p.Eval(pointOf(t, fmt.Sprintf("m,machine=%s x=1 %d", machine, (at-late)*1e6)), at*1e6)
		}
		for i := range p.Derived() {
			if d := p.Describe(&p.Derived()[i]); d.Tags["machine"] == "a" {
				made[d.Time/1e9]++
			}
		}
		p.DerivedTaken(len(p.Derived()))
	}
	// The point of 11.010 s was late by 1.8 s, at 9.210 s.
	for second := int64(2); second < 18; second++ {
		want := 1
		if second == 10 || second == 11 {
			want = 2
		}
		if made[second] != want {
			t.Errorf("the record of second %d was made %d times, want %d", second, made[second], want)
		}
	}
}

func leUint64(b []byte) (v uint64) {
	for i := range 8 {
		v |= uint64(b[i]) << (8 * i)
	}
	return v
}

// TestRecordsEqualBruteForce: whatever comes late or twice, the last record of every window is what all
// of its points that were not too late come to.
func TestRecordsEqualBruteForce(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 11))
	for range 40 {
		p := playerOf(t, recordOf("r", "m", "", []string{"machine"}, "sum=sum(x[3s:1s])",
			"n=count(x[1s:1s])"))
		type window struct {
			machine int
			end     int64
		}
		got, sums, counts := map[window][2]float64{}, map[window]float64{}, map[window]float64{}
		now := int64(1e15) + random.Int64N(1e9)
		take := func() {
			var made point.Point
			for i := range p.Derived() {
				p.Fill(&p.Derived()[i], &made)
				var machine int
				tag, _ := made.Tag("machine")
				fmt.Sscanf(string(made.Bytes(tag)), "m%d", &machine)
				got[window{machine, made.Time}] = [2]float64{made.Float(made.Field("sum")),
					float64(made.Int(made.Field("n")))}
			}
			p.DerivedTaken(len(p.Derived()))
		}
		for range 500 {
			now += random.Int64N(3e8)
			p.Tick(now)
			take()
			late := random.Int64N(5e7)
			if random.IntN(10) == 0 {
				late = random.Int64N(2e9)
			}
			machine, x := random.IntN(2), float64(random.IntN(100))
			var before, after [1]RuleStats
			p.Stats(before[:])
			p.Eval(pointOf(t, fmt.Sprintf("m,machine=m%d x=%g %d", machine, x, now-late)), now)
			take()
			if p.Stats(after[:]); after[0].Late > before[0].Late {
				continue
			}
			end := floorTo(now-late, 1e9) + 1e9
			counts[window{machine, end}]++
			for i := range int64(3) {
				sums[window{machine, end + i*1e9}] += x
			}
		}
		p.Tick(now + 60e9)
		take()
		for w, sum := range sums {
			if g := got[w]; math.Abs(g[0]-sum) > 1e-6 || g[1] != counts[w] {
				t.Errorf("window of m%d that ends at %d is %v, want %g of %g", w.machine, w.end, g, sum,
					counts[w])
			}
		}
		if len(got) != len(sums) {
			t.Errorf("%d windows were made, want %d", len(got), len(sums))
		}
	}
}

// TestLateness: watermarks stand at the quantiles of how late points come, at most a quarter beyond.
func TestLateness(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 12))
	l := lateness{minimum: 100e6}
	var all []int64
	for range 50_000 {
		late := int64(math.Exp(random.NormFloat64()) * 50e6)
		all = append(all, late)
		l.note(1e18-late, 5e17, 5e17)
	}
	slices.Sort(all)
	for _, q := range []struct {
		name  string
		share float64
		got   int64
	}{{"early", 0.5, l.early}, {"on time", 0.9, l.onTime}, {"final", 0.999, l.final}} {
		want := all[int(q.share*float64(len(all)))]
		if q.got < want*98/100 || q.got > want*128/100 {
			t.Errorf("%s is %d ns late, want %d or up to a quarter more", q.name, q.got, want)
		}
	}
	for late := int64(0); late < 1<<58; late = late*5/4 + 12345 {
		b := latenessBucket(late)
		if late > latenessBound(b) || b > 0 && late <= latenessBound(b-1) && late > 1<<latenessUnit {
			t.Errorf("lateness %d lies in bucket %d, up to %d", late, b, latenessBound(b))
		}
	}
	// A thousand times more points that are never late: what was before fades.
	for range 1_000_000 {
		l.note(1e18, 5e17, 5e17)
	}
	if l.final > 0 {
		t.Errorf("after a million points in time the final watermark is %d ns behind", l.final)
	}
}

func TestFilters(t *testing.T) {
	filter := func(kind Kind, on, expr string) Rule {
		r := Rule{Kind: kind, On: textsFrom(strings.Split(on, "|")...)}
		if expr != "" {
			r.Expr = textOf(expr)
		}
		return r
	}
	p := playerOf(t, filter(KindKeep, "m", "f > 95"), filter(KindDrop, "debug_*|m", ""),
		filter(KindDrop, "n", `tags.machine == "a"`), ruleOf("A", "*", "f > 0", "machine"))
	f := func(line string, keep bool, want string) {
		t.Helper()
		if got := p.Eval(pointOf(t, line+" 1"), 1); got != keep {
			t.Errorf("%s is kept: %t, want %t", line, got, keep)
		}
		if got := told(p.Evaluator); got != want {
			t.Errorf("%s: told %q, want %q", line, got, want)
		}
	}
	f("m,machine=x f=96", true, "A firing machine=x measurement=m")
	f("m,machine=y f=95", false, "")
	f("debug_7,machine=z f=96", false, "")
	f("n,machine=a f=96", false, "")
	f("n,machine=b f=96", true, "A firing machine=b measurement=n")
	f("other,machine=a f=96", true, "A firing machine=a measurement=other")
	var stats [4]RuleStats
	if p.Stats(stats[:]); stats[0].Filtered != 0 || stats[1].Filtered != 2 || stats[2].Filtered != 1 {
		t.Errorf("stats are %+v", stats)
	}
}

// TestAffinity: with affinity sender every worker keeps the states of its own points and hands nothing over.
func TestAffinity(t *testing.T) {
	absent := ruleOf("B", "m", "", "machine")
	absent.Absent = textOf("1s")
	group := Group{Name: textOf("g"), Affinity: textOf("sender"), Rules: []Rule{ruleOf("A", "m", "f > 0",
		"machine"), absent}}
	set, errs := Compile([]Group{group})
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	e := NewEvaluator(set, Config{Worker: 2, Workers: 3, Owners: 2, KeysMax: 10})
	for i := range 20 {
		e.Eval(pointOf(t, fmt.Sprintf("m,machine=m%d f=1 1", i)), 1)
	}
	if n := len(e.Transitions()); n != 20+15 || len(e.Outbox(0))+len(e.Outbox(1)) > 0 {
		t.Errorf("%d transitions, %d and %d hand-overs", n, len(e.Outbox(0)), len(e.Outbox(1)))
	}
}

// TestDeriveAllocatesNothing, filling points included.
func TestDeriveAllocatesNothing(t *testing.T) {
	e := alone(compileOf(t, recordOf("r", "m", "10ms", nil, "q=quantile(0.9, f[100ms])", "n=count(f[10ms])")))
	p, at := pointOf(t, samplePoint), int64(1e9)
	var made point.Point
	n := 0
	turn := func() {
		for range 20 {
			at += 3e6
			p.Time = at
			e.Eval(p, at)
			e.Tick(at)
		}
		for i := range e.Derived() {
			e.Fill(&e.Derived()[i], &made)
			n++
		}
		e.DerivedTaken(len(e.Derived()))
	}
	turn()
	turn()
	if allocs := testing.AllocsPerRun(50, turn); allocs != 0 && !raceDetector || n < 300 {
		t.Errorf("%d derived points, %g allocations a turn", n, allocs)
	}
}

// TestFiltersAlone: a Set of nothing but filters has rules without keys.
func TestFiltersAlone(t *testing.T) {
	set := compileOf(t, Rule{Kind: KindDrop, On: textsFrom("debug_*")})
	if r := set.Rules(); len(r) != 1 || r[0].Kind != KindDrop || r[0].By != nil {
		t.Errorf("rules are %+v", r)
	}
	var out strings.Builder
	if set.Explain(&out); !strings.Contains(out.String(), "drop of group \"g\", on debug_*\n") {
		t.Errorf("explained as\n%s", out.String())
	}
	e := alone(set)
	if e.Eval(pointOf(t, "debug_x f=1 1"), 1) || !e.Eval(pointOf(t, "x f=1 1"), 1) {
		t.Error("the filter does not decide")
	}
}
