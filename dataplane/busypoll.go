package dataplane

import "sync/atomic"

// BusyPoll says how a queue's worker shall run the driver's receive path itself.
type BusyPoll struct {
	Budget, Usecs int // of one call, packets and microseconds; budget 0: it shall not
}

// PollState is how busy polling came out on one queue.
type PollState uint32

// The states. Trying goes over into one of the two behind it.
const (
	PollOff     PollState = iota
	PollTrying            // not enough packets came yet to tell
	PollOn                // packets come by it
	PollUseless           // they came by interrupts all the same, so that it was ended
)

const (
	// pollTrial is after how many frames a queue's busy polling is judged: many times what waits in a card
	// when polling begins.
	pollTrial = 4096
	// pollGain is how many times as fast frames must come while the worker polls as while it does not. Where
	// polling has taken the queue over, next to none come otherwise; where interrupts serve it, they come as
	// fast at all times, whatever the worker does.
	pollGain = 4
)

// polling is what a worker knows of a queue's busy polling.
type polling struct {
	state PollState // the worker's own
	trial pollTrying
	shown atomic.Uint64 // state and share, for others
}

// pollTrying is the trial: what came while the worker polled and while it did not, and how long that was.
// Times in which it slept, and what woke it, say nothing: interrupts are meant to serve the queue then.
type pollTrying struct {
	inside, outside         uint64 // frames
	timeInside, timeOutside int64  // nanoseconds
	left                    int    // frames in the RX ring when the worker had taken its batch
	end                     int64  // of the last poll; 0: none, or the worker slept since
}

func (p *polling) show(state PollState, share uint64) {
	p.state = state
	p.shown.Store(uint64(state)<<32 | share)
}

// openPolling begins the trial of a queue that shall be polled.
func (q *Queue) openPolling() error {
	if q.config.BusyPoll.Budget == 0 {
		return nil
	}
	if err := q.socket.SetBusyPoll(q.config.BusyPoll.Budget, q.config.BusyPoll.Usecs); err != nil {
		return err
	}
	q.polling.show(PollTrying, 0)
	return nil
}

// poll takes packets from the card, and ends what proves useless: each call costs a system call, which a
// queue that interrupts serve does not need.
func (q *Queue) poll(clock *Clock) {
	switch q.polling.state {
	case PollOn:
		q.socket.Poll()
	case PollTrying:
		q.tryPolling(clock)
	}
}

func (q *Queue) tryPolling(clock *Clock) {
	t, start, waiting := &q.polling.trial, clock.Now(), q.socket.Waiting()
	if t.end > 0 {
		t.outside += uint64(max(waiting-t.left, 0))
		t.timeOutside += start - t.end
	}
	q.socket.Poll()
	t.left, t.end = q.socket.Waiting(), clock.Now()
	t.inside += uint64(max(t.left-waiting, 0))
	t.timeInside += t.end - start
	state, share := t.judge()
	if state == PollTrying {
		return
	}
	if state == PollUseless {
		// The socket stays as good as any other if this fails, and is not asked again.
		_ = q.socket.EndBusyPoll()
	}
	q.polling.show(state, share)
}

// forgetPolls is for when the worker has slept: the time since the last polls says nothing.
func (w *Worker) forgetPolls() {
	for _, q := range w.queues {
		q.polling.trial.end = 0
	}
}

// judge tells what busy polling is good for, and what part of the frames came by it, in percent.
func (t *pollTrying) judge() (state PollState, share uint64) {
	all := t.inside + t.outside
	if all < pollTrial {
		return PollTrying, 0
	}
	share = 100 * t.inside / all
	if t.inside*uint64(t.timeOutside) < pollGain*t.outside*uint64(t.timeInside) {
		return PollUseless, share
	}
	return PollOn, share
}

// Polling tells how busy polling came out, and after its trial what part of the frames came by it, in
// percent. The control plane may call it.
func (q *Queue) Polling() (state PollState, share int) {
	shown := q.polling.shown.Load()
	return PollState(shown >> 32), int(uint32(shown))
}
