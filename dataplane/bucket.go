package dataplane

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	// drawMax is how much a worker takes out of a shared bucket at once, at most: about a turn's worth of
	// points, so that workers meet there seldom.
	drawMax = 1024
	// drawShare is the part of a bucket, as its inverse, that may lie drawn with all workers.
	drawShare = 16
)

// bucket is a token bucket that workers share, as the XDP program's tenants have one (struct tenant_limit in
// bpf/culvert.h): one time until when what was taken is paid for. Taking moves it on; the bucket is empty
// while it lies too far ahead of the clock. The zero bucket has no limit.
type bucket struct {
	drawCost int64 // ns that one draw takes; 0: no limit
	depth    int64 // ns that paidUntil may lie ahead for a draw to be allowed
	draws    int64 // what one draw gives
	_        [128]byte
	// paidUntil is CLOCK_MONOTONIC, nanoseconds. Workers write this word in common, once a draw.
	paidUntil atomic.Int64
	_         [128]byte
}

// set makes a bucket of so much a second that holds burst at most, what lies drawn with workers included.
func (b *bucket) set(perSecond, burst, workers int) {
	if perSecond == 0 {
		return
	}
	if burst == 0 {
		burst = perSecond
	}
	draw := min(max(burst/(drawShare*workers), 1), drawMax)
	b.draws, b.drawCost = int64(draw), max(nanoseconds(draw, perSecond), 1)
	b.depth = nanoseconds(max(burst-(draw-1)*workers-draw, 0), perSecond)
}

// nanoseconds is what so much takes at a rate.
func nanoseconds(n, perSecond int) int64 { return int64(n) * int64(time.Second) / int64(perSecond) }

// draw takes a draw, or nothing where the bucket is empty. Who is overtaken by other workers asks again,
// which ends because one of them got something each time and the bucket has an end.
func (b *bucket) draw(now int64) int64 {
	for {
		paid := b.paidUntil.Load()
		from := max(paid, now)
		if from-now > b.depth {
			return 0
		}
		if b.paidUntil.CompareAndSwap(paid, from+b.drawCost) {
			return b.draws
		}
	}
}

// credit is what a worker drew from a bucket and has not used.
type credit struct {
	left    int64
	emptyAt int64 // the turn that found the bucket empty: it does not ask again
}

// take uses one of the credit, and draws where there is none, once a turn at most in vain.
func (c *credit) take(b *bucket, now int64) bool {
	if c.left == 0 {
		if c.emptyAt == now {
			return false
		}
		if c.left = b.draw(now); c.left == 0 {
			c.emptyAt = now
			return false
		}
	}
	c.left--
	return true
}

// sources are the buckets of single senders at a worker's kernel sockets, in sets: where a sender has no
// place in its set, it takes that of the one who is paid for the shortest, most likely one whose bucket is
// full again, of which nothing needs to be known. So memory is bounded whoever sends.
type sources struct {
	sets [sourceSets]sourceSet
}

const (
	sourceSets = 1024 // a power of two
	sourceWays = 4
)

type sourceSet struct {
	keys [sourceWays]uint64 // 0: nobody's
	paid [sourceWays]int64
}

// take takes one out of a sender's bucket; key is a hash of tenant and address.
func (s *sources) take(key uint64, cost, depth, now int64) bool {
	key |= 1
	set := &s.sets[key>>32%sourceSets]
	way, least := -1, int64(math.MaxInt64)
	for i := range set.keys {
		if set.keys[i] == key {
			way = i
			break
		}
		if set.paid[i] < least {
			way, least = i, set.paid[i]
		}
	}
	paid := now
	if set.keys[way] == key {
		paid = max(set.paid[way], now)
	}
	if paid-now > depth {
		return false
	}
	set.keys[way], set.paid[way] = key, paid+cost
	return true
}
