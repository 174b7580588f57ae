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

// TenantStatus is one tenant. Its ledger's names are those of the gateway's; spool_pending is all that ever
// went to the spool, which does not know tenants.
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

func tenantStatuses(tenants []Tenant) []TenantStatus {
	list := []TenantStatus{}
	for i := range tenants {
		t := &tenants[i]
		list = append(list, TenantStatus{Name: t.Name, Sink: t.Sink, Packets: t.Ledger.Packets,
			PacketsLimited: t.PacketsLimited, Ledger: tenantLedger(&t.Ledger), Series: t.Series,
			SeriesLimit: t.SeriesLimit})
	}
	return list
}

// tenantLedger says of one tenant what newLedger says of all. The spool does not know tenants: what ever went
// there is pending here, also when it was written since.
func tenantLedger(t *dataplane.TenantLedger) Ledger {
	var c dataplane.Counters
	c.PointsReceived, c.PointsRejected, c.PointsFiltered = t.Received, t.Rejected, t.Filtered
	c.PointsDerived, c.PointsCopied = t.Derived, t.Copied
	c.PointsDropped, c.PointsSinkRejected = t.Lanes.Dropped, t.Lanes.Rejected
	c.PointsDropped[dataplane.DropPointsLimit] += t.PointsLimited
	c.PointsDropped[dataplane.DropSeriesLimit] += t.SeriesLimited
	c.PointsWritten, c.PointsInFlight = t.Lanes.Written, t.Lanes.InFlight
	c.PointsSpooled = t.Lanes.Spooled
	return newLedger(&Snapshot{}, &c)
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
		for j, n := range l.Lanes.Rejected {
			w.counter(f.pointsRejected, n, "sink", dataplane.SinkReject(j).String(), t.Name)
		}
		w.counter(f.pointsDerived, l.Derived, t.Name)
		w.counter(f.pointsFiltered, l.Filtered, t.Name)
		w.counter(f.pointsCopied, l.Copied, t.Name)
		w.counter(f.pointsWritten, l.Lanes.Written, t.Sink, t.Name)
		w.gauge(f.pointsInFlight, float64(l.Lanes.InFlight), t.Sink, t.Name)
		for j, n := range l.Lanes.Dropped {
			// Limits are met before a point has a sink.
			switch dataplane.Drop(j) {
			case dataplane.DropPointsLimit, dataplane.DropSeriesLimit:
			default:
				w.counter(f.pointsDropped, n, t.Sink, dataplane.Drop(j).String(), t.Name)
			}
		}
		w.counter(f.pointsDropped, l.PointsLimited, "", dataplane.DropPointsLimit.String(), t.Name)
		w.counter(f.pointsDropped, l.SeriesLimited, "", dataplane.DropSeriesLimit.String(), t.Name)
	}
	w.spooledLedgers()
}

// spooledLedgers writes what became of points that went through the spool, under no tenant's name: it does
// not know them.
func (w *writer) spooledLedgers() {
	f := w.families
	sums := map[string]*dataplane.SpoolerState{}
	var rejected [dataplane.SinkRejects]uint64
	spooled := false
	for i := range w.snapshot.Sinks {
		s := &w.snapshot.Sinks[i]
		if s.Spool == nil {
			continue
		}
		spooled = true
		if sums[s.Name] == nil {
			sums[s.Name] = new(dataplane.SpoolerState)
		}
		sum := sums[s.Name]
		sum.Replayed += s.Spool.Replayed
		for j, n := range s.Spool.Dropped {
			sum.Dropped[j] += n
		}
		for j, n := range s.Spool.Rejected {
			rejected[j] += n
		}
	}
	for name, sum := range sums {
		w.counter(f.pointsWritten, sum.Replayed, name, "")
		for j, n := range sum.Dropped {
			w.counter(f.pointsDropped, n, name, dataplane.Drop(j).String(), "")
		}
	}
	for j, n := range rejected {
		if spooled {
			w.counter(f.pointsRejected, n, "sink", dataplane.SinkReject(j).String(), "")
		}
	}
}
