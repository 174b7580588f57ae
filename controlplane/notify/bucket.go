package notify

import "time"

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
	b.fill(now)
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (b *bucket) fill(now time.Time) {
	if passed := now.Sub(b.last).Seconds(); passed > 0 {
		b.tokens = min(b.tokens+passed*b.rate, b.rate)
		b.last = now
	}
}

// next is when take will let one pass.
func (b *bucket) next(now time.Time) time.Time {
	b.fill(now)
	wait := time.Duration((1 - b.tokens) / b.rate * float64(time.Second))
	// Rounded up, so that the waiter finds the token there.
	return now.Add(max(wait, 0) + time.Microsecond)
}
