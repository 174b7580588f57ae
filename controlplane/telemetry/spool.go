package telemetry

import (
	"time"

	"culvert/dataplane"
)

// SpoolStatus is what waits for one URL.
type SpoolStatus struct {
	Restored      uint64  `json:"restored"` // points that were found at start
	Spooled       uint64  `json:"spooled"`  // points that workers handed over since
	Replayed      uint64  `json:"replayed"` // points of all that were delivered
	Adopted       uint64  `json:"adopted"`  // points taken over from the spools of other URLs
	Moved         uint64  `json:"moved"`    // points given to the spools of other URLs
	Pending       uint64  `json:"pending"`
	Bytes         int64   `json:"bytes"`
	Segments      int     `json:"segments"`
	OldestSeconds float64 `json:"oldest_seconds"` // how long the oldest point has waited, about
	// DiskPoints are in the files, and outlive a kill. The rest of Pending is on its way there or in memory.
	DiskPoints uint64 `json:"disk_points"`
	// MemoryPoints are in memory since the disk takes nothing; DiskFailures counts what it refused.
	MemoryPoints uint64 `json:"memory_points"`
	DiskFailures uint64 `json:"disk_failures"`
	DiskError    string `json:"disk_error,omitempty"`
	// ReplayError is why nothing is delivered now.
	ReplayError string `json:"replay_error,omitempty"`
	// Skipped counts stretches of segments that are no record any more, KeptBytes what was kept aside for it.
	Skipped   uint64 `json:"skipped"`
	KeptBytes int64  `json:"kept_bytes"`
}

// spoolOf is the state of a URL's spooler as the ledger sees it: what workers have handed over counts as
// taken, also while it is on its way. All is zero where no spool is kept.
func (s *Sink) spoolOf() dataplane.SpoolerState {
	if s.Spool == nil {
		return dataplane.SpoolerState{}
	}
	state := *s.Spool
	state.Taken = s.Points.Spooled
	return state
}

// spools are all spoolers' terms of the ledger together. taken is what all workers handed over.
func (s *Snapshot) spools(taken uint64) dataplane.SpoolerState {
	var sum dataplane.SpoolerState
	for i := range s.Sinks {
		one := s.Sinks[i].spoolOf()
		sum.Add(&one.SpoolShare)
	}
	sum.Taken = taken
	// What went from one to another is nowhere else, and the states are not of one moment.
	sum.Moved, sum.Adopted = 0, 0
	return sum
}

// settled are a lane's counters with what its spooler has settled.
func (s *Sink) settled() dataplane.LaneCounters {
	c, spool := s.Points, s.spoolOf()
	c.Written += spool.Replayed
	c.Moved += spool.Moved
	for i, n := range spool.Rejected {
		c.Rejected[i] += n
	}
	for i, n := range spool.Dropped {
		c.Dropped[i] += n
	}
	return c
}

// oldest is how long the oldest point has waited.
func oldest(spool *dataplane.SpoolerState, now time.Time) time.Duration {
	if spool.Disk.Oldest == 0 {
		return 0
	}
	return max(now.Sub(time.Unix(0, spool.Disk.Oldest)), 0)
}

func spoolStatus(s *Sink, now time.Time) *SpoolStatus {
	if s.Spool == nil {
		return nil
	}
	spool := s.spoolOf()
	return &SpoolStatus{
		Restored: spool.Restored, Spooled: spool.Taken, Replayed: spool.Replayed, Pending: spool.Pending(),
		Adopted: spool.Adopted, Moved: spool.Moved,
		Bytes: spool.Disk.Bytes, Segments: spool.Disk.Segments,
		OldestSeconds: oldest(&spool, now).Seconds(), MemoryPoints: spool.MemoryPoints,
		DiskPoints:   spool.Disk.Waiting + spool.Disk.Out,
		DiskFailures: spool.DiskFailures, DiskError: spool.DiskError, ReplayError: spool.ReplayError,
		Skipped: spool.Disk.Skipped, KeptBytes: spool.Disk.BadBytes,
	}
}

// spools writes what waits on disk, by sink, and for all together.
func (w *writer) spools() {
	f := w.families
	type sums struct{ spooled, replayed, restored, pending, failures uint64 }
	bySink, names := map[string]*sums{}, []string(nil)
	var bytes int64
	var longest time.Duration
	for i := range w.snapshot.Sinks {
		s := &w.snapshot.Sinks[i]
		if s.Spool == nil {
			continue
		}
		spool := s.spoolOf()
		sum := bySink[s.Name]
		if sum == nil {
			sum = new(sums)
			bySink[s.Name], names = sum, append(names, s.Name)
		}
		sum.spooled += spool.Taken
		sum.replayed += spool.Replayed
		sum.restored += spool.Restored
		// As in the ledger. Of one URL this may be less than nothing; the sum is not, and takes no harm.
		spool.Moved, spool.Adopted = 0, 0
		sum.pending += spool.Pending()
		sum.failures += spool.DiskFailures
		bytes += spool.Disk.Bytes
		longest = max(longest, oldest(&spool, w.snapshot.Taken))
	}
	for _, name := range names {
		sum := bySink[name]
		if !f.byTenant {
			w.counter(f.pointsSpooled, sum.spooled, name)
			w.counter(f.pointsReplayed, sum.replayed, name)
			w.counter(f.pointsRestored, sum.restored, name)
			w.gauge(f.spoolPending, float64(sum.pending), name)
		}
		w.counter(f.spoolFailures, sum.failures, name)
	}
	if len(names) > 0 {
		w.gauge(f.spoolBytes, float64(bytes))
		w.gauge(f.spoolOldest, longest.Seconds())
	}
}

func (f *families) spool() {
	f.pointsSpooled = f.addPoints("points_spooled_total",
		"Points that went to the spool since the sink did not take them.", "sink")
	f.pointsReplayed = f.addPoints("points_replayed_total",
		"Points of the spool that the database acknowledged; culvert_points_written_total has them too.",
		"sink")
	f.pointsRestored = f.addPoints("points_restored_total", "Points that the spool held at start.", "sink")
	f.spoolPending = f.addPoints("points_spool_pending",
		"Points in the spool. One that only grows: the sink is away, or slower than what comes.", "sink")
	f.spoolFailures = f.add("spool_disk_failures_total",
		"Times the disk refused what was to be spooled, or an fsync failed. What cannot be delivered is "+
			"then kept in memory, as long and as much as fits: mend the disk.", "sink")
	f.spoolBytes = f.add("spool_bytes", "What the spool's files take. At spool.max, points are dropped.")
	f.spoolOldest = f.add("spool_oldest_seconds", "About how long the oldest point in the spool has waited.")
}
