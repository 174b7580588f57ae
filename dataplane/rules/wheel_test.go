package rules

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// TestWheelFiresWhatIsDue compares a wheel with a plain map over random settings, cancellations and steps of
// time of all sizes: each timer fires once, at the first step that reaches its deadline.
func TestWheelFiresWhatIsDue(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 5))
	for range 100 {
		var w wheel
		now := random.Int64N(1<<62) - random.Int64N(1<<62)
		if random.IntN(3) == 0 {
			now = 0
		}
		for w.expire(now) != none {
			t.Fatal("an empty wheel fires")
		}
		want := map[int32]int64{}
		for range 400 {
			span := int64(1) << random.IntN(45)
			id := int32(random.IntN(40))
			switch random.IntN(4) {
			case 0, 1:
				at := now + random.Int64N(span) - span/8
				w.set(id, at)
				want[id] = at
			case 2:
				w.cancel(id)
				delete(want, id)
			default:
				now += random.Int64N(span)
				checkExpired(t, &w, want, now)
			}
			if w.length != len(want) || w.isSet(id) != mapHas(want, id) {
				t.Fatalf("%d timers are set, want %d", w.length, len(want))
			}
			for _, at := range want {
				if next := w.next(); next > max(at, now) {
					t.Fatalf("next is %d, a timer is due at %d", next, at)
				}
			}
		}
	}
}

func mapHas(m map[int32]int64, id int32) bool {
	_, ok := m[id]
	return ok
}

// checkExpired lets a wheel fire up to a time and takes what fired out of what is expected.
func checkExpired(t *testing.T, w *wheel, want map[int32]int64, now int64) {
	t.Helper()
	for id := w.expire(now); id != none; id = w.expire(now) {
		at, ok := want[id]
		if !ok || at > now {
			t.Fatalf("timer %d fires at %d, set for %d (%t)", id, now, at, ok)
		}
		delete(want, id)
	}
	for id, at := range want {
		if at <= now {
			t.Fatalf("timer %d for %d has not fired at %d", id, at, now)
		}
	}
}

// TestWheelOrder: timers set in any order fire in the order of their deadlines.
func TestWheelOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(seedOf(t), 6))
	var w wheel
	var at []int64
	for i := range 5000 {
		at = append(at, 1+random.Int64N(1<<(1+random.IntN(40))))
		w.set(int32(i), at[i])
	}
	var fired []int64
	for id := w.expire(1 << 41); id != none; id = w.expire(1 << 41) {
		fired = append(fired, at[id])
	}
	if len(fired) != len(at) || !slices.IsSorted(fired) {
		t.Errorf("%d of %d timers fired, sorted is %t", len(fired), len(at), slices.IsSorted(fired))
	}
	if w.next() != forever || w.length != 0 {
		t.Errorf("an empty wheel has its next timer at %d", w.next())
	}
}

// TestWheelNextLeadsToTheTimer: waking up at every next finds the timer at its very deadline, after few
// wakings.
func TestWheelNextLeadsToTheTimer(t *testing.T) {
	for _, at := range []int64{1, 63, 64, 65, 4096, 999_999_999, 1 << 40, forever - 1} {
		var w wheel
		w.set(7, at)
		wakings, id := 0, none
		for id == none {
			wakings++
			if w.next() > at {
				t.Fatalf("next is %d, past the deadline %d", w.next(), at)
			}
			id = w.expire(w.next())
		}
		if got := int64(w.now ^ 1<<63); id != 7 || got != at || wakings > wheelLevels {
			t.Errorf("timer for %d fires at %d after %d wakings", at, got, wakings)
		}
	}
}

// TestWheelAllocatesNothing once every timer was set.
func TestWheelAllocatesNothing(t *testing.T) {
	var w wheel
	now := int64(0)
	turn := func() {
		for i := range int32(100) {
			w.set(i, now+int64(i)*1e6)
		}
		now += 50e6
		for w.expire(now) != none {
		}
	}
	turn()
	if n := testing.AllocsPerRun(100, turn); n != 0 {
		t.Errorf("a turn allocates %g times", n)
	}
}
