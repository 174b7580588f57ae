package telemetry

import (
	"fmt"

	"culvert/dataplane"
	"culvert/dataplane/lineproto"
)

// Tenant is one tenant: where its points are, and what its limits cost it.
type Tenant struct {
	Name, Sink string
	Ledger     dataplane.TenantLedger
	// PacketsLimited are those dropped for its packet limits, in XDP programs and at the kernel's sockets.
	PacketsLimited uint64
	// Series are the distinct ones that count against SeriesLimit; both are 0 without such a limit.
	Series, SeriesLimit int
}

// HeavySeries is a series that many points belong to.
type HeavySeries struct {
	Tenant, Listener string
	Key              string
	Share            float64 // of all points of late, at least
}

// TenantStatus is one tenant. Its ledger's names are those of the gateway's.
type TenantStatus struct {
	Name           string `json:"name"`
	Sink           string `json:"sink"`
	Packets        uint64 `json:"packets"`
	PacketsLimited uint64 `json:"packets_limited"`
	Ledger         Ledger `json:"ledger"`
	Series         int    `json:"series,omitempty"`
	SeriesLimit    int    `json:"series_limit,omitempty"`
}

// HeavySeriesStatus is a series that many points of late belong to.
type HeavySeriesStatus struct {
	Tenant   string  `json:"tenant"`
	Listener string  `json:"listener"`
	Key      string  `json:"key"`
	Share    float64 `json:"share"` // of all points, at least
}

func tenantStatuses(s *Snapshot) []TenantStatus {
	list := []TenantStatus{}
	for i := range s.Tenants {
		t := &s.Tenants[i]
		list = append(list, TenantStatus{Name: t.Name, Sink: t.Sink, Packets: t.Ledger.Packets,
			PacketsLimited: t.PacketsLimited, Ledger: s.tenantLedger(i), Series: t.Series,
			SeriesLimit: t.SeriesLimit})
	}
	return list
}

// tenantLedger says of one tenant what newLedger says of all.
func (s *Snapshot) tenantLedger(tenant int) Ledger {
	t, spool := &s.Tenants[tenant].Ledger, s.tenantSpool(tenant)
	var c dataplane.Counters
	c.PointsReceived, c.PointsRejected, c.PointsFiltered = t.Received, t.Rejected, t.Filtered
	c.PointsDerived, c.PointsCopied = t.Derived, t.Copied
	c.PointsDropped, c.PointsSinkRejected = t.Lanes.Dropped, t.Lanes.Rejected
	c.PointsDropped[dataplane.DropPointsLimit] += t.PointsLimited
	c.PointsDropped[dataplane.DropSeriesLimit] += t.SeriesLimited
	c.PointsWritten, c.PointsInFlight = t.Lanes.Written, t.Lanes.InFlight
	c.PointsSpooled = t.Lanes.Spooled
	return newLedger(&Snapshot{Sinks: []Sink{{Spool: &spool}}}, &c)
}

// tenantSpool is what all spools have settled of a tenant's points. The only tenant has all, also what was of
// tenants that there are no more; of several none has that.
func (s *Snapshot) tenantSpool(tenant int) (state dataplane.SpoolerState) {
	var sum dataplane.SpoolShare
	for i := range s.Sinks {
		if s.Sinks[i].Spool == nil {
			continue
		}
		shares := s.Sinks[i].Spool.Shares
		for j := range shares {
			if j == tenant || len(s.Tenants) == 1 {
				sum.Add(&shares[j])
			}
		}
	}
	state.Restored, state.Replayed = sum.Restored, sum.Replayed
	state.Rejected, state.Dropped = sum.Rejected, sum.Dropped
	return state
}

func heavyStatuses(series []HeavySeries) []HeavySeriesStatus {
	list := []HeavySeriesStatus{}
	for _, s := range series {
		list = append(list, HeavySeriesStatus(s))
	}
	return list
}

// tenants writes a line a tenant where there are several, or where a limit has cost something.
func (p *page) tenants(tenants []TenantStatus) {
	limited := false
	for i := range tenants {
		limited = limited || tenants[i].PacketsLimited > 0 || tenants[i].SeriesLimit > 0
	}
	if len(tenants) < 2 && !limited {
		return
	}
	p.section("TENANT", "sink", fmt.Sprintf("%15s", "points"), fmt.Sprintf("%15s", "written"),
		fmt.Sprintf("%15s", "dropped"), fmt.Sprintf("%15s", "packets limited"))
	for i := range tenants {
		t := &tenants[i]
		p.line("  "+t.Name, t.Sink, right(t.Ledger.Received), right(t.Ledger.Written),
			right(sum(t.Ledger.Dropped)), right(t.PacketsLimited))
		if len(t.Ledger.Dropped) > 0 || t.Ledger.Residue != 0 {
			p.line("    dropped: " + listed(t.Ledger.Dropped) + unbalanced(t.Ledger.Residue))
		}
		if t.SeriesLimit > 0 {
			p.line(fmt.Sprintf("    series: %s of %s", Grouped(t.Series), Grouped(t.SeriesLimit)))
		}
	}
}

