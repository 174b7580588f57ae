package spool

import "slices"

// sequences are the numbers from from up to, not including, to.
type sequences struct{ from, to uint64 }

// ranges is a set of sequences as stretches, ascending, that neither touch nor overlap. Records are mostly
// acknowledged in order, so that there are few.
type ranges []sequences

// search finds the first stretch that ends behind n.
func (r ranges) search(n uint64) int {
	i, _ := slices.BinarySearchFunc(r, n, func(s sequences, n uint64) int {
		if s.to <= n {
			return -1
		}
		return 1
	})
	return i
}

// has tells whether n is in the set.
func (r ranges) has(n uint64) bool {
	i := r.search(n)
	return i < len(r) && r[i].from <= n
}

// add puts a stretch into the set.
func (r ranges) add(s sequences) ranges {
	if s.from >= s.to {
		return r
	}
	// All that touch the new stretch become one with it.
	first := 0
	if s.from > 0 {
		first = r.search(s.from - 1)
	}
	last := first
	for last < len(r) && r[last].from <= s.to {
		s.from, s.to = min(s.from, r[last].from), max(s.to, r[last].to)
		last++
	}
	return slices.Replace(r, first, last, s)
}
