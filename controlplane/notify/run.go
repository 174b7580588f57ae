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

// run empties the queue until it is closed and empty. Once the context has ended nothing is delivered any
// more.
func (one *notifier) run(ctx context.Context) {
	defer one.carrier.close()
	var next *queued // taken from the queue and not part of the batch before
	for {
		if next == nil {
			a, open := <-one.queue
			if !open {
				return
			}
			next = &a
		}
		var batch []queued
		batch, next = one.gather(*next)
		err := one.attempt(ctx, batch)
		one.settle(batch, err)
	}
}

// gather takes what waits already and belongs into one delivery: alerts of one rule, no alert twice, so that
// its changes stay one after another. It returns the first that does not belong.
func (one *notifier) gather(first queued) (batch []queued, next *queued) {
	batch = []queued{first}
	for len(batch) < one.carrier.batchMax() {
		select {
		case a, open := <-one.queue:
			if !open {
				return batch, nil
			}
			if a.Rule != first.Rule || holds(batch, a.Fingerprint) {
				return batch, &a
			}
			batch = append(batch, a)
		default:
			return batch, nil
		}
	}
	return batch, nil
}

func holds(batch []queued, fingerprint string) bool {
	for i := range batch {
		if batch[i].Fingerprint == fingerprint {
			return true
		}
	}
	return false
}

// attempt delivers a batch, again and again until it is out or there is no point.
func (one *notifier) attempt(ctx context.Context, batch []queued) error {
	wired := func(at int64) {
		for i := range batch {
			if !batch[i].sent {
				batch[i].sent = true
				one.sent(&batch[i].Alert, at)
			}
		}
	}
	wait := one.config.First
	for attempt := 1; ; attempt++ {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		limited, cancel := context.WithTimeout(ctx, one.config.Timeout)
		err := one.carrier.deliver(limited, batch, wired)
		cancel()
		var refused permanent
		if err == nil || errors.As(err, &refused) || attempt == one.config.Attempts {
			return err
		}
		one.complain("retry", "an alert was not delivered and is sent again", "rule", batch[0].Rule,
			"attempt", attempt, "error", err)
		pause := wait
		var told later
		if errors.As(err, &told) {
			pause = max(pause, told.after)
		}
		// A tenth either way keeps notifiers that failed together from coming back together.
		pause += time.Duration((rand.Float64()*2 - 1) * float64(pause) / 10)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		wait = min(wait*2, one.config.Max)
	}
}

// settle counts what became of a batch.
func (one *notifier) settle(batch []queued, err error) {
	n := uint64(len(batch))
	if err != nil {
		one.failed.Add(n)
		one.complain("failed", "alerts were given up", "rule", batch[0].Rule, "alerts", n,
			"total", one.failed.Load(), "error", err)
	} else {
		one.mutex.Lock()
		one.delivered.Add(n)
		for i := range batch {
			one.byRule[batch[i].Rule]++
		}
		one.mutex.Unlock()
	}
	one.waiting.Add(-n)
}

// bucket is a token bucket: so many a second, and as many at once.
type bucket struct {
	tokens, rate float64
	last         time.Time
}

func newBucket(limit int, now time.Time) *bucket {
	return &bucket{tokens: float64(limit), rate: float64(limit), last: now}
}

// take tells whether one more may pass.
func (b *bucket) take(now time.Time) bool {
	if passed := now.Sub(b.last).Seconds(); passed > 0 {
		b.tokens = min(b.tokens+passed*b.rate, b.rate)
		b.last = now
	}
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
