package dataplane

import "sync/atomic"

// seriesSet is a tenant's series, of which it may have so many. All workers share it, so that a series counts
// once wherever its points come in. Reading is one load a point where the series is known; only a new series
// is written.
//
// A series that sends nothing for an age, or two at most, is forgotten: see turnAge.
type seriesSet struct {
	limit int64
	age   atomic.Pointer[seriesAge]
}

// seriesAge is what was seen lately. A series is known if it is in either table; those that are only in the
// older one are moved to the newer one when they come again.
type seriesAge struct {
	newer, older *seriesTable
	_            [128]byte
	known        atomic.Int64 // in either table
	_            [128]byte
}

func newSeriesSet(limit int) *seriesSet {
	s := &seriesSet{limit: int64(limit)}
	s.age.Store(&seriesAge{newer: newSeriesTable(limit), older: newSeriesTable(0)})
	return s
}

// admit tells whether a point of the series may pass. Where the series is new it takes a place, if there is
// one.
func (s *seriesSet) admit(hash uint64) bool {
	hash |= 1 // 0 is an empty slot
	age := s.age.Load()
	if age.newer.has(hash) {
		return true
	}
	if age.older.has(hash) {
		age.newer.add(hash)
		return true
	}
	// Read first: senders of ever new series shall not make workers write to one word.
	if age.known.Load() >= s.limit {
		return false
	}
	if age.known.Add(1) > s.limit || !age.newer.add(hash) {
		// No place any more, or another worker was faster with the same series.
		age.known.Add(-1)
		return age.newer.has(hash)
	}
	return true
}

// turnAge lets the series go that did not come since the age before. The control plane calls it; what workers
// admit in the same moment is kept, as they still write to what is the older table then.
func (s *seriesSet) turnAge() {
	before := s.age.Load()
	next := &seriesAge{newer: newSeriesTable(int(s.limit)), older: before.newer}
	next.known.Store(before.newer.count())
	s.age.Store(next)
}

// seriesTable is an open hash table that only grows fuller: hashes are put into the first empty slot from
// their own on.
type seriesTable struct {
	slots []atomic.Uint64 // a power of two of them, at least twice as many as there can be hashes
}

// tableSlack is for what workers put into the older table after it was counted: one series each at most, and
// there are fewer workers.
const tableSlack = 1024

func newSeriesTable(limit int) *seriesTable {
	size := 1
	for size < 2*(limit+tableSlack) {
		size *= 2
	}
	return &seriesTable{slots: make([]atomic.Uint64, size)}
}

func (t *seriesTable) has(hash uint64) bool {
	mask := uint64(len(t.slots) - 1)
	for i := hash >> 1 & mask; ; i = (i + 1) & mask {
		switch t.slots[i].Load() {
		case hash:
			return true
		case 0:
			return false
		}
	}
}

// add is false if the hash is there already.
func (t *seriesTable) add(hash uint64) bool {
	mask := uint64(len(t.slots) - 1)
	for i := hash >> 1 & mask; ; {
		switch there := t.slots[i].Load(); {
		case there == hash:
			return false
		case there != 0:
			i = (i + 1) & mask
		case t.slots[i].CompareAndSwap(0, hash):
			return true
		}
	}
}

// count walks over the whole table.
func (t *seriesTable) count() (n int64) {
	for i := range t.slots {
		if t.slots[i].Load() != 0 {
			n++
		}
	}
	return n
}
