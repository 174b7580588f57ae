package notify

import (
	"maps"
	"slices"
	"time"
)

// Alert is one change of one alert's state. Its maps and slices are shared with the notifiers from Send on
// and are not written to any more.
type Alert struct {
	Rule   string
	Firing bool // false: it was firing and is resolved
	// Labels are the same when the alert begins and when it ends.
	Labels      map[string]string
	Annotations map[string]string
	// Actions are the names of the notifiers to tell. None: those that write to the log.
	Actions []string
	// Time is the event time of the change, Since the one at which it began to fire.
	Time, Since time.Time
	// Reason is why it ended where no point ended it (optional).
	Reason string
	// Arrival is when the packet came that made the change, in nanoseconds of CLOCK_MONOTONIC.
	Arrival int64
	// Departed are those among Actions that have been told already, by a worker's TX ring.
	Departed []string
	// Fingerprint tells alerts of different rules or labels apart; it is the same when one begins and ends.
	Fingerprint string
}

func (a *Alert) state() string {
	if a.Firing {
		return "firing"
	}
	return "resolved"
}

// withName are the alert's labels with the rule's name among them, as Prometheus has it.
func withName(a *Alert) map[string]string {
	labels := map[string]string{"alertname": a.Rule}
	for name, value := range a.Labels {
		labels[name] = value
	}
	return labels
}

func nonNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
