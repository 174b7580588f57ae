package gateway

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"culvert/controlplane/config"
	"culvert/controlplane/notify"
	"culvert/controlplane/telemetry"
	"culvert/dataplane"
	"culvert/dataplane/hist"
	"culvert/dataplane/rules"
)

// notifyTime bounds how long a stop waits for notifications that are on their way.
const notifyTime = 5 * time.Second

// alertLatency is the time from a packet's stamp to the alert on the wire, over all notifiers.
type alertLatency struct {
	mutex sync.Mutex // several notifiers deliver; a histogram has one writer
	hist  hist.Histogram
}

func (l *alertLatency) record(nanoseconds int64) {
	l.mutex.Lock()
	l.hist.Record(nanoseconds)
	l.mutex.Unlock()
}

// openNotifiers makes the ways out that the configuration names.
func (g *Gateway) openNotifiers() (*notify.Notifiers, error) {
	configs, err := g.notifyConfigs(g.options.Config)
	if err != nil {
		return nil, err
	}
	return notify.New(configs, g.log, func(a *notify.Alert, at int64) {
		if a.Arrival != 0 { // Else no packet brought it.
			g.latency.record(at - a.Arrival)
		}
	})
}

// notifyConfigs is what a configuration says of notifiers.
func (g *Gateway) notifyConfigs(c *config.Config) ([]notify.Config, error) {
	// Where this gateway listens does not change while it runs.
	external, err := externalURL(g.options.Config.HTTP.Listen, os.Hostname)
	if err != nil {
		return nil, err
	}
	var configs []notify.Config
	for i := range c.Notifiers {
		n := &c.Notifiers[i]
		one := notify.Config{
			Name: n.Name, Type: n.Type, URLs: n.URL, Address: n.Address, Format: n.Format, Limit: n.Limit,
			External: external,
		}
		if n.Type == "influxdb" && len(n.URL) == 0 {
			// The first sink's server, database and token.
			first := &g.targets[0].writer
			one.URLs = []string{g.targets[0].parsed.Scheme + "://" + first.Host + first.Path}
			one.Authorization = first.Authorization
		}
		configs = append(configs, one)
	}
	return configs, nil
}

// externalURL is this gateway's own URL for links in alerts: where it listens, or the host's name where that
// is every address.
func externalURL(listen string, hostname func() (string, error)) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("read http.listen: %w", err)
	}
	if address, err := netip.ParseAddr(host); host == "" || err == nil && address.IsUnspecified() {
		if host, err = hostname(); err != nil {
			return "", fmt.Errorf("find the host's name: %w", err)
		}
	}
	return "http://" + net.JoinHostPort(host, port), nil
}

// carryAlerts takes one worker's state changes to the notifiers until the ring is closed and empty. It is a
// goroutine of its own per worker, so that a change leaves the moment it was made.
func (g *Gateway) carryAlerts(worker int) {
	alerts := g.alerts[worker]
	for open := true; open; {
		open = alerts.Wait() == nil
		for t := alerts.Ring.Peek(); t != nil; t = alerts.Ring.Peek() {
			alert := toNotify(g.rules.render(t))
			alert.Departed = g.departed(t)
			alerts.Ring.Release()
			g.firing.Change(toShow(&alert), alert.Firing)
			g.notifiers.Send(alert)
			g.carried[worker].Add(1)
		}
	}
}

func toNotify(a rules.Alert) notify.Alert {
	return notify.Alert{
		Rule: a.Rule, Firing: a.State == rules.StateFiring, Labels: a.Labels, Annotations: a.Annotations,
		Actions: a.Actions, Time: time.Unix(0, a.Time), Since: time.Unix(0, a.Since), Reason: a.Reason,
		Arrival: a.Arrival, Fingerprint: a.Fingerprint,
	}
}

// toShow is what the dashboard shows of an alert.
func toShow(a *notify.Alert) telemetry.Alert {
	return telemetry.Alert{Rule: a.Rule, Labels: a.Labels, Annotations: a.Annotations, Since: a.Since,
		Fingerprint: a.Fingerprint}
}

// logSinks asks servers that are in doubt, says once when one becomes reachable or stops being so, and at
// most once a second why it refused points.
func (g *Gateway) logSinks(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	var up []bool
	refused := map[string]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		targets := g.urls()
		states := sinkStates(g.looks(), len(targets))
		for i, t := range targets {
			said := i < len(up)
			if !said {
				up = append(up, false)
			}
			if !g.leavingOf(t).sends() {
				continue // The reload has said so.
			}
			if g.doubt(t, states) != "" && t.ask(ctx) == nil {
				t.asked.Store(g.clock.Now())
			}
			state := g.sinkOf(t, states)
			g.logRefusals(t, states, refused)
			if state.Up == up[i] && said {
				continue
			}
			if up[i] = state.Up; state.Up {
				g.log.Info("sink is up", "sink", state.Name, "url", state.URL)
				continue
			}
			g.log.Warn(g.downMessage(t),
				"sink", state.Name, "url", state.URL, "error", orUnknown(state.LastError))
		}
	}
}

const (
	// refusalText is how much of a server's words goes to the log.
	refusalText = 300
	// refusalsMax bounds the words that are remembered as said.
	refusalsMax = 1000
)

// logRefusals says why a server refused points, each of its reasons once.
func (g *Gateway) logRefusals(t *sinkTarget, states [][]dataplane.SinkState, said map[string]bool) {
	for i := range states {
		words := states[i][t.lane].LastReject
		if words == "" || said[words] {
			continue
		}
		if len(said) == refusalsMax {
			clear(said)
		}
		said[words] = true
		g.log.Warn("sink refused points", "sink", t.config.Name, "url", t.url,
			"answer", words[:min(len(words), refusalText)])
	}
}

// downMessage says what becomes of points while a server is down.
func (g *Gateway) downMessage(t *sinkTarget) string {
	for _, s := range g.sinks {
		if s.config == t.config && s.config.Routing == "failover" && len(*s.order.Load()) > 1 {
			return "sink is down: the next of its urls that is up takes its points"
		}
	}
	if g.spools.dir != "" {
		return "sink is down: points wait in the spool"
	}
	return "sink is down: points wait in memory for a while, then are dropped as undelivered"
}
