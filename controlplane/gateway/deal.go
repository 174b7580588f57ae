package gateway

import (
	"slices"
	"sync"

	"culvert/dataplane"
	"culvert/dataplane/shard"
)

// leaving is what becomes of a URL that its sink does not have any more.
type leaving uint8

const (
	// stays is a URL that the sink has.
	stays leaving = iota
	// drains is one that still gets what waits for it, and nothing new.
	drains
	// rehashes is one whose points go to the others, also those that wait.
	rehashes
	// keeps is one whose points wait until it is there again.
	keeps
)

// leavingBy is what an on_remove asks for. With replicate the others have what waits for a URL that leaves,
// so that it stays where it is.
func (s *sink) leavingBy(onRemove string) leaving {
	switch {
	case onRemove == "drain":
		return drains
	case onRemove == "keep" || routingOf(s.config.Routing) == dataplane.RoutingReplicate:
		return keeps
	}
	return rehashes
}

// sends tells whether the URL is written to.
func (l leaving) sends() bool { return l == stays || l == drains }

// deals is who of a sink's servers gets series: load_aware and reloads change it, each by its own goroutine.
type deals struct {
	mutex   sync.Mutex // guards the sink's targets, too
	weights []int      // by URL, as its load asks for; one that has none yet has its whole share
	leaving []leaving  // by URL, what reloads made of it; one behind the end stays
}

// all tells of each of n URLs what reloads made of it.
func (d *deals) all(n int) []leaving {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	all := make([]leaving, n)
	copy(all, d.leaving)
	return all
}

// weigh shares a sink's series out anew by weights.
func (s *sink) weigh(weights []int) error {
	s.deals.mutex.Lock()
	defer s.deals.mutex.Unlock()
	s.deals.weights = slices.Clone(weights)
	return s.deal()
}

// part lets what comes for URLs that leave go to the others, in the order of their places, and the series of
// the rest be where they are or were.
func (s *sink) part(leaving []leaving, order []int) error {
	s.deals.mutex.Lock()
	defer s.deals.mutex.Unlock()
	s.deals.leaving = slices.Clone(leaving)
	if err := s.deal(); err != nil {
		return err
	}
	s.order.Store(&order)
	return nil
}

// deal makes the table; workers read the new one from their next turn on, and have lanes to all URLs that it
// names. The mutex of deals is held.
func (s *sink) deal() error {
	members := make([]shard.Member, len(s.targets))
	for i, t := range s.targets {
		members[i] = shard.Member{Name: t.url, Weight: shard.WeightMax}
		if i < len(s.deals.weights) {
			members[i].Weight = s.deals.weights[i]
		}
		if i < len(s.deals.leaving) && s.deals.leaving[i] != stays {
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

// urls are the sink's, those that leave included. A reload adds to them.
func (s *sink) urls() []*sinkTarget {
	s.deals.mutex.Lock()
	defer s.deals.mutex.Unlock()
	return s.targets
}

// placesOf are the places of URLs among the sink's, all of which it has. Only a start and a reload ask.
func (s *sink) placesOf(urls []string) []int {
	places := make([]int, len(urls))
	for i, url := range urls {
		places[i] = slices.IndexFunc(s.targets, func(t *sinkTarget) bool { return t.url == url })
	}
	return places
}

// inOrder are the URLs that get points now, in the order of the configuration.
func (s *sink) inOrder() []string {
	urls, order := s.urls(), *s.order.Load()
	names := make([]string, len(order))
	for i, place := range order {
		names[i] = urls[place].url
	}
	return names
}
