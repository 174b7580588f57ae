package rules

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// workshop plays several workers with the rings between them: how late each ring is emptied, how late each
// point is evaluated and how much fits is up to chance.
type workshop struct {
	*rand.Rand
	evaluators []*Evaluator
	rings      [][][]Handover // [from][to]
	ringSize   int
	inboxes    [][]arrived
	told       map[string]string // the last state told of each rule and key
	messages   int
	now        int64
}

type arrived struct {
	line    string
	arrival int64
}

func newWorkshop(r *rand.Rand, set *Set, workers, owners, ringSize, keysMax int) *workshop {
	w := &workshop{
		Rand: r, rings: make([][][]Handover, workers), ringSize: ringSize,
		inboxes: make([][]arrived, workers), told: map[string]string{},
	}
	seed := [2]uint64{r.Uint64(), r.Uint64()}
	for i := range workers {
		w.evaluators = append(w.evaluators, NewEvaluator(set, Config{
			Worker: i, Workers: workers, Owners: owners, Seed: seed, KeysMax: keysMax,
		}))
		w.rings[i] = make([][]Handover, workers)
	}
	return w
}

// point lets a point arrive at a worker.
func (w *workshop) point(worker int, line string) {
	w.now++
	w.inboxes[worker] = append(w.inboxes[worker], arrived{line, w.now})
}

// evaluate takes one point that arrived at a worker: mostly the oldest, as with one queue, at times the one
// behind it, as with two.
func (w *workshop) evaluate(t testing.TB, worker int) bool {
	in := w.inboxes[worker]
	if len(in) == 0 {
		return false
	}
	at := 0
	if len(in) > 1 && w.IntN(8) == 0 {
		at = 1
	}
	p := in[at]
	w.inboxes[worker] = append(in[:at:at], in[at+1:]...)
	w.evaluators[worker].Eval(pointOf(t, p.line), p.arrival)
	return true
}

// push moves some of an outbox into its ring.
func (w *workshop) push(from, to int) bool {
	e := w.evaluators[from]
	out := e.Outbox(to)
	n := min(len(out), w.ringSize-len(w.rings[from][to]))
	w.rings[from][to] = append(w.rings[from][to], out[:n]...)
	w.messages += n
	e.Sent(to, n)
	return n > 0
}

// pop lets a worker receive some of a ring.
func (w *workshop) pop(from, to int) bool {
	ring := w.rings[from][to]
	n := min(len(ring), 1+w.IntN(4))
	for i := range n {
		w.evaluators[to].Receive(&ring[i])
	}
	w.rings[from][to] = ring[n:]
	return n > 0
}

// turn ticks and takes transitions.
func (w *workshop) turn(t testing.TB, worker int) bool {
	e := w.evaluators[worker]
	e.Tick(w.now)
	some := e.Transitions()
	if len(some) > 1 && w.IntN(2) == 0 {
		some = some[:len(some)/2]
	}
	for i := range some {
		a := e.set.Render(&some[i])
		key := a.Rule + " " + a.Labels["machine"] + a.Labels["line"]
		if a.State == w.told[key] || a.State == StateOK && w.told[key] == "" {
			t.Errorf("%s is told to be %s, which it was", key, a.State)
		}
		w.told[key] = a.State
	}
	e.Taken(len(some))
	return len(some) > 0 || e.records.queueLength > 0
}

// step does one thing at random.
func (w *workshop) step(t testing.TB) {
	n := len(w.evaluators)
	from, to := w.IntN(n), w.IntN(n)
	switch w.IntN(5) {
	case 0, 1:
		w.evaluate(t, from)
	case 2:
		if from != to {
			w.push(from, to)
		}
	case 3:
		if from != to {
			w.pop(from, to)
		}
	default:
		w.turn(t, from)
	}
}

// settle goes on until nothing is on its way.
func (w *workshop) settle(t testing.TB) {
	t.Helper()
	for range 1_000_000 {
		busy := false
		for from := range w.evaluators {
			busy = w.evaluate(t, from) || busy
			busy = w.turn(t, from) || busy
			for to := range w.evaluators {
				if from != to {
					busy = w.push(from, to) || busy
					busy = w.pop(from, to) || busy
				}
			}
		}
		if !busy {
			return
		}
	}
	t.Fatal("the workers never come to rest")
}

