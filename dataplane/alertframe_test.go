package dataplane

import (
	"testing"
	"time"
)

// Goal: so many alerts of a rule leave at once and in each second, and no more. Method: one that is asked for
// far more over ten seconds of virtual time, in uneven steps.
func TestDepartureLimit(t *testing.T) {
	for _, limit := range []int{1, 3, 1000} {
		var b departureBucket
		now := int64(5 * time.Hour)
		burst := 0
		for b.take(now, limit) {
			burst++
		}
		if burst != limit {
			t.Errorf("%d leave at once, want %d", burst, limit)
		}
		passed := 0
		for step := range 10_000 {
			now += int64(time.Millisecond) / 2 * int64(1+step%3)
			for b.take(now, limit) {
				passed++
			}
		}
		seconds := float64(now-int64(5*time.Hour)) / 1e9
		if want := int(seconds * float64(limit)); passed < want-1 || passed > want+1 {
			t.Errorf("%d leave in %.3f s, want %d", passed, seconds, want)
		}
	}
	var b departureBucket
	for range 1000 {
		if !b.take(1, 0) {
			t.Fatal("no limit is one")
		}
	}
}
