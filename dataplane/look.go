package dataplane

import (
	"time"

	"culvert/dataplane/influx"
	"culvert/dataplane/rules"
)

// Look is what a worker shows of itself at one moment, beside its counters and histograms, which anybody may
// read. Whoever looks makes the memory and the worker copies into it: it never allocates for an onlooker.
type Look struct {
	// Sinks has one entry a URL of a sink, in the order of the configuration.
	Sinks []SinkState
	// Rules are the counts of the worker's rules; its Set is nil if they are others than was asked for.
	Rules RuleCounts
	// Heavy are the series that the worker's points belong to most, in no order; HeavySamples are the samples
	// of all series together.
	Heavy        []HeavySeries
	HeavySamples uint64
	// ClockSteps is how often the worker saw wall time step.
	ClockSteps uint64

	tallies []influx.Tally
	hitters hitters
}

// newLook makes the memory for a look at a worker with so many URLs that has these rules, or none.
func newLook(urls int, set *rules.Set) *Look {
	l := &Look{Sinks: make([]SinkState, urls), tallies: make([]influx.Tally, urls)}
	if set != nil {
		l.Rules.Rules = make([]rules.RuleStats, set.Len())
		l.Rules.Groups = make([]rules.GroupStats, len(set.Groups()))
	}
	return l
}

// Look asks a worker how it is, with what it counted for the rules of a set (optional). It gives up after a
// time: a worker that is stuck must not hold up whoever asks.
func (w *Worker) Look(set *rules.Set, patience time.Duration) (*Look, error) {
	l := newLook(len(w.shown.Load().urls), set)
	_, err := askFor(w, patience, func() struct{} {
		w.fill(l, set)
		return struct{}{}
	})
	if err != nil {
		// The worker may still write to what it was given.
		return nil, err
	}
	l.finish()
	return l, nil
}

// fill copies the worker's state. It runs on the worker's thread and allocates nothing.
func (w *Worker) fill(l *Look, set *rules.Set) {
	for i := range l.Sinks {
		o := w.urls[i].writer
		l.Sinks[i] = SinkState{
			Up: o.Up(), LastError: o.LastError(), LastReject: o.LastReject(),
			LastTrouble: o.LastTrouble(), LastGood: o.LastGood(), Transport: "io_uring",
		}
		if w.ring == nil {
			l.Sinks[i].Transport = "sockets"
		}
		o.Tally(&l.tallies[i])
	}
	if set != nil && w.rules != nil && w.config.Rules == set {
		l.Rules.Set = set
		w.rules.Stats(l.Rules.Rules)
		w.rules.GroupStats(l.Rules.Groups)
	}
	w.hitters.age(w.clock.Now())
	l.hitters = w.hitters
	l.ClockSteps = w.clock.Steps()
}

// finish makes of the copies what the onlooker wants, on its own thread.
func (l *Look) finish() {
	for i := range l.Sinks {
		l.Sinks[i].Stats = l.tallies[i].Stats()
	}
	h := &l.hitters
	l.HeavySamples = h.total
	for i := range h.slots {
		one := &h.slots[i]
		if own := h.counts[i] - min(one.errors, h.counts[i]); own > 0 {
			l.Heavy = append(l.Heavy, HeavySeries{Tenant: one.tenant, Listener: one.listener,
				Key: string(one.text[:one.length]), Samples: own})
		}
	}
}
