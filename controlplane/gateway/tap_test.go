package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"culvert/controlplane/telemetry"
	"culvert/dataplane/rules"
)

// tapRules is a rule on one point and one on the past.
func tapRules(t *testing.T) *rules.Set {
	t.Helper()
	text := func(s string) rules.Text { return rules.Text{Source: s} }
	set, wrong := rules.Compile([]rules.Group{{Name: text("g"), Rules: []rules.Rule{
		{Alert: text("Hot"), On: []rules.Text{text("motor")}, Expr: text("temperature > 95")},
		{Alert: text("Mean"), On: []rules.Text{text("motor")}, Expr: text("avg(temperature[10s]) > 95")},
	}}})
	if len(wrong) > 0 {
		t.Fatal(wrong[0])
	}
	return set
}

// Goal: who taps sees the points that pass and match, with what they met, and nothing is copied before and
// after. Method: a gateway on loopback; points are sent until one is seen.
func TestTap(t *testing.T) {
	g, port := startOnLoopback(t)
	g.rules.begin(tapRules(t)) // for the tap alone
	conn := dial(t, port)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	done := errors.New("seen")
	watch := func(match string) *telemetry.TappedPoint {
		t.Helper()
		var seen *telemetry.TappedPoint
		err := g.Tap(ctx, match, func(p *telemetry.TappedPoint) error {
			if p == nil {
				// It taps now.
				if err := g.Tap(ctx, "", nil); err == nil || !strings.Contains(err.Error(), "somebody taps") {
					t.Errorf("a second watcher: %v", err)
				}
				_, err := fmt.Fprint(conn, "motor temperature=96 5\nmotor temperature=20 6\nmotor t=1x")
				return err
			}
			seen = p
			return done
		})
		if !errors.Is(err, done) {
			t.Fatalf("tap %q: %v", match, err)
		}
		return seen
	}
	p := watch("")
	if p.Line != "motor temperature=96 5" || p.Listener != "plant" || p.Source != conn.LocalAddr().String() ||
		p.Worker == "" || time.Since(p.Taken) > time.Minute || fmt.Sprint(p.Rules) !=
		"[{Hot alert yes} {Mean alert past}]" {
		t.Errorf("%+v", p)
	}
	if p := watch("temperature < 95"); p.Line != "motor temperature=20 6" ||
		p.Rules[0].Holds != "no" {
		t.Errorf("%+v", p)
	}
	for match, want := range map[string]string{
		"temperature >":                "expression ends",
		"avg(temperature[10s]) > 95":   "looks at more than one point",
		"count(temperature[10s]) > 95": "looks at more than one point",
	} {
		if err := g.Tap(ctx, match, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("tap %q: %v, want %q", match, err, want)
		}
	}
	cancel()
	if err := g.Tap(ctx, "", func(*telemetry.TappedPoint) error { return nil }); err != nil {
		t.Errorf("a tap that is ended: %v", err)
	}
}
