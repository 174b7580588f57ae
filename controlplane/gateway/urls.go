package gateway

import (
	"errors"
	"fmt"
	"slices"

	"culvert/controlplane/config"
	"culvert/controlplane/telemetry"
	"culvert/dataplane"
)

// urlChange is what a reload makes of one sink's urls.
type urlChange struct {
	sink    *sink
	urls    []string  // as they are to be, in their order
	leaving []leaving // by URL that there is
	added   []string  // URLs that were never there
	// refused is why all of it waits for a restart, in plain words; empty if it does not.
	refused string
	// note is what a user may not expect of it, in plain words; empty if there is nothing.
	note string
}

// urlChanges are, by sink, what a reload makes of its urls: nil where the sinks are not those that run.
// Points go where workers have lanes. So a URL that is new gets one on each of them first, and one that
// leaves keeps its own, and its spooler, until the gateway ends.
func (g *Gateway) urlChanges(c *config.Config) []*urlChange {
	changes := make([]*urlChange, len(g.sinks))
	if len(c.Sinks) != len(g.sinks) {
		return changes
	}
	all := len(g.targets)
	for i, s := range g.sinks {
		next := &c.Sinks[i]
		if next.Name != s.config.Name {
			continue
		}
		change := g.urlChangeOf(s, next)
		changes[i] = change
		if len(change.added) == 0 {
			continue
		}
		all += len(change.added)
		if all > dataplane.LanesMax {
			change.refuse("there would be more than %d since the start", dataplane.LanesMax)
		}
		if g.spools.dir != "" && g.spoolShareOf(all) < 2*int64(g.options.Config.Spool.Segment) {
			change.refuse("spool.max has no room for two segments of each of %d since the start", all)
		}
	}
	return changes
}

// urlChangeOf is what a reload makes of a sink's urls.
func (g *Gateway) urlChangeOf(s *sink, next *config.Sink) *urlChange {
	change := &urlChange{sink: s, urls: next.URLs}
	before := s.deals.all(len(s.targets))
	for i, t := range s.targets {
		now := stays
		if !slices.Contains(next.URLs, t.url) {
			now = s.leavingBy(next.OnRemove)
		}
		if now == rehashes && g.keepsOrder(s) && (before[i] == keeps || before[i] == drains) {
			// The others have newer points of its series by now.
			if now = before[i]; g.waitsFor(t) {
				change.note = fmt.Sprintf("sink %q: with order: series, what waits for %s stays: it left "+
					"before, and the others have newer points", s.config.Name, t.shownURL())
			}
		}
		change.leaving = append(change.leaving, now)
	}
	for _, url := range next.URLs {
		if !slices.ContainsFunc(s.targets, func(t *sinkTarget) bool { return t.url == url }) {
			change.added = append(change.added, url)
		}
	}
	if next.Routing != s.config.Routing && !slices.Equal(next.URLs, s.inOrder()) {
		change.refuse("the sink's routing changes with them, and that takes one")
	}
	differs := !slices.Equal(next.URLs, s.inOrder()) || !slices.Equal(change.leaving, before)
	if differs && g.keepsOrder(s) {
		if t := g.partingFrom(s, before); t != nil {
			change.refuse("with order: series, what waits for %s goes to the others first; reload once that "+
				"is over", t.shownURL())
		}
	}
	for _, url := range change.added {
		g.mayCome(s, url, change)
	}
	return change
}

// keepsOrder tells whether no write may pass an older one of its series, wherever that waits.
func (g *Gateway) keepsOrder(s *sink) bool {
	return s.config.Order == orderSeries && g.spools.dir != ""
}

// waitsFor tells whether something waits in a URL's spool.
func (g *Gateway) waitsFor(t *sinkTarget) bool {
	spooler := g.spoolerOf(t)
	if spooler == nil {
		return false
	}
	state := spooler.State()
	return state.Pending() > 0
}

// partingFrom is a URL that has left and whose points, or series, are not all with the others yet; or nil.
func (g *Gateway) partingFrom(s *sink, before []leaving) *sinkTarget {
	for i, t := range s.targets {
		if before[i] != rehashes {
			continue
		}
		for _, w := range g.workers {
			if parts, err := w.Parting(t.lane); err != nil || parts {
				return t
			}
		}
		if g.waitsFor(t) {
			return t
		}
	}
	return nil
}

// mayCome refuses a URL whose place on disk another one has.
func (g *Gateway) mayCome(s *sink, url string, change *urlChange) {
	t := &sinkTarget{config: s.config, url: url}
	shown := t.shownURL()
	same := func(one *sinkTarget) bool { return one.config == s.config && one.shownURL() == shown }
	if slices.ContainsFunc(s.targets, same) {
		change.refuse("%s is another way to write one that was there since the start", url)
	}
	for _, d := range g.spools.draining {
		if !d.done.Load() && d.isBack(t) {
			change.refuse("%s still gets what waited for it at the start; reload once that is over", shown)
		}
	}
}

func (c *urlChange) refuse(format string, arguments ...any) {
	if c.refused == "" {
		c.refused = fmt.Sprintf("sink %q: its urls wait for a restart: ", c.sink.config.Name) +
			fmt.Sprintf(format, arguments...)
	}
}

