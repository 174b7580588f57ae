package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// lastingRules are rules of every kind with a state.
func lastingRules() []Rule {
	held := ruleOf("Held", "m", "x > 50", "machine")
	held.For, held.KeepFor, held.Clear = textOf("2s"), textOf("3s"), textOf("x < 30")
	held.Annotations = []Pair{{textOf("a"), textOf("{{ x }} {{ s }}")}}
	absent := ruleOf("Absent", "m", "", "machine")
	absent.Absent, absent.Annotations = textOf("4s"), []Pair{{textOf("a"), textOf("{{ x }}")}}
	stale := ruleOf("Stale", "m", "x > 90")
	stale.Stale = textOf("3s")
	return []Rule{
		held, absent, stale,
		ruleOf("Window", "m", "avg(x[5s]) > 50 && quantile(0.9, x[5s:1s]) > 60 || rate(x[5s]) > 100",
			"machine"),
		ruleOf("Points", "m", "changed(s) && delta(x) > 0 || followed_by(x > 80, x < 20, 3s)", "machine"),
		ruleOf("Ewma", "m", "ewma(x, 3s) > 55 && stddev(x[2s:2s]) > 1", "machine", "line"),
		recordOf("r", "m", "2s", []string{"machine"}, "n=count(x[4s])", "sum=sum(x[4s])"),
	}
}

// story takes all that evaluators have to say of alerts, in words, and notes the records that they made.
func story(evaluators []*Evaluator, made map[string]string) string {
	var out []string
	for _, e := range evaluators {
		for i := range e.Transitions() {
			a := e.set.Render(&e.Transitions()[i])
			out = append(out, fmt.Sprintf("%s %s %v %v %d %d %s %s", a.Rule, a.State, a.Labels,
				a.Annotations, a.Time,
				a.Since, a.Reason, a.Fingerprint))
		}
		for i := range e.Derived() {
			m := e.Describe(&e.Derived()[i])
			made[fmt.Sprint(m.Record, m.Tags, m.Time)] = fmt.Sprint(m.Fields)
		}
		e.Taken(len(e.Transitions()))
		e.DerivedTaken(len(e.Derived()))
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// TestReloadChangesNothing: an evaluator that goes on from a checkpoint, with another hash and another clock,
// says exactly what one says that was never stopped, and makes the same records in the end. (It may make
// one a little earlier, since it looks anew at how late points are.)
func TestReloadChangesNothing(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 13))
	said := 0
	for range 30 {
		records := [2]map[string]string{{}, {}}
		set := compileOf(t, lastingRules()...)
		steady := NewEvaluator(set, Config{Workers: 1, Seed: [2]uint64{1, 2}})
		going := NewEvaluator(set, Config{Workers: 1, Seed: [2]uint64{3, 4}})
		now, wall, shift := int64(1e15), int64(1e18), int64(0)
		steady.SetWall(wall)
		going.SetWall(wall)
		for i := range 600 {
			now += random.Int64N(4e8)
			if i%100 == 99 {
				blob := going.Checkpoint([]byte("x"), now-shift)[1:]
				shift = random.Int64N(1e14) // another boot has another clock
				going = NewEvaluator(set, Config{Workers: 1, Seed: [2]uint64{random.Uint64(), 4}})
				going.SetWall(wall + shift)
				if _, err := going.Restore(blob, now-shift, true); err != nil {
					t.Fatal(err)
				}
			}
			line := fmt.Sprintf(`m,machine=m%d,line=l%d x=%d,s="%d" %d`, random.IntN(4), random.IntN(2),
				random.IntN(100), random.IntN(3), now+wall-random.Int64N(2)*random.Int64N(3e9))
			steady.Tick(now)
			steady.Eval(pointOf(t, line), now)
			going.Tick(now - shift)
			going.Eval(pointOf(t, line), now-shift)
			want, got := story([]*Evaluator{steady}, records[0]), story([]*Evaluator{going}, records[1])
			if got != want {
				t.Fatalf("point %d, after %s\n%s\nwithout reload:\n%s", i, line, got, want)
			}
			said += len(want)
		}
		steady.Tick(now + 60e9)
		going.Tick(now + 60e9 - shift)
		story([]*Evaluator{steady}, records[0])
		story([]*Evaluator{going}, records[1])
		if !maps.Equal(records[0], records[1]) || len(records[0]) < 50 {
			t.Fatalf("%d records after reloads, %d without, or different ones", len(records[1]),
				len(records[0]))
		}
	}
	if said < 100_000 {
		t.Errorf("only %d bytes were said", said)
	}
}

