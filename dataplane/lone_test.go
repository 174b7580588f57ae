package dataplane

import (
	"math"
	"testing"
)

// Goal: a batch is due when its first point is linger old while a connection is idle, but at once when
// nothing was sealed for longer than that; one in company may grow for five times linger, at most a
// millisecond and age; without an idle connection it is due at age. Method: the times by hand.
func TestWhenABatchIsDue(t *testing.T) {
	w := openWorker(t, nil)
	o := w.lanes[0]
	if o.timer() != math.MaxInt64 {
		t.Fatal("an empty batch is due")
	}
	f := func(idle bool, sealed, opened, want int64) {
		t.Helper()
		if got := due(idle, company-1, opened, sealed, 200, 5000); got != want {
			t.Errorf("sealed at %d, opened at %d, idle %t: due at %d, want %d", sealed, opened, idle, got,
				want)
		}
	}
	f(true, 1000, 1100, 1300)
	f(true, 1000, 1200, 1400)
	f(true, 1000, 1201, 1201)
	f(false, 1000, 1201, 6201)
	f(false, 1000, 1100, 6100)
	for _, c := range []struct{ linger, age, want int64 }{
		{0, 5_000_000, 0},
		{200_000, 5_000_000, 1_000_000},
		{100_000, 5_000_000, 500_000},
		{300_000, 5_000_000, 1_000_000},
		{200_000, 300_000, 300_000},
		{2_000_000, 5_000_000, 2_000_000},
	} {
		if got := due(true, company, 7, 7, c.linger, c.age); got != 7+c.want {
			t.Errorf("linger %d, age %d: due after %d, want %d", c.linger, c.age, got-7, c.want)
		}
	}
}
