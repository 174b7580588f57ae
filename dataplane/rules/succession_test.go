package rules

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// succeed lets an evaluator of other rules take over.
func succeed(t *testing.T, old *Evaluator, set *Set, now int64) (*Evaluator, Restored) {
	t.Helper()
	next := NewSuccessor(set, old.set, old.config)
	for !old.Retire(next) {
		old.Taken(len(old.Transitions()))
	}
	old.Taken(len(old.Transitions()))
	restored, err := next.Succeed(old, now)
	if err != nil {
		t.Fatal(err)
	}
	return next, restored
}

// TestReloadTakesThePastAway: keys with timers go with their rules, kinds of keys come, go and change places,
// and what stays is found by its timer: also from a Set without any.
func TestReloadTakesThePastAway(t *testing.T) {
	silent := ruleOf("Silent", "m", "", "machine")
	silent.Absent = textOf("5s")
	mute := ruleOf("Mute", "m", "", "line")
	mute.Absent = textOf("7s")
	plain := ruleOf("Plain", "m", "x > 1000", "machine")
	bare, one := compileOf(t, plain), compileOf(t, silent)
	both, turned := compileOf(t, silent, mute), compileOf(t, mute, plain, silent)
	e := alone(both)
	now := int64(1e12)
	point := func() {
		now += 1e6
		e.Eval(pointOf(t, fmt.Sprintf("m,machine=a,line=b x=1 %d", now)), now)
	}
	point()
	for i, set := range []*Set{bare, bare, one, both, turned, one, bare, turned, both, bare, one} {
		var r Restored
		before := pastsOf(e)
		e, r = succeed(t, e, set, now)
		if r.Keys+r.Changed != before || r.Keys != pastsOf(e) {
			t.Fatalf("reload %d: of %d keys %+v", i, before, r)
		}
		point()
		if set == bare {
			if n := e.keyTimers.wheel.length; n != 0 {
				t.Fatalf("reload %d: %d timers without a key", i, n)
			}
			continue
		}
		now += 6e9
		e.Tick(now)
		want := "Silent firing machine=a"
		if got := told(e); got != want {
			t.Fatalf("reload %d: told %q, want %q", i, got, want)
		}
		point()
		if got := told(e); got != strings.ReplaceAll(want, "firing", "ok") {
			t.Fatalf("reload %d: told %q at the next point", i, got)
		}
	}
}

// TestReloadForgetsPatterns: what measurements match is asked anew of the new rules.
func TestReloadForgetsPatterns(t *testing.T) {
	a := compileOf(t, ruleOf("One", "m*", "x > 0", "machine"))
	b := compileOf(t, ruleOf("Other", "n*", "x > 0", "machine"), ruleOf("One", "m*", "x > 0", "machine"))
	plain := compileOf(t, ruleOf("Plain", "p", "x > 0", "machine"))
	e := alone(a)
	at := int64(0)
	for _, set := range []*Set{b, a, plain, b, plain, a, b} {
		at++
		e, _ = succeed(t, e, set, at)
		e.Eval(pointOf(t, fmt.Sprintf("m1,machine=k%d x=1", at)), at)
		want := fmt.Sprintf("One firing machine=k%d measurement=m1", at)
		if set == plain {
			want = ""
		}
		if got := told(e); got != want {
			t.Fatalf("reload %d: told %q, want %q", at, got, want)
		}
	}
}

// TestSuccessorsTakeLittle: a reload makes no garbage of the size of what an evaluator takes from its first
// second on, or collections would follow it.
func TestSuccessorsTakeLittle(t *testing.T) {
	set := compileOf(t, ruleOf("A", "m*", "avg(x[10s]) > 1000", "machine"),
		ruleOf("B", "m", "x > 0", "machine"))
	config := Config{Workers: 3, Owners: 2}
	taken := func(f func()) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	var e *Evaluator
	whole := taken(func() { e = NewEvaluator(set, config) })
	for i := range int64(1000) {
		e.Eval(pointOf(t, fmt.Sprintf("m,machine=m%d x=5 %d", i, i+1)), i+1)
		e.Taken(len(e.Transitions()))
		for peer := 1; peer < 3; peer++ {
			e.Sent(peer, len(e.Outbox(peer)))
		}
	}
	bytes := taken(func() {
		next := NewSuccessor(set, set, config)
		if r, err := next.Succeed(e, 2000); err != nil || r.Keys == 0 || r.Alerts == 0 {
			t.Errorf("kept %+v, %v", r, err)
		}
	})
	if whole < 1<<20 || bytes > 64<<10 {
		t.Errorf("an evaluator takes %d bytes, its successor %d", whole, bytes)
	}
	t.Logf("an evaluator takes %d bytes, its successor %d", whole, bytes)
}