// TestOneKeyOverManyWorkers: whatever is late and whatever is full, in the end every state is the result of
// the key's point with the greatest arrival, and nobody keeps anything of keys that are not firing.
func TestOneKeyOverManyWorkers(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 3))
	for range 60 {
		rules := []Rule{
			ruleOf("High", "m", "f > 95", "machine"),
			ruleOf("Low", "m", "f < 5", "line"),
			ruleOf("Chosen", "m", `f > 50 && tags.machine == "m1"`, "line"),
		}
		workers := 2 + random.IntN(4)
		owners := 1 + random.IntN(workers)
		w := newWorkshop(random, compileOf(t, rules...), workers, owners, 1+random.IntN(20), 1000)
		points, machines := 500+random.IntN(1500), 1+random.IntN(12)
		want := map[string]string{}
		for range points {
			machine, line, f := random.IntN(machines), random.IntN(3), random.IntN(101)
			if random.IntN(2) == 0 {
				f = 94 + random.IntN(4)
			}
			w.point(random.IntN(workers), fmt.Sprintf("m,machine=m%d,line=%d f=%d", machine, line, f))
			note := func(key string, firing bool) {
				if firing {
					want[key] = StateFiring
				} else if want[key] == StateFiring {
					want[key] = StateOK
				}
			}
			note(fmt.Sprintf("High m%d", machine), f > 95)
			note(fmt.Sprintf("Low %d", line), f < 5)
			note(fmt.Sprintf("Chosen %d", line), f > 50 && machine == 1)
			for range random.IntN(12) {
				w.step(t)
			}
		}
		w.settle(t)
		w.compare(t, want)
		if most := points * len(rules) * (workers + 2); w.messages > most {
			t.Errorf("%d messages for %d points, more than %d", w.messages, points, most)
		}
	}
}

// compare checks what was told and what is kept. A key that was never told to be firing counts as ok.
func (w *workshop) compare(t *testing.T, want map[string]string) {
	t.Helper()
	firing := 0
	for key, state := range want {
		if state == StateFiring {
			firing++
		}
		if told := w.told[key]; (told == StateFiring) != (state == StateFiring) {
			t.Errorf("%s was told to be %q, is %s", key, told, state)
		}
	}
	for i, e := range w.evaluators {
		if e.records.used != firing {
			t.Errorf("worker %d keeps %d records, %d keys are firing", i, e.records.used, firing)
		}
	}
	counted := 0
	for _, e := range w.evaluators {
		stats := make([]RuleStats, len(e.set.rules))
		e.Stats(stats)
		for _, s := range stats {
			counted += s.Firing
		}
	}
	if counted != firing {
		t.Errorf("%d keys are counted as firing, %d are", counted, firing)
	}
}

// TestFewRoomForKeys: with more keys firing than there is room for, nothing is told twice, nothing goes round
// in circles, memory is bounded, and when all keys come to rest all alerts have ended.
func TestFewRoomForKeys(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 4))
	const workers, keysMax = 3, 8
	w := newWorkshop(random, compileOf(t, ruleOf("High", "m", "f > 95", "machine")), workers, 2, 4, keysMax)
	for range 5000 {
		w.point(random.IntN(workers), fmt.Sprintf("m,machine=m%d f=%d", random.IntN(100), 95+random.IntN(2)))
		for range random.IntN(12) {
			w.step(t)
		}
	}
	w.settle(t)
	evicted := uint64(0)
	for i, e := range w.evaluators {
		if limit := keysMax + 2*keysMax; e.records.used > limit {
			t.Errorf("worker %d keeps %d records, more than %d", i, e.records.used, limit)
		}
		evicted += e.stats[0].Evicted
	}
	if evicted == 0 {
		t.Error("no key was evicted")
	}
	for machine := range 100 {
		w.point(random.IntN(workers), fmt.Sprintf("m,machine=m%d f=1", machine))
		w.settle(t)
	}
	// Whoever forgot that a key is firing, and so kept its end to itself, is reminded in time.
	for range 100 {
		w.now += remindEvery / 50
		w.settle(t)
	}
	for key, state := range w.told {
		if state != StateOK {
			t.Errorf("%s is still %s", key, state)
		}
	}
}

