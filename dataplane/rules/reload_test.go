package rules

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// exchangeAll lets evaluators hand over until none has anything for another any more.
func exchangeAll(evaluators []*Evaluator, now int64) {
	for busy := true; busy; {
		busy = false
		for from, e := range evaluators {
			e.Tick(now)
			for to := range evaluators {
				if from == to {
					continue
				}
				for i := range e.Outbox(to) {
					evaluators[to].Receive(&e.Outbox(to)[i])
					busy = true
				}
				e.Sent(to, len(e.Outbox(to)))
			}
			busy = busy || e.records.queueLength > 0
		}
	}
}

// TestReloadAmongWorkers: rules that stay as they are say the same whether the rules around them are replaced
// again and again or not, although their places in the Set and its kinds of keys change, several workers see
// the points of a key, and one of them owns it.
func TestReloadAmongWorkers(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 17))
	said := 0
	for range 10 {
		lasting := lastingRules()
		others := [][]Rule{
			nil,
			{ruleOf("Other", "m", "max(x[3s]) > 97 || q > 1", "line"), ruleOf("Another", "m", "x > 98", "q")},
			{ruleOf("Other", "m", "max(x[4s]) > 97", "line"), ruleOf("Third", "m", "x > 10"),
				// Other words for the keys of the lasting rules.
				ruleOf("Never", "m", "max(x[7s]) > 200", "machine")},
		}
		var sets []*Set
		for _, o := range others {
			sets = append(sets, compileOf(t, append(append([]Rule{}, o...), lasting...)...))
		}
		const workers = 3
		set := sets[0]
		make := func() (all []*Evaluator) {
			for i := range workers {
				all = append(all, NewEvaluator(set, Config{Worker: i, Workers: workers, Owners: 2,
					Seed: [2]uint64{3, 4}}))
			}
			return all
		}
		going, steady := make(), make()
		now, wall := int64(1e15), int64(1e18)
		for i := range workers {
			going[i].SetWall(wall)
			steady[i].SetWall(wall)
		}
		for i := range 600 {
			now += random.Int64N(4e8)
			if i%50 == 49 {
				set = sets[random.IntN(len(sets))]
				next := make()
				for i, e := range going {
					if i > 0 {
						next[i] = NewSuccessor(set, e.set, e.config)
					}
					for !e.Retire(next[i]) {
						e.Taken(len(e.Transitions()))
					}
					e.Taken(len(e.Transitions()))
					if _, err := next[i].Succeed(e, now); err != nil {
						t.Fatal(err)
					}
				}
				going = next
			}
			line := fmt.Sprintf(`m,machine=m%d,line=l%d x=%d,s="%d" %d`, random.IntN(4), random.IntN(2),
				random.IntN(100), random.IntN(3), now+wall-random.Int64N(2)*random.Int64N(3e9))
			at := random.IntN(workers)
			for _, evaluators := range [][]*Evaluator{steady, going} {
				exchangeAll(evaluators, now)
				evaluators[at].Eval(pointOf(t, line), now)
				exchangeAll(evaluators, now)
			}
			want := story(steady, map[string]string{})
			got := ""
			for _, said := range strings.Split(story(going, map[string]string{}), "\n") {
				if name, _, _ := strings.Cut(said, " "); !strings.Contains("Other Another Third", name) {
					got += "\n" + said
				}
			}
			if got = strings.TrimPrefix(got, "\n"); got != want {
				t.Fatalf("point %d, after %s\n%s\nwithout reload:\n%s", i, line, got, want)
			}
			said += len(want)
		}
	}
	if said < 20_000 {
		t.Errorf("only %d bytes were said", said)
	}
}

// TestReloadKeepsCounts: what rules counted goes on, and the alerts of rules that go are ended by Retire.
func TestReloadKeepsCounts(t *testing.T) {
	kept, gone := ruleOf("Kept", "m", "sum(x[1s]) > 50", "machine"), ruleOf("Gone", "m", "x > 50", "machine")
	old := alone(compileOf(t, gone, kept))
	old.SetMaxAhead(1e9)
	for _, p := range []struct{ at, time int64 }{{20e9, 20e9}, {21e9, 2e9}, {22e9, 90e9}, {23e9, 23e9}} {
		old.Eval(pointOf(t, fmt.Sprintf("m,machine=a x=60 %d", p.time)), p.at)
	}
	set := compileOf(t, kept)
	next := alone(set)
	if !old.Retire(next) {
		t.Fatal("one alert finds no room")
	}
	if r, err := next.Succeed(old, 24e9); err != nil || r.Keys != 1 || r.Alerts != 1 {
		t.Fatalf("kept %+v, %v", r, err)
	}
	var stats [1]RuleStats
	next.Stats(stats[:])
	if s := stats[0]; s.Firing != 1 || s.Transitions != 1 || s.Late != 1 || s.Ahead != 1 || s.Keys != 1 {
		t.Errorf("counted %+v", s)
	}
	var groups [1]GroupStats
	next.GroupStats(groups[:])
	if g := groups[0]; g.Late != 1 || g.Ahead != 1 || g.Keys != 1 {
		t.Errorf("the group counted %+v", g)
	}
}

// TestReloadReleases: reloads that take rules away, and put them elsewhere, leave no record, timer, list or
// text of what is gone, and find each alert that stays by its key.
func TestReloadReleases(t *testing.T) {
	kept, twin := ruleOf("Kept", "m", "x > 50", "machine"), ruleOf("Kept", "m", "x > 50", "machine")
	gone, first := ruleOf("Gone", "m", "x > 40", "machine"), ruleOf("First", "m", "x > 1000", "line")
	sets := []*Set{
		compileOf(t, kept, twin, gone), compileOf(t, first, kept), compileOf(t, gone, first, twin, kept),
		compileOf(t, kept, gone),
	}
	e := alone(sets[0])
	const keys = 300
	now := int64(1e9)
	for round := range 40 {
		for i := range keys {
			now += 1000
			e.Eval(pointOf(t, fmt.Sprintf("m,machine=m%d x=60 %d", i, now)), now)
			e.Taken(len(e.Transitions()))
		}
		set := sets[(round+1)%len(sets)]
		next := NewSuccessor(set, e.set, e.config)
		for !e.Retire(next) {
			e.Taken(len(e.Transitions()))
		}
		e.Taken(len(e.Transitions()))
		restored, err := next.Succeed(e, now)
		if err != nil {
			t.Fatal(err)
		}
		firing, listed := 0, 0
		for r := range set.rules {
			firing += next.stats[r].Firing
			listed += next.records.active(uint32(r))
			for at := next.records.list(uint32(r), true).first; at != none; at = next.records.at(at).next {
				rec := next.records.at(at)
				if int(rec.rule) != r || next.records.find(uint32(r), rec.hash, rec.check) != at {
					t.Fatalf("round %d: record %d of rule %d is not found", round, at, r)
				}
			}
		}
		if firing == 0 || firing%keys != 0 || firing != restored.Alerts || listed != firing ||
			next.records.used != firing || next.timers.length != firing || next.texts.held() != firing {
			t.Fatalf("round %d: %d fire, %d listed, %d records, %d timers, %d texts, %+v", round, firing,
				listed, next.records.used, next.timers.length, next.texts.held(), restored)
		}
		e = next
	}
}

// held is how many blocks are in use.
func (a *arena) held() (n int) {
	for i := range a.classes {
		n += int(a.classes[i].used - a.classes[i].freed)
	}
	return n
}
