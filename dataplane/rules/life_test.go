package rules

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

// player plays points and time to an evaluator. Its clock is virtual: points arrive at their event time.
type player struct {
	*Evaluator
	t   testing.TB
	now int64
}

func playerOf(t testing.TB, rules ...Rule) *player {
	return &player{Evaluator: alone(compileOf(t, rules...)), t: t}
}

// at lets time pass to a moment, in milliseconds.
func (p *player) at(ms int64) {
	p.now = ms * 1e6
	p.Tick(p.now)
}

// point lets a point arrive, with its event time as its arrival.
func (p *player) point(ms int64, line string) {
	p.now = ms * 1e6
	p.Eval(pointOf(p.t, line+" "+strconv.FormatInt(p.now, 10)), p.now)
}

// told takes all transitions and writes them as "state@milliseconds reason".
func (p *player) told() string {
	var out []string
	for i := range p.Transitions() {
		a := p.set.Render(&p.Transitions()[i])
		text := fmt.Sprintf("%s@%d", a.State, a.Time/1e6)
		if a.Reason != "" {
			text += " " + a.Reason
		}
		out = append(out, text)
	}
	p.Taken(len(p.Transitions()))
	return strings.Join(out, "; ")
}

// TestAlertLife plays scripts to one rule: "500=96" is a point with f=96 at 500 ms, "500" alone lets time
// pass until then. What is told on the whole way is compared.
func TestAlertLife(t *testing.T) {
	f := func(rule Rule, script, want string) {
		t.Helper()
		p := playerOf(t, rule)
		for _, step := range strings.Fields(script) {
			at, value, isPoint := strings.Cut(step, "=")
			ms, err := strconv.ParseInt(at, 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			if isPoint {
				p.point(ms, "m,machine=a f="+value)
			} else {
				p.at(ms)
			}
		}
		if got := p.told(); got != want {
			t.Errorf("%s: told %q, want %q", script, got, want)
		}
		var stats [1]RuleStats
		p.Stats(stats[:])
		if strings.HasSuffix(want, "ok@") && stats[0].Firing != 0 || stats[0].Pending < 0 {
			t.Errorf("%s: stats %+v", script, stats[0])
		}
	}
	rule := ruleOf("High", "m", "f > 95", "machine")
	f(rule, "0=96 1=97 2=1", "firing@0; ok@2")
	f(rule, "0=96 299999 300000", "firing@0; ok@300000 stale")
	f(rule, "0=96 299999=96 300000 599999", "firing@0; ok@599999 stale")

	held := rule
	held.For = textOf("500ms")
	f(held, "1000=96 1499", "")
	f(held, "1000=96 1499 1500", "firing@1500")
	f(held, "1000=96 1600=97", "firing@1500") // the timer was due before the point came
	f(held, "1000=96 1600=1", "firing@1500; ok@1600")
	f(held, "1000=96 1400=1 1500 1600=96 2099", "")
	f(held, "1000=96 1400=1 1500 1600=96 2100", "firing@2100")

	kept := rule
	kept.KeepFor = textOf("2s")
	f(kept, "0=96 100=1 2099", "firing@0")
	f(kept, "0=96 100=1 2100", "firing@0; ok@2100")
	f(kept, "0=96 100=1 1000=96 2100 2500", "firing@0")
	f(kept, "0=96 100=1 1000=96 2200=1 4200", "firing@0; ok@4200")
	f(kept, "0=96 300000 301999", "firing@0")
	f(kept, "0=96 300000 302000", "firing@0; ok@302000 stale")

	cleared := rule
	cleared.Clear = textOf("f < 90")
	f(cleared, "0=96 1=94 2=91 3=96 4=90", "firing@0")
	f(cleared, "0=96 1=94 2=89 3=94", "firing@0; ok@2")
	f(cleared, "0=94 1=91", "")
	f(cleared, "0=96 100000=94 399999", "firing@0")
	f(cleared, "0=96 100000=94 400000", "firing@0; ok@400000 stale")
	cleared.For = textOf("500ms")
	f(cleared, "0=96 100=94 600", "") // only a firing alert is kept by what is neither
	f(cleared, "0=96 500 600=94 700=89", "firing@500; ok@700")

	stale := held
	stale.Stale = textOf("200ms")
	f(stale, "0=96 1000", "")
	f(stale, "0=96 150=96 300=96 450=96 600", "firing@500")
	f(stale, "0=96 150=96 300=96 450=96 600 650", "firing@500; ok@650 stale")
}

// TestEventTimeFulfilsFor: points that come in a burst after a pause of the way, as a gateway upstream sends
// them, hold as long as their own times say.
func TestEventTimeFulfilsFor(t *testing.T) {
	rule := ruleOf("High", "m", "f > 95", "machine")
	rule.For, rule.KeepFor = textOf("500ms"), textOf("1s")
	p := playerOf(t, rule)
	for i, ms := range []int64{1000, 1200, 1400, 1600} {
		p.Eval(pointOf(t, fmt.Sprintf("m,machine=a f=96 %d", ms*1e6)), int64(9e9)+int64(i))
	}
	for i, ms := range []int64{1700, 2000, 2800} {
		p.Eval(pointOf(t, fmt.Sprintf("m,machine=a f=1 %d", ms*1e6)), int64(9e9)+int64(i+10))
	}
	if got := p.told(); got != "firing@1600; ok@2800" {
		t.Errorf("told %q", got)
	}
}

// TestTimersWakeTheWorker: NextTimer leads to each deadline.
func TestTimersWakeTheWorker(t *testing.T) {
	rule := ruleOf("High", "m", "f > 95", "machine")
	rule.For, rule.Stale = textOf("500ms"), textOf("10s")
	p := playerOf(t, rule)
	if p.NextTimer() != forever {
		t.Errorf("without a key the next timer is at %d", p.NextTimer())
	}
	p.point(1000, "m,machine=a f=96")
	wakings := 0
	for p.NextTimer() != forever && wakings < 100 {
		wakings++
		p.Tick(p.NextTimer())
	}
	if got := p.told(); got != "firing@1500; ok@11000 stale" || wakings > 2*wheelLevels {
		t.Errorf("told %q after %d wakings", got, wakings)
	}
}

// TestLifeOverManyWorkers: with hysteresis, `for` and keep_firing_for the state over several workers comes to
// what one worker would say of all verdicts in the order of arrival.
func TestLifeOverManyWorkers(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 7))
	for range 15 {
		latch := ruleOf("Latch", "m", "f > 95", "machine")
		latch.Clear = textOf("f < 90")
		kept := ruleOf("Kept", "m", "f > 95", "machine")
		kept.For, kept.KeepFor = textOf("1us"), textOf("1us")
		workers := 2 + random.IntN(4)
		w := newWorkshop(random, compileOf(t, latch, kept), workers, 1+random.IntN(workers),
			1+random.IntN(20), 1000)
		want := map[string]string{}
		for range 500 + random.IntN(1000) {
			machine, f := random.IntN(8), 85+random.IntN(15)
			w.point(random.IntN(workers), fmt.Sprintf("m,machine=m%d f=%d", machine, f))
			key := fmt.Sprintf("m%d", machine)
			if f > 95 {
				want["Latch "+key], want["Kept "+key] = StateFiring, StateFiring
			} else {
				want["Kept "+key] = StateOK
				if f < 90 {
					want["Latch "+key] = StateOK
				}
			}
			for range random.IntN(12) {
				w.step(t)
			}
		}
		w.settle(t)
		w.now += int64(time.Second) // beyond all of `for` and keep_firing_for, not stale
		w.settle(t)
		for key, state := range want {
			if told := w.told[key]; (told == StateFiring) != (state == StateFiring) {
				t.Errorf("%s was told to be %q, is %s", key, told, state)
			}
		}
		w.now += 2 * staleDefault
		w.settle(t)
		for key, told := range w.told {
			if told == StateFiring {
				t.Errorf("%s is still firing although no point comes", key)
			}
		}
	}
}

func TestWrongTimes(t *testing.T) {
	f := func(change func(*Rule), want string) {
		t.Helper()
		rule := ruleOf("A", "m", "a > 1")
		change(&rule)
		_, errs := Compile([]Group{{Name: textOf("g"), Rules: []Rule{rule}}})
		if len(errs) != 1 || errs[0].Message != want {
			t.Errorf("errors are %v, want %q", errs, want)
		}
	}
	f(func(r *Rule) { r.For = textOf("5 minutes") }, `for: "5 minutes" is no duration`)
	f(func(r *Rule) { r.KeepFor = textOf("-1s") }, "keep_firing_for: -1s is not longer than nothing")
	f(func(r *Rule) { r.Stale = textOf("0s") }, "stale: 0s is not longer than nothing")
	f(func(r *Rule) { r.For = textOf("2500000h") }, "for: 2500000h is longer than 366 days")
	f(func(r *Rule) { r.Clear = textOf("a + 1") }, "clear is a number, an alert needs a condition")
	f(func(r *Rule) { r.Clear = textOf("b >") }, "expression ends where a value is expected")
}
