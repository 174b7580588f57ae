package dataplane

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"culvert/dataplane/point"
)

// drawn feeds a sketch with points of series by number and returns what each series is said to have at least.
func drawn(h *hitters, points int, now int64, series func() int) map[string]uint64 {
	var p point.Point
	payload := Payload{Tenant: 2, Listener: 3}
	for range points {
		n := series()
		p.PayloadBytes = fmt.Appendf(p.PayloadBytes[:0], "m,s=%d", n)
		p.Key = point.MakeSpan(point.Payload, 0, len(p.PayloadBytes))
		h.sample(uint64(n)*0x9e3779b97f4a7c15|1, &p, &payload, now)
	}
	own := map[string]uint64{}
	for i := range h.slots {
		if one := &h.slots[i]; h.counts[i] > one.errors {
			own[string(one.text[:one.length])] = h.counts[i] - one.errors
		}
	}
	return own
}

// Goal: what is heavy is found with about its share, and never said to be heavier than it is, among a hundred
// thousand others; and where nothing is heavy, nothing is said to be.
func TestHittersFindTheHeavy(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	const samples = 100_000
	h := newHitters(7)
	own := drawn(&h, samples, 0, func() int {
		switch n := r.IntN(100); {
		case n < 30:
			return 1
		case n < 35:
			return 2
		}
		return 100 + r.IntN(100_000)
	})
	f := func(key string, share float64) {
		t.Helper()
		got := float64(own[key]) / float64(h.total)
		if got > share*1.05 || got < share-1.0/hittersSlots-0.01 {
			t.Errorf("%s has a share of at least %.3f, it was %.3f", key, got, share)
		}
	}
	f("m,s=1", 0.30)
	f("m,s=2", 0.05)
	if h.total != samples {
		t.Errorf("%d samples", h.total)
	}
	even := newHitters(7)
	for key, n := range drawn(&even, samples, 0, func() int { return r.IntN(100_000) }) {
		if n > samples/200 {
			t.Errorf("%s of a hundred thousand like it has %d of %d samples", key, n, samples)
		}
	}
}

// Goal: who was heavy is forgotten once others are, by time and not by number.
func TestHittersAge(t *testing.T) {
	h := newHitters(7)
	drawn(&h, 1024, 0, func() int { return 1 })
	drawn(&h, 1, hittersHalf-1, func() int { return 2 })
	if h.total != 1025 {
		t.Errorf("%d samples before their time is over", h.total)
	}
	own := drawn(&h, 1, hittersHalf, func() int { return 2 })
	if h.total != 513 || own["m,s=1"] != 512 {
		t.Errorf("%d samples after half of their time, %v", h.total, own)
	}
	if own = drawn(&h, 8, 12*hittersHalf, func() int { return 2 }); h.total != 8 || own["m,s=2"] != 8 {
		t.Errorf("%d samples after eleven more, %v", h.total, own)
	}
	drawn(&h, 8, 1<<62, func() int { return 2 })
	if h.total != 8 {
		t.Errorf("%d samples after a century", h.total)
	}
}

// Goal: a worker takes one sample in 64 points in the mean, however they are packed, and says whose they are.
func TestWorkerSamplesSeries(t *testing.T) {
	for _, pack := range []int{1, 7, 300} {
		w := openWorker(t, nil)
		text := ""
		for i := range pack {
			text += fmt.Sprintf("m,s=%d v=1 1\nbad\n", i%2)
		}
		const points = 64_000
		for range points/pack + 1 {
			packet, metadata := frame(text, second)
			metadata[18] = 1
			var payload Payload
			openFrame(&payload, packet, metadata, ChecksumOff, &w.counters)
			w.eat(&payload, false)
			if o := w.lanes[0]; o.open != nil && o.open.Room() < 1<<16 {
				o.pool.Release(o.open)
				o.open = nil
			}
		}
		// Lines that cannot be read count for the distance, so that it is twice as many lines.
		if h := &w.hitters; h.total < 1700 || h.total > 2300 {
			t.Errorf("packs of %d: %d samples of %d lines", pack, h.total, 2*points)
		}
		for i := range w.hitters.slots {
			one := &w.hitters.slots[i]
			if key := string(one.text[:one.length]); w.hitters.counts[i] > 0 &&
				(key != "m,s=0" && key != "m,s=1" || one.tenant != 1) {
				t.Errorf("packs of %d: series %q of tenant %d", pack, key, one.tenant)
			}
		}
	}
}
