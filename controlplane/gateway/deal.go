package gateway

import (
	"slices"
	"sync"

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

// leavingBy is what a sink's on_remove asks for.
func leavingBy(onRemove string) leaving {
	switch onRemove {
	case "drain":
		return drains
	case "keep":
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

// part lets the series of URLs that leave go to the others, and those of the rest be where they are or were.
func (s *sink) part(leaving []leaving) error {
	s.deals.mutex.Lock()
	defer s.deals.mutex.Unlock()
	s.deals.leaving = slices.Clone(leaving)
	return s.deal()
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