// heavy writes the series that dominate, heaviest first.
func (p *page) heavy(series []HeavySeriesStatus) {
	if len(series) == 0 {
		return
	}
	p.section("HEAVY SERIES", "tenant", "listener", "key")
	for _, s := range series {
		p.line(fmt.Sprintf("  %.1f %%", 100*s.Share), s.Tenant, s.Listener, s.Key)
	}
}

// tenantLimits writes what limits cost, under the tenants' names however many there are.
func (w *writer) tenantLimits() {
	f := w.families
	for i := range w.snapshot.Tenants {
		t := &w.snapshot.Tenants[i]
		w.counter(f.tenantLimited, t.PacketsLimited, t.Name)
		if t.SeriesLimit > 0 {
			w.gauge(f.tenantSeries, float64(t.Series), t.Name)
		}
	}
}

// tenantLedgers writes the ledger by tenant, in place of ledger's and sinkLedgers' families of points.
func (w *writer) tenantLedgers() {
	f := w.families
	for i := range w.snapshot.Tenants {
		t := &w.snapshot.Tenants[i]
		l := &t.Ledger
		for j, listener := range w.snapshot.Listeners {
			w.counter(f.pointsReceived, l.Received[j], listener.Name, t.Name)
		}
		for j, n := range l.Rejected {
			w.counter(f.pointsRejected, n, "decode", lineproto.Reason(j).String(), t.Name)
		}
		w.counter(f.pointsDerived, l.Derived, t.Name)
		w.counter(f.pointsFiltered, l.Filtered, t.Name)
		w.counter(f.pointsCopied, l.Copied, t.Name)
		w.gauge(f.pointsInFlight, float64(l.Lanes.InFlight), t.Sink, t.Name)
		w.counter(f.pointsDropped, l.PointsLimited, "", dataplane.DropPointsLimit.String(), t.Name)
		w.counter(f.pointsDropped, l.SeriesLimited, "", dataplane.DropSeriesLimit.String(), t.Name)
	}
	w.tenantsAtSinks()
}

// tenantsAtSinks writes what became of each tenant's points at its sink, and in the spools of others that had
// them before the configuration changed. What is of no tenant that the configuration names has no name.
func (w *writer) tenantsAtSinks() {
	names, shares := w.spoolShares()
	for i := range len(w.snapshot.Tenants) + 1 {
		var t Tenant
		if i < len(w.snapshot.Tenants) {
			t = w.snapshot.Tenants[i]
		}
		rejected, own := t.Ledger.Lanes.Rejected, false
		for _, name := range names {
			share := shares[name][i]
			for j, n := range share.Rejected {
				rejected[j] += n
			}
			switch {
			case name == t.Sink:
				own = true
				w.tenantAtSink(name, t.Name, &t.Ledger.Lanes, &share)
			case share != dataplane.SpoolShare{}:
				w.tenantAtSink(name, t.Name, &dataplane.LaneCounters{}, &share)
			}
		}
		if !own && t.Name != "" {
			w.tenantAtSink(t.Sink, t.Name, &t.Ledger.Lanes, nil)
		}
		for j, n := range rejected {
			if n > 0 || t.Name != "" {
				w.counter(w.families.pointsRejected, n, "sink", dataplane.SinkReject(j).String(), t.Name)
			}
		}
	}
}

// tenantAtSink writes what became of a tenant's points at one sink; share is nil where no spool is kept.
func (w *writer) tenantAtSink(sink, tenant string, lanes *dataplane.LaneCounters,
	share *dataplane.SpoolShare) {
	f := w.families
	written, dropped := lanes.Written, lanes.Dropped
	if share != nil {
		whole := *share
		whole.Taken = lanes.Spooled       // also what is on its way there
		whole.Moved, whole.Adopted = 0, 0 // from one of its URLs to another
		written += whole.Replayed
		for i, n := range whole.Dropped {
			dropped[i] += n
		}
		w.counter(f.pointsSpooled, whole.Taken, sink, tenant)
		w.counter(f.pointsReplayed, whole.Replayed, sink, tenant)
		w.counter(f.pointsRestored, whole.Restored, sink, tenant)
		w.gauge(f.spoolPending, float64(whole.Pending()), sink, tenant)
	}
	w.counter(f.pointsWritten, written, sink, tenant)
	for i, n := range dropped {
		if !beforeSinks(dataplane.Drop(i)) {
			w.counter(f.pointsDropped, n, sink, dataplane.Drop(i).String(), tenant)
		}
	}
}

// spoolShares are the tenants' shares of each sink's spools, all of its URLs together, and the sinks' names
// in their order. There is a share for each tenant and one more.
func (w *writer) spoolShares() (names []string, shares map[string][]dataplane.SpoolShare) {
	shares = map[string][]dataplane.SpoolShare{}
	for i := range w.snapshot.Sinks {
		s := &w.snapshot.Sinks[i]
		if s.Spool == nil {
			continue
		}
		if shares[s.Name] == nil {
			names = append(names, s.Name)
			shares[s.Name] = make([]dataplane.SpoolShare, len(w.snapshot.Tenants)+1)
		}
		for j := range s.Spool.Shares {
			shares[s.Name][j].Add(&s.Spool.Shares[j])
		}
	}
	return names, shares
}
