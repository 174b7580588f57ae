package notify

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Alert is one change of one alert's state. Its maps and slices are shared with the notifiers from Send on
// and are not written to any more.
type Alert struct {
	Rule        string
	Firing      bool // false: it was firing and is resolved
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
	// Fingerprint tells alerts of different rules or labels apart; it is the same when one begins and ends.
	Fingerprint string
}

func (a *Alert) state() string {
	if a.Firing {
		return "firing"
	}
	return "resolved"
}

// datagramMax is the largest payload of a UDP datagram over IPv4.
const datagramMax = 65507

// datagram is the JSON of type udp, described in docs/notifications.md.
type datagram struct {
	Version     int               `json:"version"`
	Rule        string            `json:"rule"`
	State       string            `json:"state"`
	Time        time.Time         `json:"time"`
	Since       time.Time         `json:"since"`
	Reason      string            `json:"reason,omitempty"`
	Fingerprint string            `json:"fingerprint"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// Truncated says that the annotations were left out, because they did not fit.
	Truncated bool `json:"truncated,omitempty"`
}

// datagram makes one line of JSON, without its annotations if it would not fit into a datagram.
func (a *Alert) datagram() ([]byte, error) {
	d := datagram{Version: 1, Rule: a.Rule, State: a.state(), Time: a.Time.UTC(), Since: a.Since.UTC(),
		Reason: a.Reason, Fingerprint: a.Fingerprint, Labels: a.Labels, Annotations: a.Annotations}
	text, err := json.Marshal(d)
	if err == nil && len(text) >= datagramMax {
		d.Annotations, d.Truncated = nil, true
		text, err = json.Marshal(d)
	}
	if err != nil {
		return nil, fmt.Errorf("encode alert %q: %w", a.Rule, err)
	}
	if len(text) >= datagramMax {
		return nil, permanent{fmt.Errorf("encode alert %q: %d bytes do not fit into a datagram",
			a.Rule, len(text))}
	}
	return append(text, '\n'), nil
}

// message is the body of version 4 of Alertmanager's webhook.
type message struct {
	Version           string            `json:"version"`
	GroupKey          string            `json:"groupKey"`
	TruncatedAlerts   int               `json:"truncatedAlerts"`
	Status            string            `json:"status"`
	Receiver          string            `json:"receiver"`
	GroupLabels       map[string]string `json:"groupLabels"`
	CommonLabels      map[string]string `json:"commonLabels"`
	CommonAnnotations map[string]string `json:"commonAnnotations"`
	ExternalURL       string            `json:"externalURL"`
	Alerts            []messageAlert    `json:"alerts"`
}

type messageAlert struct {
	Status       string            `json:"status"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"` // the zero time while it fires
	GeneratorURL string            `json:"generatorURL"`
	Fingerprint  string            `json:"fingerprint"`
}

// newMessage is the body for alerts of one rule.
func newMessage(receiver string, batch []queued) *message {
	m := &message{
		Version: "4", GroupKey: fmt.Sprintf("{}:{alertname=%q}", batch[0].Rule), Status: "resolved",
		Receiver: receiver, GroupLabels: map[string]string{"alertname": batch[0].Rule},
	}
	var labels, annotations []map[string]string
	for i := range batch {
		a := &batch[i].Alert
		one := messageAlert{Status: a.state(), Labels: withName(a), Annotations: nonNil(a.Annotations),
			StartsAt: a.Since.UTC(), Fingerprint: a.Fingerprint}
		if a.Firing {
			m.Status = "firing"
		} else {
			one.EndsAt = a.Time.UTC()
		}
		m.Alerts = append(m.Alerts, one)
		labels, annotations = append(labels, one.Labels), append(annotations, one.Annotations)
	}
	m.CommonLabels, m.CommonAnnotations = common(labels), common(annotations)
	return m
}

// withName are the alert's labels with the rule's name among them, as Prometheus has it.
func withName(a *Alert) map[string]string {
	labels := map[string]string{"alertname": a.Rule}
	for name, value := range a.Labels {
		labels[name] = value
	}
	return labels
}

// common is what all of the maps agree on.
func common(all []map[string]string) map[string]string {
	shared := map[string]string{}
	for name, value := range all[0] {
		shared[name] = value
	}
	for _, one := range all[1:] {
		for name, value := range shared {
			if other, ok := one[name]; !ok || other != value {
				delete(shared, name)
			}
		}
	}
	return shared
}

func nonNil(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
