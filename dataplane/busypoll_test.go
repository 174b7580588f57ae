package dataplane

import "testing"

// Goal: polling stays where it has taken the queue over, and ends where interrupts serve it, however long the
// worker polls or does not.
func TestPollTrial(t *testing.T) {
	f := func(inside, outside uint64, timeInside, timeOutside int64, want PollState, share uint64) {
		t.Helper()
		trial := pollTrying{
			inside: inside, outside: outside, timeInside: timeInside, timeOutside: timeOutside,
		}
		if state, got := trial.judge(); state != want || got != share {
			t.Fatalf("%d in %d ns of polling, %d in %d ns beside it: %d with %d %%, want %d with %d %%",
				inside, timeInside, outside, timeOutside, state, got, want, share)
		}
	}
	f(0, 0, 0, 0, PollTrying, 0)
	f(2000, 2000, 1e9, 1e9, PollTrying, 0)
	f(4096, 0, 1e9, 1e6, PollOn, 100)
	f(0, 4096, 1e9, 1e9, PollUseless, 0)
	// Interrupts at an even pace: a worker that only polls sees them all then.
	f(4055, 41, 99e6, 1e6, PollUseless, 98)
	f(2048, 2048, 1e6, 1e6, PollUseless, 50)
	f(3900, 196, 50e6, 50e6, PollOn, 95)
	// A flood for a day does not overflow.
	f(4096, 10, 86400e9, 86400e9, PollOn, 99)
}

// Goal: what a sleeping worker is woken by is no argument against polling.
func TestPollTrialLeavesSleepOut(t *testing.T) {
	q := &Queue{polling: polling{state: PollTrying, trial: pollTrying{end: 7, inside: 3}}}
	w := &Worker{queues: []*Queue{q}}
	w.forgetPolls()
	if q.polling.trial.end != 0 || q.polling.trial.inside != 3 {
		t.Fatalf("%+v", q.polling.trial)
	}
}