// TestLateStateMeetsNewerResult walks through the one case that is easily got wrong: the owner learns that a
// key is firing after another worker saw a later point that says no, and did not know it mattered.
func TestLateStateMeetsNewerResult(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	w := newWorkshop(random, compileOf(t, ruleOf("High", "m", "f > 95", "machine")), 3, 1, 100, 100)
	w.evaluators[1].Eval(pointOf(t, "m,machine=a f=96"), 10)
	w.evaluators[2].Eval(pointOf(t, "m,machine=a f=1"), 20)
	if n := len(w.evaluators[2].Outbox(0)); n != 0 {
		t.Fatalf("a result that changes nothing costs %d messages", n)
	}
	w.settle(t)
	if got := w.told["High a"]; got != StateOK {
		t.Errorf("the alert is %q, want ok", got)
	}
	// The same with the owner's own point as the later one: no alert at all.
	w.evaluators[1].Eval(pointOf(t, "m,machine=b f=96"), 30)
	w.evaluators[0].Eval(pointOf(t, "m,machine=b f=1"), 40)
	w.settle(t)
	if got := w.told["High b"]; got != "" {
		t.Errorf("the alert is %q, want never told", got)
	}
}

// TestAlone: an owner that is alone remembers nothing of keys that do not fire, and a result that comes
// across once it is alone no more is believed or not as if it had.
func TestAlone(t *testing.T) {
	set := compileOf(t, ruleOf("High", "m", "f > 95", "machine"))
	w := newWorkshop(rand.New(rand.NewPCG(1, 1)), set, 2, 1, 100, 100)
	owner, slow := w.evaluators[0], w.evaluators[1]
	owner.SetAlone(true)
	owner.Eval(pointOf(t, "m,machine=a f=1"), 10)
	if *owner.recents.sets != *newRecents().sets {
		t.Error("it remembers a key that did not fire")
	}
	owner.Eval(pointOf(t, "m,machine=b f=96"), 11)
	owner.Eval(pointOf(t, "m,machine=b f=1"), 12)
	w.settle(t)
	if got := w.told["High b"]; got != StateOK && got != "" {
		t.Errorf("alone, the alert is %q, want none or ended", got)
	}
	owner.SetAlone(false)
	slow.Eval(pointOf(t, "m,machine=a f=96"), 20)
	w.settle(t)
	if got := w.told["High a"]; got != StateFiring {
		t.Errorf("the alert is %q, want firing", got)
	}
	owner.Eval(pointOf(t, "m,machine=c f=1"), 40)
	slow.Eval(pointOf(t, "m,machine=c f=96"), 30)
	w.settle(t)
	if got := w.told["High c"]; got != "" {
		t.Errorf("the alert is %q, want never told", got)
	}
}

// TestFullTransitions: with nobody taking transitions, the last state of each key is told when there is room.
func TestFullTransitions(t *testing.T) {
	e := alone(compileOf(t, ruleOf("High", "m", "f > 95", "machine")))
	for i := range 2 * transitionsMax {
		e.Eval(pointOf(t, fmt.Sprintf("m,machine=m%d f=96", i)), int64(i))
	}
	e.Eval(pointOf(t, "m,machine=m511 f=1"), 1000)
	firing := map[string]bool{}
	for range 20 {
		for i := range e.Transitions() {
			a := e.set.Render(&e.Transitions()[i])
			firing[a.Labels["machine"]] = a.State == StateFiring
		}
		e.Taken(len(e.Transitions()))
		e.Tick(0)
	}
	if n := len(firing); n != 2*transitionsMax-1 || firing["m511"] {
		t.Errorf("%d keys were told, want %d, all but the one that ended unseen", n, 2*transitionsMax-1)
	}
}
