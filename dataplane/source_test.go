package dataplane

import (
	"testing"
	"time"
)

// Goal: a worker without work shows life often enough for the strictest of its queues, or packets after a
// pause would be taken for those of a stalled worker.
func TestSleepIsBoundedByStallAfter(t *testing.T) {
	f := func(want time.Duration, after ...time.Duration) {
		t.Helper()
		w := &Worker{}
		for _, d := range after {
			w.queues = append(w.queues, &Queue{config: QueueConfig{StallAfter: d}})
		}
		if got := time.Duration(w.sleepMax()); got != want {
			t.Fatalf("a worker with queues of %v sleeps for %s, want %s", after, got, want)
		}
	}
	f(100 * time.Millisecond)
	f(100*time.Millisecond, 0)
	f(100*time.Millisecond, time.Second)
	f(25*time.Millisecond, time.Second, 100*time.Millisecond, 0)
	f(2500*time.Microsecond, 10*time.Millisecond)
}
