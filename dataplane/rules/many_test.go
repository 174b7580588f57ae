package rules

import (
	"runtime"
	"strconv"
	"testing"

	"culvert/dataplane/point"
)

// manyKeys is how many keys TestManyKeys makes; CULVERT_KEYS asks for another number, such as ten million,
// which take half a minute.
const manyKeys = 500_000

// Goal: however many keys there are, an evaluator keeps max_keys of each rule, forgets the others, counts
// them, and takes the memory of those it keeps. Method: every point has a key of its own, and gives cause for
// an alert, a window and a record, and for an alert when it falls silent; two workers, of which one owns all
// keys and sees no points, so that all are handed over.
func TestManyKeys(t *testing.T) {
	const keysMax = 10_000
	keys := keysAsked(t, manyKeys)
	absent := ruleOf("Absent", "m", "", "machine")
	absent.Absent = textOf("1h")
	set := compileOf(t, ruleOf("Hot", "m", "x > 0", "machine"), ruleOf("Window", "m",
		"quantile(0.9, x[10s]) > 0", "machine"), absent,
		recordOf("r", "m", "10s", []string{"machine"}, "n=count(x[10s])"))
	before := heap()
	owner := NewEvaluator(set, Config{Worker: 0, Workers: 2, Owners: 1, KeysMax: keysMax})
	other := NewEvaluator(set, Config{Worker: 1, Workers: 2, Owners: 1, KeysMax: keysMax})
	both := []*Evaluator{owner, other}
	p := pointOf(t, "m,machine=m x=1 1")
	var name []byte
	fired, most := 0, uint64(0)
	for i := range keys {
		at := int64(i+1) * 1000
		name = strconv.AppendInt(append(name[:0], 'm'), int64(i), 10)
		p.ScratchBytes, p.Time = name, at
		p.Tags[0].Value = point.MakeSpan(point.Scratch, 0, len(name))
		other.Eval(p, at)
		if i%32 == 31 || i == keys-1 {
			exchangeOnce(both, at)
			for _, e := range both {
				for j := range e.Transitions() {
					if tr := &e.Transitions()[j]; tr.Firing && e.set.rules[tr.Rule].name == "Hot" {
						fired++
					}
				}
				e.Taken(len(e.Transitions()))
				e.DerivedTaken(len(e.Derived()))
			}
		}
		if i&(1<<17-1) == 1<<17-1 {
			most = max(most, heap())
		}
	}
	most = max(most, heap())
	var stats [4]RuleStats
	owner.Stats(stats[:])
	if fired < keys*9/10 || stats[0].Firing > keysMax || stats[1].Keys > keysMax {
		t.Errorf("%d of %d keys fired, kept %+v", fired, keys, stats)
	}
	if gone := stats[1].Evicted; int(gone) < keys-keysMax-int(stats[1].Missed) || int(gone) > keys {
		t.Errorf("%d keys were let go, want %d", gone, keys-keysMax)
	}
	// What a key with a past takes is what RuleSummary says, once for all rules of the group; beside it there
	// are texts, alerts, timers, tables with room to grow, and what an evaluator takes without any key.
	bytes := uint64(0)
	for _, r := range set.Rules() {
		bytes = max(bytes, uint64(r.KeyBytes))
	}
	bound := keysMax*(bytes+2*1024) + 32<<20
	if most-min(before, most) > bound {
		t.Errorf("%d MiB are taken, want at most %d", (most-before)>>20, bound>>20)
	}
	t.Logf("%d keys, %d fired, %d MiB taken at most, bound %d MiB; %+v", keys, fired,
		(most-min(before, most))>>20, bound>>20, stats)
}

// exchangeOnce lets evaluators hand over what they have, and tick.
func exchangeOnce(evaluators []*Evaluator, now int64) {
	for from, e := range evaluators {
		for to := range evaluators {
			if from == to {
				continue
			}
			for i := range e.Outbox(to) {
				evaluators[to].Receive(&e.Outbox(to)[i])
			}
			e.Sent(to, len(e.Outbox(to)))
		}
		e.Tick(now)
	}
}

// heap is the memory in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