// filled is an evaluator with keys and alerts of every kind.
func filled(t *testing.T, set *Set) *Evaluator {
	e := NewEvaluator(set, Config{Workers: 1})
	for i := range 400 {
		at := int64(i+1) * 1e8
		e.Eval(pointOf(t, fmt.Sprintf(`m,machine=m%d,line=l x=%d,s="%d" %d`, i%7, i*37%100, i%3, at)), at)
	}
	return e
}

// TestCheckpointIsSharedOut: with several workers each takes the keys that it owns, none is taken twice.
func TestCheckpointIsSharedOut(t *testing.T) {
	set := compileOf(t, lastingRules()...)
	blob := filled(t, set).Checkpoint(nil, 40e9)
	var alone, all Restored
	for workers := 1; workers <= 3; workers++ {
		all = Restored{}
		for i := range workers {
			e := NewEvaluator(set, Config{Worker: i, Workers: workers, Seed: [2]uint64{5, 6}})
			r, err := e.Restore(blob, 40e9, true)
			if err != nil {
				t.Fatal(err)
			}
			all.Alerts, all.Keys = all.Alerts+r.Alerts, all.Keys+r.Keys
		}
		if workers == 1 {
			alone = all
		}
		if all != alone || all.Alerts == 0 || all.Keys != 14 {
			t.Errorf("%d workers restore %+v, one %+v", workers, all, alone)
		}
	}
}

// TestCorruptCheckpoint: whatever is cut off or turned over, a checkpoint is refused, and with a right sum it
// does no harm.
func TestCorruptCheckpoint(t *testing.T) {
	set := compileOf(t, lastingRules()...)
	blob := filled(t, set).Checkpoint(nil, 40e9)
	try := func(data []byte) error {
		_, err := NewEvaluator(set, Config{Workers: 1}).Restore(data, 40e9, true)
		return err
	}
	if err := try(blob); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(seedOf(t), 14))
	for range 300 {
		bad := slices.Clone(blob)
		if at := random.IntN(len(bad)); random.IntN(2) == 0 {
			bad = bad[:at]
		} else {
			bad[at] ^= 1 << random.IntN(8)
		}
		if err := try(bad); !errors.Is(err, ErrCheckpointCorrupt) {
			t.Errorf("a corrupt checkpoint gives %v", err)
		}
		body := bad[:max(len(bad)-4, 0)]
		tryAndGoOn(t, set, binary.LittleEndian.AppendUint32(slices.Clone(body), crc32.Checksum(body,
			castagnoli)))
	}
	other := slices.Clone(blob)
	other[4] = 99
	binary.LittleEndian.PutUint32(other[len(other)-4:], crc32.Checksum(other[:len(other)-4], castagnoli))
	if err := try(other); !errors.Is(err, ErrCheckpointVersion) {
		t.Errorf("another version gives %v", err)
	}
}

// tryAndGoOn restores what may be nonsense, and lets points and time pass.
func tryAndGoOn(t *testing.T, set *Set, data []byte) {
	e := NewEvaluator(set, Config{Workers: 1})
	e.Restore(data, 40e9, true)
	for i := range 20 {
		at := int64(41e9) + int64(i)*1e9
		e.Tick(at)
		e.Eval(pointOf(t, fmt.Sprintf(`m,machine=m%d,line=l x=%d,s="%d" %d`, i%7, i*37%100, i%3, at)), at)
		story([]*Evaluator{e}, map[string]string{})
	}
}

// FuzzRestore restores arbitrary bytes with a right sum: no panic, now or later.
func FuzzRestore(f *testing.F) {
	rules := lastingRules()
	set, _ := Compile([]Group{{Name: textOf("g"), Rules: rules}})
	f.Add(NewEvaluator(set, Config{Workers: 1}).Checkpoint(nil, 1))
	f.Fuzz(func(t *testing.T, body []byte) {
		tryAndGoOn(t, set, binary.LittleEndian.AppendUint32(slices.Clone(body), crc32.Checksum(body,
			castagnoli)))
	})
}

// TestReturn: after a gap an alert whose condition ended meanwhile ends with its next point, one that goes on
// is not told again, and one whose key is gone goes stale, counted from the return.
func TestReturn(t *testing.T) {
	rule := ruleOf("High", "m", "x > 50", "machine")
	set := compileOf(t, rule)
	before := &player{Evaluator: alone(set), t: t}
	for _, machine := range []string{"ended", "lasts", "gone"} {
		before.point(1000, "m,machine="+machine+" x=60")
	}
	told(before.Evaluator)
	after := &player{Evaluator: alone(set), t: t}
	hour := int64(3600e3)
	if _, err := after.Restore(before.Checkpoint(nil, 2e9), hour*1e6, false); err != nil {
		t.Fatal(err)
	}
	after.at(hour + 1)
	if got := story([]*Evaluator{after.Evaluator}, nil); strings.Count(got, "High firing") != 3 ||
		strings.Count(got, "restored") != 3 {
		t.Errorf("at the return told\n%s", got)
	}
	after.point(hour+2, "m,machine=lasts x=60")
	after.point(hour+3, "m,machine=ended x=40")
	if got := told(after.Evaluator); got != "High ok machine=ended" {
		t.Errorf("after the return told %q", got)
	}
	after.at(hour + 300_000)
	if got := told(after.Evaluator); got != "High ok machine=gone" {
		t.Errorf("five minutes after the return told %q", got)
	}
}