// changeURLs applies what a reload makes of all sinks' urls and says what became of each. A sink to which not
// all could be added stays as it is, and its change is refused.
func (g *Gateway) changeURLs(changes []*urlChange) (d telemetry.Difference, err error) {
	for i, s := range g.sinks {
		known := len(s.targets)
		before, was := s.deals.all(known), *s.order.Load()
		next, order := slices.Clone(before), was
		if change := changes[i]; change != nil && change.refused == "" {
			for _, url := range change.added {
				if err := g.addURL(s, url); err != nil {
					change.refuse("add %s: %v", (&sinkTarget{url: url}).shownURL(), err)
					break
				}
			}
			if change.refused == "" {
				next, order = change.leaving, s.placesOf(change.urls)
			}
			// Those that were added before one that could not be are as if they had left.
			for range s.targets[known:] {
				now := stays
				if change.refused != "" {
					now = drains
				}
				before, next = append(before, drains), append(next, now)
			}
		}
		if len(next) > known || !slices.Equal(before, next) || !slices.Equal(was, order) {
			err = errors.Join(err, g.turnURLs(s, before, next, order))
		}
		s.tell(&d, was, order)
	}
	return d, err
}

// tell says which URLs get points now and did not before, the other way round, and both: those with another
// place in the order, where that matters, as changed.
func (s *sink) tell(d *telemetry.Difference, was, order []int) {
	both := func(places, others []int) []int {
		return slices.DeleteFunc(slices.Clone(places), func(place int) bool {
			return !slices.Contains(others, place)
		})
	}
	from, to := both(was, order), both(order, was)
	for place, t := range s.targets {
		name := s.config.Name + " " + t.shownURL()
		switch at := slices.Index(to, place); {
		case at >= 0 && at != slices.Index(from, place) &&
			routingOf(s.config.Routing) == dataplane.RoutingFailover:
			d.Changed = append(d.Changed, name)
		case at >= 0:
			d.Kept = append(d.Kept, name)
		case slices.Contains(order, place):
			d.Added = append(d.Added, name)
		case slices.Contains(was, place):
			d.Removed = append(d.Removed, name)
		}
	}
}

// reloadURLs applies what there is to apply of the sinks' urls, and says why the rest waits for a restart.
func (g *Gateway) reloadURLs(changes []*urlChange, report *telemetry.Reload) {
	asked := make([]bool, len(changes)) // refused from the beginning: the keys are named already
	for i, c := range changes {
		asked[i] = c != nil && c.refused != ""
	}
	var err error
	if report.URLs, err = g.changeURLs(changes); err != nil {
		report.Warnings = append(report.Warnings, err.Error())
	}
	for i, c := range changes {
		if c != nil && c.note != "" {
			report.Warnings = append(report.Warnings, c.note)
		}
		if c == nil || c.refused == "" {
			continue
		}
		report.Warnings = append(report.Warnings, c.refused)
		if !asked[i] {
			report.Restart = append(report.Restart, urlsKey(i))
		}
	}
}

// urlsKey is the key of a sink's urls.
func urlsKey(sink int) string { return fmt.Sprintf("sinks[%d].urls", sink) }

// turnURLs lets URLs of a sink come, leave and come back, and have these places, workers and spoolers
// together.
func (g *Gateway) turnURLs(s *sink, before, next []leaving, order []int) (err error) {
	turn := func(t *sinkTarget, mode dataplane.SpoolMode, heirs dataplane.Heirs) {
		if spooler := g.spoolerOf(t); spooler != nil {
			spooler.Turn(mode, heirs)
		}
	}
	workers := func(each func(w *dataplane.Worker) error) {
		for _, w := range g.workers {
			err = errors.Join(err, each(w))
		}
	}
	for i, t := range s.targets {
		if !before[i].sends() && next[i].sends() {
			workers(func(w *dataplane.Worker) error { return w.ReturnURL(t.lane) })
			turn(t, dataplane.SpoolDeliver, dataplane.Heirs{})
		}
	}
	for i, t := range s.targets {
		if g.keepsOrder(s) && before[i] == stays && next[i] == rehashes {
			workers(func(w *dataplane.Worker) error { return w.PartURL(t.lane) })
		}
	}
	if partErr := s.part(next, order); partErr != nil {
		return errors.Join(err, fmt.Errorf("share out the series of sink %q: %w", s.config.Name, partErr))
	}
	workers((*dataplane.Worker).Reroute)
	for i, t := range s.targets {
		if before[i].sends() && !next[i].sends() {
			// Nothing new comes to it from here on.
			workers(func(w *dataplane.Worker) error { return w.LeaveURL(t.lane) })
		}
		switch next[i] {
		case rehashes:
			turn(t, dataplane.SpoolGive, g.heirsOf(s))
		case keeps:
			turn(t, dataplane.SpoolKeep, dataplane.Heirs{})
		}
	}
	return err
}

// heirsOf are who gets what waits for URLs of a sink that leave: those that own its series now, or with
// failover the first in order, as with a start.
func (g *Gateway) heirsOf(s *sink) dataplane.Heirs {
	order := *s.order.Load()
	if routingOf(s.config.Routing) == dataplane.RoutingFailover {
		return dataplane.Heirs{Spoolers: []*dataplane.Spooler{g.spoolerOf(s.targets[order[0]])}}
	}
	heirs := dataplane.Heirs{Spoolers: make([]*dataplane.Spooler, len(s.targets)), Table: &s.table}
	for _, place := range order {
		heirs.Spoolers[place] = g.spoolerOf(s.targets[place])
	}
	return heirs
}
