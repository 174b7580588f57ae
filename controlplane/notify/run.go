package notify

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// permanent is an error that another attempt would meet again.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// later is an error of a receiver that said when to come back.
type later struct {
	error
	after time.Duration
}

func (l later) Unwrap() error { return l.error }

// slow is an error of a receiver that was handed a message and did not answer in time.
type slow struct{ error }

func (s slow) Unwrap() error { return s.error }

// patienceMax bounds the time for the answer of a slow receiver, in timeouts.
const patienceMax = 12

// run delivers what is in the queue until it is closed and empty, or the context ends.
func (one *notifier) run(ctx context.Context) {
	defer one.carrier.close()
	pause := one.config.First
	for {
		batch, next, done := one.take()
		if done || ctx.Err() != nil {
			one.giveBack(batch)
			return
		}
		if len(batch) == 0 {
			one.sleep(ctx, next)
			continue
		}
		err := one.deliver(ctx, batch)
		if err == nil {
			pause = one.config.First
			continue
		}
		one.rest(ctx, pause, err)
		pause = min(pause*2, one.config.Max)
	}
}

// take is what goes out next, or when there will be something. It is done when there will never be.
func (one *notifier) take() (batch []*change, next time.Time, done bool) {
	one.mutex.Lock()
	defer one.unlock()
	if one.halted {
		return nil, next, true
	}
	batch, next = one.queue.take(one.carrier.batchMax(), one.carrier.together, time.Now(), !one.closed)
	return batch, next, one.closed && one.queue.waiting() == 0
}

// giveBack puts back what was taken when it is too late to deliver it.
func (one *notifier) giveBack(batch []*change) {
	one.mutex.Lock()
	defer one.unlock()
	if len(batch) > 0 {
		one.queue.failed(batch, time.Now())
	}
}

// sleep waits for an offer, the end, or a time, if there is one.
func (one *notifier) sleep(ctx context.Context, until time.Time) {
	var timer <-chan time.Time
	if !until.IsZero() {
		timer = time.After(time.Until(until))
	}
	select {
	case <-one.wake:
	case <-timer:
	case <-ctx.Done():
	}
}

// rest waits between two attempts: a pause, or as long as the receiver asked for. While the gateway stops
// there is no time for more than the shortest.
func (one *notifier) rest(ctx context.Context, pause time.Duration, err error) {
	var told later
	if errors.As(err, &told) {
		pause = max(pause, told.after)
	}
	// A tenth either way keeps notifiers that failed together from coming back together.
	pause += time.Duration((rand.Float64()*2 - 1) * float64(pause) / 10)
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return
	case <-ctx.Done():
		return
	case <-one.closing:
	}
	timer.Reset(min(pause, one.config.First))
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// deliver makes one attempt and settles its outcome. The error is one after which it is worth to wait: the
// batch, or what was not refused of it, is back in the queue.
func (one *notifier) deliver(ctx context.Context, batch []*change) error {
	err := one.attempt(ctx, batch)
	var refused permanent
	switch {
	case err == nil:
		one.settle(batch, nil)
		return nil
	case !errors.As(err, &refused):
		one.settle(batch, err)
		return err
	case len(batch) == 1:
		one.settle(batch, err)
		return nil
	}
	// Nobody knows which of them the receiver refused: each has its own chance.
	for i := range batch {
		err := one.attempt(ctx, batch[i:i+1])
		if err != nil && !errors.As(err, &refused) {
			one.settle(batch[i:], err)
			return err
		}
		one.settle(batch[i:i+1], err)
	}
	return nil
}

// attempt hands a batch to the carrier once. A receiver that was too slow gets more time for the next one:
// else it would be told the same again and again, and never be thought to know it.
func (one *notifier) attempt(ctx context.Context, batch []*change) error {
	limit := max(one.patience, one.config.Timeout)
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := one.carrier.deliver(limited, batch, func(at int64) {
		for _, c := range batch {
			if !c.sent {
				c.sent = true
				one.sent(c.Alert, at)
			}
		}
	})
	if late := (slow{}); errors.As(err, &late) {
		one.patience = min(2*limit, patienceMax*one.config.Timeout)
	}
	return err
}

// settle tells the queue what became of a batch, and the log of what went wrong.
func (one *notifier) settle(batch []*change, err error) {
	var refused permanent
	now := time.Now()
	one.mutex.Lock()
	switch {
	case err == nil:
		one.queue.settled(batch, now)
	case errors.As(err, &refused):
		one.queue.refused(batch)
	default:
		one.queue.failed(batch, now)
	}
	counts, waiting := one.queue.counts, one.queue.waiting()
	one.unlock()
	switch {
	case err == nil:
	case errors.As(err, &refused):
		one.complain("refused", "an alert was refused and is given up", "rule", batch[0].Rule,
			"total", counts.refused, "error", err)
	default:
		one.complain("retry", "alerts were not delivered and are sent again", "alerts", len(batch),
			"waiting", waiting, "attempts_failed", counts.retries, "error", err)
	}
}
