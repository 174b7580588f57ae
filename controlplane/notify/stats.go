package notify

import "maps"

// Stats are one notifier's counters, in changes of alerts. With several URLs they are the sums over all,
// ByRule excepted, which is that of the URL that got most.
//
// Offered is the sum of Delivered, Deduplicated, Superseded, Lost and Queued.
type Stats struct {
	Name, Type   string
	Offered      uint64 // came from the rules
	Delivered    uint64
	Deduplicated uint64 // said what the receiver knew already
	Superseded   uint64 // a newer state of the same alert came before it could leave
	Refused      uint64 // the receiver will never take them
	NoRoom       uint64 // more alerts than are kept track of
	Left         uint64 // not delivered when the gateway stopped
	Queued       uint64 // waiting or on their way now

	Overflowed uint64 // found the queue of history full; some of them are superseded later
	Limited    uint64 // had to wait for the rule's limit
	Refreshed  uint64 // firing alerts that were told again
	Retries    uint64 // attempts that failed and were or will be made again, in messages
	Keys       uint64 // alerts that are kept track of now

	ByRule map[string]uint64 // delivered, by rule
}

// Lost is what will never be delivered.
func (s *Stats) Lost() uint64 { return s.Refused + s.NoRoom + s.Left }

// Stats are the counters of all notifiers, in the order of the configuration.
func (n *Notifiers) Stats() []Stats {
	var all []Stats
	list := n.table.Load().list
	for i, one := range list {
		if i == 0 || list[i-1].config.Name != one.config.Name {
			all = append(all, Stats{Name: one.config.Name, Type: one.config.Type,
				ByRule: map[string]uint64{}})
		}
		one.addTo(&all[len(all)-1])
	}
	return all
}

func (one *notifier) addTo(s *Stats) {
	one.mutex.Lock()
	defer one.mutex.Unlock()
	c := &one.queue.counts
	s.Offered += c.offered
	s.Delivered += c.delivered
	s.Deduplicated += c.deduplicated
	s.Superseded += c.superseded
	s.Refused += c.refused
	s.NoRoom += c.noRoom
	s.Left += c.left
	s.Queued += uint64(one.queue.waiting())
	s.Overflowed += c.overflowed
	s.Limited += c.limited
	s.Refreshed += c.refreshed
	s.Retries += c.retries
	s.Keys += uint64(len(one.queue.entries))
	delivered := uint64(0)
	for _, count := range c.byRule {
		delivered += count
	}
	shown := uint64(0)
	for _, count := range s.ByRule {
		shown += count
	}
	if delivered >= shown {
		s.ByRule = maps.Clone(c.byRule)
	}
}
