package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// alertmanagerBatchMax bounds the alerts of one POST: some 150 KiB of JSON.
	alertmanagerBatchMax = 256
	// refreshesMissed is how many refreshes in a row may fail before Alertmanager takes an alert for
	// resolved: as many as Prometheus allows itself.
	refreshesMissed = 4
	// alertsPath is where the API's version 2 takes alerts.
	alertsPath = "/api/v2/alerts"
)

// alertmanager posts alerts to one Alertmanager. Grouping, silences and receivers are its business.
type alertmanager struct {
	poster
	external string
	refresh  time.Duration
}

func newAlertmanager(c Config, url string, log *slog.Logger) (*alertmanager, error) {
	p, err := newPoster(c, strings.TrimSuffix(url, "/")+alertsPath, "application/json", log)
	if err != nil {
		return nil, err
	}
	return &alertmanager{poster: p, external: c.External, refresh: c.Refresh}, nil
}

func (m *alertmanager) batchMax() int             { return alertmanagerBatchMax }
func (m *alertmanager) together(_, _ *Alert) bool { return true }

func (m *alertmanager) deliver(ctx context.Context, batch []*change, wired func(at int64)) error {
	now := time.Now()
	alerts := make([]postableAlert, len(batch))
	for i, c := range batch {
		alerts[i] = m.postable(c.Alert, now)
	}
	body, err := json.Marshal(alerts)
	if err != nil {
		return permanent{fmt.Errorf("encode alerts: %w", err)}
	}
	return m.post(ctx, body, wired)
}

// postableAlert is an alert of Alertmanager's API, version 2.
type postableAlert struct {
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// postable gives an alert the times that Alertmanager needs. Ours are of the points, whose clock may be ahead
// of Alertmanager's; an end in its future would be no end, and an end before the start is refused.
func (m *alertmanager) postable(a *Alert, now time.Time) postableAlert {
	p := postableAlert{
		StartsAt: sooner(a.Since, now).UTC(), Labels: plainNames(withName(a)),
		Annotations: plainNames(a.Annotations), GeneratorURL: generatorURL(m.external, a),
	}
	if a.Firing {
		p.EndsAt = now.Add(refreshesMissed * m.refresh).UTC()
		return p
	}
	p.EndsAt = sooner(a.Time, now).UTC()
	if p.EndsAt.Before(p.StartsAt) {
		p.EndsAt = p.StartsAt
	}
	return p
}

func sooner(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// plainNames are labels or annotations with names as Alertmanager takes them: letters, digits and
// underscores, with no digit in front. Names that become equal get underscores behind, in their order. A
// label without a value is none.
func plainNames(values map[string]string) map[string]string {
	plain := make(map[string]string, len(values))
	changed := map[string]string{}
	for name, value := range values {
		switch {
		case value == "":
		case plainName(name) == name:
			plain[name] = value
		default:
			changed[name] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(changed)) {
		free := plainName(name)
		for _, taken := plain[free]; taken; _, taken = plain[free] {
			free += "_"
		}
		plain[free] = changed[name]
	}
	return plain
}

func plainName(name string) string {
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return '_'
	}, name)
	if plain == "" || plain[0] >= '0' && plain[0] <= '9' {
		return "_" + plain
	}
	return plain
}
