package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"time"
)

// webhookBatchMax bounds the alerts of one POST: some 100 KiB of JSON.
const webhookBatchMax = 64

// webhook posts what Alertmanager's webhooks post.
type webhook struct {
	poster
	name     string // the receiver's name in the messages
	external string
}

func newWebhook(c Config, url string, log *slog.Logger) (*webhook, error) {
	p, err := newPoster(c, url, "application/json", log)
	if err != nil {
		return nil, err
	}
	return &webhook{poster: p, name: c.Name, external: c.External}, nil
}

func (w *webhook) batchMax() int { return webhookBatchMax }

// together keeps one rule's alerts in one message: it is their group.
func (w *webhook) together(a, b *Alert) bool { return a.Rule == b.Rule }

func (w *webhook) deliver(ctx context.Context, batch []*change, wired func(at int64)) error {
	body, err := json.Marshal(newMessage(w.name, w.external, batch))
	if err != nil {
		return permanent{fmt.Errorf("encode alerts: %w", err)}
	}
	return w.post(ctx, body, wired)
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
func newMessage(receiver, external string, batch []*change) *message {
	m := &message{
		Version: "4", GroupKey: fmt.Sprintf("{}:{alertname=%q}", batch[0].Rule), Status: "resolved",
		Receiver: receiver, GroupLabels: map[string]string{"alertname": batch[0].Rule},
		ExternalURL: external,
	}
	var labels, annotations []map[string]string
	for _, c := range batch {
		a := c.Alert
		one := messageAlert{Status: a.state(), Labels: withName(a), Annotations: nonNil(a.Annotations),
			StartsAt: a.Since.UTC(), Fingerprint: a.Fingerprint, GeneratorURL: generatorURL(external, a)}
		if a.Firing {
			m.Status = "firing"
		} else {
			one.EndsAt = a.Time.UTC()
			if one.EndsAt.Before(one.StartsAt) {
				one.EndsAt = one.StartsAt // A point that came late ended it.
			}
		}
		m.Alerts = append(m.Alerts, one)
		labels, annotations = append(labels, one.Labels), append(annotations, one.Annotations)
	}
	m.CommonLabels, m.CommonAnnotations = common(labels), common(annotations)
	return m
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
