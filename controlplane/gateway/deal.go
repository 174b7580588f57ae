package gateway

import (
	"errors"
	"fmt"
	"slices"
	"sync"

	"culvert/controlplane/config"
	"culvert/controlplane/telemetry"
	"culvert/dataplane/shard"
)

// deals is who of a sink's servers gets series: load_aware and reloads change it, each by its own goroutine.
type deals struct {
	mutex   sync.Mutex
	weights []int  // by URL, as its load asks for; nil: all alike
	removed []bool // by URL, what reloads took out; nil: none. It is replaced, never written to.
}

// all tells of each of n URLs whether a reload took it out.
func (d *deals) all(n int) []bool {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.removed == nil {
		return make([]bool, n)
	}
	return d.removed
}

// weigh shares a sink's series out anew by weights.
func (s *sink) weigh(weights []int) error {
	s.deals.mutex.Lock()
	defer s.deals.mutex.Unlock()
	s.deals.weights = slices.Clone(weights)
	return s.deal()
}

// remove lets the series of some URLs go to the others, and those of the rest be where they are or were.
func (s *sink) remove(removed []bool) error {
	s.deals.mutex.Lock()
	defer s.deals.mutex.Unlock()
	s.deals.removed = removed
	return s.deal()
}

// deal makes the table; workers read the new one from their next turn on. The mutex of deals is held.
func (s *sink) deal() error {
	members := Members(s.config)
	for i := range members {
		if s.deals.weights != nil {
			members[i].Weight = s.deals.weights[i]
		}
		if s.deals.removed != nil && s.deals.removed[i] {
			members[i].Weight = 0
		}
	}
	table, err := shard.NewTable(members)
	if err != nil {
		return err
	}
	s.table.Store(table)
	return nil
}

// urlChange is what a reload makes of one sink's urls.
type urlChange struct {
	sink    *sink
	removed []bool // by URL
}

// urlChanges are, by sink, what a reload makes of its urls without a restart: nil where it makes nothing.
// Series can only go where workers have lanes: URLs may leave and come back, one that is new waits for a
// restart. One that leaves is drained, so its lane and its spooler stay until the gateway ends.
func (g *Gateway) urlChanges(c *config.Config) []*urlChange {
	changes := make([]*urlChange, len(g.sinks))
	if len(c.Sinks) != len(g.sinks) {
		return changes
	}
	for i, s := range g.sinks {
		now, next := s.config, &c.Sinks[i]
		byTable := next.Routing == "hash" || next.Routing == "load_aware"
		isNew := func(url string) bool { return !slices.Contains(now.URLs, url) }
		if next.Name != now.Name || next.Routing != now.Routing || !byTable || now.OnRemove != "drain" ||
			next.OnRemove != "drain" || slices.ContainsFunc(next.URLs, isNew) {
			continue
		}
		change := &urlChange{sink: s, removed: make([]bool, len(now.URLs))}
		for j, url := range now.URLs {
			change.removed[j] = !slices.Contains(next.URLs, url)
		}
		changes[i] = change
	}
	return changes
}

// changeURLs applies what a reload makes of all sinks' urls and says what became of each.
func (g *Gateway) changeURLs(changes []*urlChange) (d telemetry.Difference, err error) {
	changed := false
	for i, s := range g.sinks {
		before := s.deals.all(len(s.targets))
		next := before
		if changes[i] != nil {
			next = changes[i].removed
		}
		if !slices.Equal(before, next) {
			if err := s.remove(next); err != nil {
				return d, fmt.Errorf("share out the series of sink %q: %w", s.config.Name, err)
			}
			changed = true
		}
		for j, t := range s.targets {
			name := s.config.Name + " " + t.shownURL()
			switch {
			case before[j] && !next[j]:
				d.Added = append(d.Added, name)
			case !before[j] && next[j]:
				d.Removed = append(d.Removed, name)
			case !next[j]:
				d.Kept = append(d.Kept, name)
			}
		}
	}
	if changed {
		for _, w := range g.workers {
			err = errors.Join(err, w.Reroute())
		}
	}
	return d, err
}