// TestReloadOfChangedRules: unchanged rules keep their states, changed and removed ones end theirs, and a new
// window begins with nothing known.
func TestReloadOfChangedRules(t *testing.T) {
	kept, changed := ruleOf("Kept", "m", "avg(x[5s]) > 50", "machine"), ruleOf("Changed", "m", "x > 50",
		"machine")
	removed := ruleOf("Removed", "m", "x > 55", "machine")
	old := &player{Evaluator: alone(compileOf(t, kept, changed, removed)), t: t}
	for i := range int64(10) {
		old.point(1000*(i+1), "m,machine=a x=60")
	}
	told(old.Evaluator)
	changed.Expr = textOf("x > 51")
	added := ruleOf("Added", "m", "max(x[5s]) > 50", "machine")
	set := compileOf(t, changed, added, kept)
	c := set.Compare(old.set)
	if fmt.Sprint(c) != "{[g/alert/Added] [g/alert/Changed] [g/alert/Removed] [g/alert/Kept]}" {
		t.Errorf("changes are %v", c)
	}
	blob := old.Checkpoint(nil, old.now)
	fresh := &player{Evaluator: alone(set), t: t}
	if !old.Retire(fresh.Evaluator) {
		t.Error("two alerts find no room")
	}
	if got := story([]*Evaluator{old.Evaluator}, nil); strings.Count(got, " ok ") != 2 ||
		strings.Count(got, "reloaded") != 2 || strings.Contains(got, "Kept") {
		t.Errorf("the old rules end with\n%s", got)
	}
	if r, err := fresh.Restore(blob, old.now, true); err != nil || r != (Restored{Alerts: 1, Keys: 1,
		Changed: 2}) {
		t.Errorf("restored %+v, %v", r, err)
	}
	fresh.point(11_000, "m,machine=a x=60")
	if got := told(fresh.Evaluator); got != "Changed firing machine=a" {
		t.Errorf("the new rules begin with %q", got)
	}
	fresh.point(16_000, "m,machine=a x=60")
	if got := told(fresh.Evaluator); got != "Added firing machine=a" {
		t.Errorf("after a whole window told %q", got)
	}
}

// TestCheckpointInSteps: points may pass while a checkpoint is written, which takes no more at a time than it
// is told; each key is whole.
func TestCheckpointInSteps(t *testing.T) {
	set := compileOf(t, ruleOf("A", "m", "sum(x[1h]) + count(x[1h]) > 1e9", "machine"), ruleOf("B", "m",
		"x > 0", "machine"))
	e := NewEvaluator(set, Config{Workers: 1, KeysMax: 60})
	at := int64(1e9)
	point := func() {
		at += 1e6
		e.Eval(pointOf(t, fmt.Sprintf("m,machine=m%d x=2 %d", at/1e6*7919%100, at)), at)
		e.Taken(len(e.Transitions()))
	}
	for range 1000 {
		point()
	}
	var blob []byte
	e.CheckpointBegin(nil, at)
	steps := 0
	for done := false; !done; steps++ {
		before := len(e.saving.out)
		if blob, done = e.CheckpointStep(3); !done && len(e.saving.out)-before > 4000 {
			t.Fatalf("a step writes %d bytes", len(e.saving.out)-before)
		}
		point()
	}
	fresh := NewEvaluator(set, Config{Workers: 1, KeysMax: 60})
	r, err := fresh.Restore(blob, at, true)
	if err != nil || r.Keys < 50 || r.Alerts < 50 || steps < 40 {
		t.Fatalf("restored %+v after %d steps, %v", r, steps, err)
	}
	w := &set.cohorts[0].memos[0].window
	for i := range fresh.pasts[0].cut {
		words := fresh.pasts[0].memory(i)
		n, sum := w.average(words, pastCount), w.average(words, pastSum)
		if f, _ := sum.float(); f != 2*float64(n.bits) || n.bits == 0 {
			t.Errorf("a key holds a sum of %g from %d values", f, n.bits)
		}
	}
}
