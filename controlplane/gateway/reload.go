package gateway

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"culvert/controlplane/config"
	"culvert/controlplane/telemetry"
	"culvert/dataplane"
	"culvert/dataplane/rules"
)

// carryTime bounds how long a reload waits until the old rules' last state changes are with the notifiers.
const carryTime = time.Second

// Reload reads the configuration and its rules anew and applies the rules and the notifiers, all or nothing,
// then the URLs of sinks, each sink's all or nothing, and the probes. The error of files that are wrong is a
// telemetry.Refused. No point is lost, and rules that stay as they are keep their state. Of everything else
// it says what waits for a restart.
func (g *Gateway) Reload() (*telemetry.Reload, error) {
	g.changing.Lock()
	defer g.changing.Unlock()
	if g.isStopping() {
		return nil, fmt.Errorf("reload: the gateway is stopping: %w", os.ErrClosed)
	}
	file := g.options.Config.File
	if g.rules.current() == nil || file == "" {
		return nil, errors.New("reload: the gateway was started without a file")
	}
	setup, mistakes := Load(file)
	if len(mistakes) > 0 {
		refused := &telemetry.Refused{File: file}
		for _, m := range mistakes {
			refused.Mistakes = append(refused.Mistakes, m.Detail())
		}
		return nil, refused
	}
	report, err := g.apply(setup)
	if err != nil {
		return nil, fmt.Errorf("reload %s: %w", file, err)
	}
	g.log.Info("reloaded", "rules", report.Rules.String(), "notifiers", report.Notifiers.String(),
		"urls", report.URLs.String(), "probes", report.Probes.String(),
		"alerts_kept", report.Alerts, "keys_kept", report.Keys, "pause_seconds", report.PauseSeconds)
	if len(report.Restart) > 0 {
		g.log.Warn("these keys changed too, and wait for a restart",
			"keys", strings.Join(report.Restart, ", "))
	}
	for _, warning := range report.Warnings {
		g.log.Warn("reload", "warning", warning)
	}
	return report, nil
}

func (g *Gateway) isStopping() bool {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	return g.stopping
}

// apply puts the notifiers and rules of a setup in the place of those that run: first the notifiers that are
// new, so that each action finds its own; then the rules; then, when the old rules' last words have been
// said, the rest of the notifiers.
func (g *Gateway) apply(setup *Setup) (*telemetry.Reload, error) {
	configs, err := g.notifyConfigs(setup.Config)
	if err != nil {
		return nil, err
	}
	notifiers, err := g.notifiers.PrepareReload(configs)
	if err != nil {
		return nil, err
	}
	before, next := g.rules.current(), setup.Rules
	departures, retired := g.departuresOf(setup)
	urls := g.urlChanges(setup.Config)
	report := &telemetry.Reload{Rules: differenceOf(next.Compare(before)),
		Restart: g.waiting(setup.Config, urls),
		Notifiers: telemetry.Difference{Added: notifiers.Added, Changed: notifiers.Changed,
			Removed: notifiers.Removed, Kept: notifiers.Kept}}
	ctx, cancel := context.WithTimeout(context.Background(), notifyTime)
	defer cancel()
	notifiers.Begin()
	if next.ID() != before.ID() || len(retired) > 0 {
		if err := g.swapRules(next, departures, report); err != nil {
			return nil, errors.Join(err, notifiers.Undo(ctx))
		}
	} else {
		report.Alerts, report.Keys = g.stateKept()
	}
	for _, w := range retired {
		w.retired = true
	}
	if err := notifiers.Finish(ctx); err != nil {
		report.Warnings = append(report.Warnings, err.Error())
	}
	g.reloadURLs(urls, report)
	probes, warnings := g.probes.change(&setup.Config.Probes, g.workers)
	report.Probes, report.Warnings = probes, append(report.Warnings, warnings...)
	g.reloadCardTimes(&setup.Config.Probes, report)
	if g.checkpoints.dir == "" && next.Len() > 0 && before.Len() == 0 {
		if err := g.openCheckpoints(); err != nil {
			report.Warnings = append(report.Warnings, err.Error())
		}
		g.checkpoints.found = nil // of some other time
	}
	report.Fill()
	return report, nil
}

