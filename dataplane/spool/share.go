package spool

import (
	"maps"
	"slices"
)

// Share is what a Log counted of one tenant since Open, and its caller does not know itself. The sums over
// all shares are what Stats has.
type Share struct {
	// Restored are points that were found waiting at Open.
	Restored uint64
	// Dropped are points whose segment gave way, Corrupt those in records that do not hold any more.
	Dropped, Corrupt uint64
}

// Shares are those of Config.Tenants in their order, and behind them that of records that name none of them.
// The slice is the Log's, and changes with it.
func (l *Log) Shares() []Share { return l.shares }

// openShares makes the shares.
func (l *Log) openShares() {
	l.tenants, l.shares = map[string]int{}, make([]Share, len(l.config.Tenants)+1)
	for i, name := range l.config.Tenants {
		l.tenants[name] = i
	}
}

// tenantOf is the place of a record's tenant in the shares.
func (l *Log) tenantOf(name string) int {
	if i, ok := l.tenants[name]; ok {
		return i
	}
	return len(l.shares) - 1
}

// wait lets a record of a segment wait.
func (l *Log) wait(s *segment, tenant, points int) {
	s.waiting.add(points)
	if s.shares == nil {
		s.shares = make([]int, len(l.shares))
	}
	s.shares[tenant] += points
}

// waitNoMore takes a record off those of a segment that wait, and returns whose it was: the named tenant's
// if that can be, else somebody's who has as many points there. Only a name that was damaged on disk can be
// wrong; where it has led astray, what is missing is taken wherever it is, so that the sums hold.
func waitNoMore(s *segment, tenant, points int) int {
	s.waiting.take(points)
	if s.shares[tenant] < points {
		if i := slices.IndexFunc(s.shares, func(n int) bool { return n >= points }); i >= 0 {
			tenant = i
		}
	}
	for i := tenant; points > 0; i = (i + 1) % len(s.shares) {
		n := min(points, s.shares[i])
		s.shares[i] -= n
		points -= n
	}
	return tenant
}

// giveUp lets nothing of a segment wait any more and returns how many points did, by tenant.
func (l *Log) giveUp(s *segment) []int {
	shares := s.shares
	s.waiting, s.shares = amount{}, nil
	maps.DeleteFunc(l.parts, func(sequence uint64, _ progress) bool {
		return sequence >= s.first && sequence < s.end
	})
	return shares
}
