package dataplane

// SpoolShare is one tenant's part of what a spooler answers for, or all of it: the terms of SpoolerState.
type SpoolShare struct {
	// Restored are points that the spool held at start, Taken those that came from workers.
	Restored, Taken uint64
	// Replayed were delivered, Rejected refused by the server for good.
	Replayed uint64
	// Moved went to the spools of other URLs, Adopted came from such.
	Moved, Adopted uint64
	Rejected       [SinkRejects]uint64
	Dropped        [Drops]uint64
}

// Add adds another URL's share to this.
func (s *SpoolShare) Add(other *SpoolShare) {
	s.Restored += other.Restored
	s.Taken += other.Taken
	s.Replayed += other.Replayed
	s.Moved += other.Moved
	s.Adopted += other.Adopted
	for i, n := range other.Rejected {
		s.Rejected[i] += n
	}
	for i, n := range other.Dropped {
		s.Dropped[i] += n
	}
}

// Pending is as SpoolerState's. Only where the disk has damaged a record's tenant can it be wrong.
func (s *SpoolShare) Pending() uint64 {
	in := s.Restored + s.Taken + s.Adopted
	out := s.Replayed + s.Moved + total(s.Rejected[:]) + total(s.Dropped[:])
	return in - min(in, out)
}

// tenantOf is the place in the shares of the tenant that a record names.
func (s *Spooler) tenantOf(name string) int {
	for i, known := range s.config.Tenants {
		if name == known {
			return i
		}
	}
	return len(s.config.Tenants)
}

// placeOf is the place in the shares of a worker's tenant.
func (s *Spooler) placeOf(tenant int) int { return min(tenant, len(s.config.Tenants)) }

// nameOf is how records name the tenant of a place.
func (s *Spooler) nameOf(place int) string {
	if place < len(s.config.Tenants) {
		return s.config.Tenants[place]
	}
	return ""
}

// showShares puts the shares together with what the log knows alone, into the memory of the last time.
func (s *Spooler) showShares(shown []SpoolShare) []SpoolShare {
	copy(shown, s.shares)
	if s.log == nil {
		return shown
	}
	for i, one := range s.log.Shares() {
		shown[i].Restored = one.Restored
		shown[i].Dropped[DropSpoolFull] += one.Dropped
		shown[i].Dropped[DropCorrupt] += one.Corrupt
	}
	return shown
}

// Join adds what a spooler of the same URL has done that ended before this one began.
func (s *SpoolerState) Join(before SpoolerState) {
	s.Add(&before.SpoolShare)
	for i := range s.Shares {
		s.Shares[i].Add(&before.Shares[i])
	}
	s.DiskFailures += before.DiskFailures
}
