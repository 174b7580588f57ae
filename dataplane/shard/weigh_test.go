package shard

import (
	"slices"
	"testing"
)

// Goal: a weight follows a load that stays, down sooner than up, and does not follow one that comes and goes.
func TestWeigher(t *testing.T) {
	w := NewWeigher(3)
	loads := make([]Load, 3)
	f := func(times int, want ...int) {
		t.Helper()
		for range times {
			w.Update(loads)
		}
		if !slices.Equal(w.Weights(), want) {
			t.Fatalf("weights %v, want %v", w.Weights(), want)
		}
	}
	f(20, 100, 100, 100)
	loads[1] = Load{Errors: 1, Backlog: 1, Write: 1}
	f(fallAfter-1, 100, 100, 100)
	f(1, 100, 1, 100)
	loads[1] = Load{}
	f(riseAfter-1, 100, 1, 100)
	f(1, 100, 100, 100)
	// What wavers changes nothing.
	for i := range 60 {
		loads[2] = Load{Errors: float64(i % 2)}
		f(1, 100, 100, 100)
	}
	loads[2] = Load{Write: 0.05}
	f(60, 100, 100, 100)
	loads[0] = Load{Backlog: 0.5}
	f(fallAfter, 37, 100, 100)
	loads[0] = Load{Backlog: 0.45}
	f(60, 37, 100, 100)
	loads[0] = Load{Backlog: 0}
	f(riseAfter, 100, 100, 100)
}

// Goal: a server that comes later begins with its whole weight, and the others keep theirs.
func TestWeigherGrows(t *testing.T) {
	w := NewWeigher(0)
	w.Grow(2)
	loads := []Load{{Errors: 1}, {}}
	for range fallAfter {
		w.Update(loads)
	}
	w.Grow(3)
	if w.Grow(2); !slices.Equal(w.Weights(), []int{5, 100, 100}) {
		t.Fatalf("weights %v", w.Weights())
	}
	if w.Update(append(loads, Load{})) {
		t.Fatalf("weights %v", w.Weights())
	}
}
