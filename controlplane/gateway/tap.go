package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"culvert/controlplane/telemetry"
	"culvert/dataplane"
	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
	"culvert/dataplane/rules"
)

const (
	// tapInterval is how often the taps are emptied.
	tapInterval = 20 * time.Millisecond
	// tapPoints bounds what one emptying sends: some 5000 points a second, more than anybody reads.
	tapPoints = 100
	// tapQuiet is how often a watcher hears that nothing passes.
	tapQuiet = time.Second
)

// tapping is one watcher's.
type tapping struct {
	gateway *Gateway
	reader  *dataplane.TapReader
	set     *rules.Set       // whose evaluator this is
	rules   *rules.Evaluator // nil without rules
	match   *rules.Evaluator // nil: every point
	encoder lineproto.Encoder
	meets   []rules.Meet
}

// Tap sends points as they pass, sampled, until the context ends or send fails; nil is sent at the beginning
// and once a second. match (optional) is an
// expression on one point, as in rules; one that is wrong is an error before anything is sent. While nobody
// taps, workers pay one branch a payload.
func (g *Gateway) Tap(ctx context.Context, match string, send func(*telemetry.TappedPoint) error) error {
	t := &tapping{gateway: g, reader: dataplane.NewTapReader(g.listeners)}
	var err error
	if t.match, err = compileMatch(match); err != nil {
		return err
	}
	if !g.tapped.TryLock() {
		return errors.New("somebody taps already: each worker has one tap")
	}
	defer g.tapped.Unlock()
	taps, err := g.openTaps()
	defer g.closeTaps()
	if err != nil {
		return err
	}
	ticker := time.NewTicker(tapInterval)
	defer ticker.Stop()
	var heard time.Time
	for {
		if time.Since(heard) >= tapQuiet {
			if err := send(nil); err != nil {
				return err
			}
			heard = time.Now()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		left := tapPoints
		for i, tap := range taps {
			for s := tap.Ring.Peek(); s != nil; s = tap.Ring.Peek() {
				if err := t.show(s, g.workers[i].Name(), &left, send); err != nil {
					return err
				}
				tap.Ring.Release()
			}
		}
	}
}

func (g *Gateway) openTaps() ([]*dataplane.Tap, error) {
	taps := make([]*dataplane.Tap, len(g.workers))
	for i, w := range g.workers {
		taps[i] = dataplane.NewTap()
		if err := w.SetTap(taps[i]); err != nil {
			return nil, fmt.Errorf("tap worker %q: %w", w.Name(), err)
		}
	}
	return taps, nil
}

func (g *Gateway) closeTaps() {
	for _, w := range g.workers {
		// One that has ended taps nothing any more.
		_ = w.SetTap(nil)
	}
}

// compileMatch makes an evaluator of one rule out of an expression.
func compileMatch(match string) (*rules.Evaluator, error) {
	if match == "" {
		return nil, nil
	}
	text := func(s string) rules.Text {
		return rules.Text{Source: s, Position: rules.Position{Line: 1, Column: 1}}
	}
	set, wrong := rules.Compile([]rules.Group{{Name: text("tap"), Rules: []rules.Rule{
		{Kind: rules.KindAlert, Alert: text("match"), On: []rules.Text{text("*")}, Expr: text(match)},
	}}})
	if len(wrong) > 0 {
		return nil, fmt.Errorf("read the expression %q: %w", match, wrong[0])
	}
	if set.Rules()[0].KeyBytes > 0 {
		return nil, fmt.Errorf("read the expression %q: it looks at more than one point", match)
	}
	return rules.NewEvaluator(set, rules.Config{Workers: 1, Owners: 1}), nil
}

// follow takes the rules that run now: a reload may have replaced them.
func (t *tapping) follow() {
	set := t.gateway.rules.current()
	if set == t.set {
		return
	}
	t.set, t.rules = set, nil
	if set != nil {
		t.rules = rules.NewEvaluator(set, rules.Config{Workers: 1, Owners: 1})
	}
}

// show sends the points of one payload that are asked for.
func (t *tapping) show(s *dataplane.Tapped, worker string, left *int,
	send func(*telemetry.TappedPoint) error) (err error) {
	t.follow()
	shown := telemetry.TappedPoint{
		Taken: time.Unix(0, s.Wall), Worker: worker,
		Listener: t.gateway.options.Config.Listeners[s.Listener].Name,
		Source:   netip.AddrPortFrom(netip.AddrFrom16(s.Source).Unmap(), s.SourcePort).String(),
	}
	t.reader.Points(s, func(p *point.Point, line []byte, reason lineproto.Reason) {
		if err != nil || *left <= 0 || t.match != nil && !t.matches(p) {
			return
		}
		one := shown
		if p == nil {
			one.Line, one.Rejected = string(line), reason.String()
		} else if one.Line, one.Rules = t.describe(p); one.Line == "" {
			return
		}
		*left--
		err = send(&one)
	})
	return err
}

// matches tells whether a point is asked for; what is no point has no values to ask for.
func (t *tapping) matches(p *point.Point) bool {
	if p == nil {
		return false
	}
	t.meets = t.match.Meets(p, t.meets[:0])
	return len(t.meets) > 0 && t.meets[0].Holds
}

// describe is a point in Line Protocol, and the rules that it meets.
func (t *tapping) describe(p *point.Point) (string, []telemetry.TappedRule) {
	line, _ := t.encoder.Append(make([]byte, 0, t.encoder.Bound(p)), p)
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
	}
	met := []telemetry.TappedRule{}
	if t.rules == nil {
		return string(line), met
	}
	all := t.set.Rules()
	t.meets = t.rules.Meets(p, t.meets[:0])
	for _, m := range t.meets {
		r := telemetry.TappedRule{Name: all[m.Rule].Name, Kind: all[m.Rule].Kind.String(), Holds: "no"}
		switch {
		case m.Past:
			r.Holds = "past"
		case m.Holds:
			r.Holds = "yes"
		}
		met = append(met, r)
	}
	return string(line), met
}
