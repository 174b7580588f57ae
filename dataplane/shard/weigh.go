package shard

import "math"

// Load is what a server shows of itself, each from 0, at its best, to 1.
type Load struct {
	Errors  float64 // the share of requests that failed
	Backlog float64 // the share of batches that wait for it
	Write   float64 // the 95th percentile of write time, as a share of the timeout
}

const (
	// How much each of them counts: a server all of whose requests fail gets a twentieth of its share, one
	// with a full backlog a seventh, one that is as slow as the timeout a fifth.
	errorsCount, backlogCount, writeCount = 3, 2, 1.6
	// A weight that is off by less than a fifth of itself stays as it is.
	tolerance = 5
	// So many times in a row it must be off before it falls, and before it rises: a server that is back for a
	// moment does not get its series back, and they do not flap.
	fallAfter, riseAfter = 3, 10
)

// weight is the share that is due to a load, 1 to WeightMax.
func (l Load) weight() int {
	sum := errorsCount*l.Errors + backlogCount*l.Backlog + writeCount*l.Write
	return max(1, int(math.Round(WeightMax*math.Exp(-sum))))
}

// Weigher follows the loads of servers with hysteresis. It is not for use from several goroutines.
type Weigher struct {
	weights []int
	falling []int // how often in a row a weight was too high
	rising  []int
}

// NewWeigher begins with whole weights for so many servers.
func NewWeigher(servers int) *Weigher {
	w := &Weigher{
		weights: make([]int, servers), falling: make([]int, servers), rising: make([]int, servers),
	}
	for i := range w.weights {
		w.weights[i] = WeightMax
	}
	return w
}

// Grow follows so many servers from now on: those that are new begin with their whole weight.
func (w *Weigher) Grow(servers int) {
	for len(w.weights) < servers {
		w.weights = append(w.weights, WeightMax)
		w.falling, w.rising = append(w.falling, 0), append(w.rising, 0)
	}
}

// Update takes the loads of all servers, once a second, and reports whether a weight changed.
func (w *Weigher) Update(loads []Load) (changed bool) {
	for i := range loads {
		due, now := loads[i].weight(), w.weights[i]
		switch {
		case (due-now)*tolerance > now || due == WeightMax && due > now:
			w.rising[i]++
			w.falling[i] = 0
		case (now-due)*tolerance > now:
			w.falling[i]++
			w.rising[i] = 0
		default:
			w.rising[i], w.falling[i] = 0, 0
		}
		if w.falling[i] == fallAfter || w.rising[i] == riseAfter {
			w.weights[i], w.rising[i], w.falling[i] = due, 0, 0
			changed = true
		}
	}
	return changed
}

// Weights are the servers' weights now, valid until the next Update.
func (w *Weigher) Weights() []int { return w.weights }