// swapRules gives the workers their new rules and waits until what the old ones said is with the notifiers.
func (g *Gateway) swapRules(next *rules.Set, departures [][]bool, report *telemetry.Reload) error {
	g.rules.begin(next)
	done, err := dataplane.ReloadRules(g.workers, next, departures)
	if done == nil {
		g.rules.takeBack()
		return err
	}
	if err != nil {
		report.Warnings = append(report.Warnings, fmt.Sprintf("some state of rules is lost: %v", err))
	}
	report.Alerts, report.Keys = done.Kept.Alerts, done.Kept.Keys
	report.PauseSeconds = done.Pause.Seconds()
	for limit := time.Now().Add(carryTime); !g.haveCarried(done.Forwarded); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			report.Warnings = append(report.Warnings,
				"the notifiers are slow to take the old rules' last changes")
			break
		}
	}
	return nil
}

// haveCarried tells whether as many state changes of each worker went to the notifiers.
func (g *Gateway) haveCarried(changes []uint64) bool {
	for i, n := range changes {
		if g.carried[i].Load() < n {
			return false
		}
	}
	return true
}

// stateKept counts what the rules remember.
func (g *Gateway) stateKept() (alerts, keys int) {
	for _, w := range g.workers {
		counts, err := w.RuleCounts()
		if err != nil {
			continue
		}
		for i := range counts.Rules {
			alerts += counts.Rules[i].Firing + counts.Rules[i].Pending
		}
		for i := range counts.Groups {
			keys += counts.Groups[i].Keys
		}
	}
	return alerts, keys
}

// waiting are the keys of a configuration that differ from what the gateway was started with and that a
// reload does not apply.
func (g *Gateway) waiting(c *config.Config, urls []*urlChange) []string {
	keys := config.Differences(g.options.Config, c)
	for i, change := range urls {
		if applied := urlsKey(i); change != nil && change.refused == "" {
			// One of a list that is as long as before is named by its place.
			keys = slices.DeleteFunc(keys, func(key string) bool {
				return key == applied || strings.HasPrefix(key, applied+"[") ||
					key == fmt.Sprintf("sinks[%d].on_remove", i)
			})
		}
	}
	keys = slices.DeleteFunc(keys, func(key string) bool {
		return key == "notifiers" || strings.HasPrefix(key, "notifiers[") || key == "rules.files" ||
			strings.HasPrefix(key, "probes.")
	})
	for i := range c.Notifiers {
		n := &c.Notifiers[i]
		departs := slices.ContainsFunc(g.ways, func(w *way) bool { return !w.retired && w.serves(n) })
		if n.Via == viaXDP && !departs {
			keys = append(keys, fmt.Sprintf("notifiers[%d].via", i))
		}
	}
	return keys
}

// departuresOf is, for each way, which of the new rules' alerts may leave by it, and the ways that are of no
// use from now on, since their notifiers are gone or others: alerts leave by the kernel's socket then.
func (g *Gateway) departuresOf(setup *Setup) (named [][]bool, retired []*way) {
	for _, w := range g.ways {
		i := slices.IndexFunc(setup.Config.Notifiers, func(n config.Notifier) bool { return w.serves(&n) })
		if i < 0 || w.retired {
			named = append(named, make([]bool, setup.Rules.Len()))
			if !w.retired {
				retired = append(retired, w)
			}
			continue
		}
		named = append(named, namedBy(setup.Rules, w.notifier))
	}
	return named, retired
}

func differenceOf(c rules.Changes) telemetry.Difference {
	return telemetry.Difference{Added: c.Added, Changed: c.Changed, Removed: c.Removed, Kept: c.Kept}
}
