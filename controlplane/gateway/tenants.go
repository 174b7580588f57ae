package gateway

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"time"

	"culvert/bpf"
	"culvert/controlplane/config"
	"culvert/controlplane/telemetry"
	"culvert/dataplane"
)

// tenantsOf are the prefixes that decide about a listener's senders. A tenant's number is its place in the
// configuration. Who matches no prefix is tenant 0, the first; so one without sources, which takes everyone
// else, needs prefixes that hold everyone unless it is the first itself.
func tenantsOf(c *config.Config, listener string) (prefixes []dataplane.TenantPrefix) {
	for i := range c.Tenants {
		t := &c.Tenants[i]
		if len(t.Listeners) > 0 && !slices.Contains(t.Listeners, listener) {
			continue
		}
		sources := t.Sources
		if len(sources) == 0 && i > 0 {
			sources = []netip.Prefix{
				netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0),
			}
		}
		for _, prefix := range sources {
			prefixes = append(prefixes, dataplane.TenantPrefix{Prefix: prefix, Tenant: uint16(i)})
		}
	}
	return prefixes
}

// packetLimitsOf are the limits that the XDP program keeps to.
func packetLimitsOf(c *config.Config) (limits []bpf.TenantLimit) {
	for i := range c.Tenants {
		l := &c.Tenants[i].Limits
		if l.PacketsPerSecond > 0 || l.SourcePacketsPerSecond > 0 {
			limits = append(limits, bpf.TenantLimit{Tenant: uint16(i), PacketsPerSecond: l.PacketsPerSecond,
				SourcePacketsPerSecond: l.SourcePacketsPerSecond, Burst: l.Burst})
		}
	}
	return limits
}

// limitsOf are the limits that so many workers keep to, or nil where there are none.
func limitsOf(c *config.Config, workers int) *dataplane.Limits {
	limits := make([]dataplane.TenantLimit, len(c.Tenants))
	for i := range c.Tenants {
		limits[i] = dataplane.TenantLimit(c.Tenants[i].Limits)
	}
	return dataplane.NewLimits(limits, workers)
}

// seriesAge is how long a series must be silent before limits.series may forget it: longer than what reports
// once an hour is late.
const seriesAge = 65 * time.Minute

// turnAges lets tenants' silent series go until the context ends.
func (g *Gateway) turnAges(ctx context.Context) {
	if g.limits == nil {
		return
	}
	for range each(ctx, seriesAge) {
		g.limits.TurnAge()
	}
}

// tenantNames are the tenants' names, in the order of their numbers.
func tenantNames(c *config.Config) (names []string) {
	for i := range c.Tenants {
		names = append(names, c.Tenants[i].Name)
	}
	return names
}

// tenantsShown adds up what workers and XDP programs say of each tenant. The mutex is held.
func (g *Gateway) tenantsShown(s *telemetry.Snapshot) []telemetry.Tenant {
	c := g.options.Config
	shown := make([]telemetry.Tenant, len(c.Tenants))
	for i := range shown {
		shown[i].Name, shown[i].Sink = c.Tenants[i].Name, c.Tenants[i].Sink
		if n, ok := g.limits.Series(i); ok {
			shown[i].Series, shown[i].SeriesLimit = n, c.Tenants[i].Limits.Series
		}
	}
	if len(shown) == 1 {
		shown[0].Ledger = onlyTenant(s)
	}
	for _, w := range g.workers {
		for i, ledger := range w.TenantLedgers() {
			shown[i].Ledger.Add(&ledger)
		}
	}
	inXDP := g.limitedInXDP()
	for i := range shown {
		shown[i].PacketsLimited = shown[i].Ledger.PacketsLimited + inXDP[i]
	}
	return shown
}

// limitedInXDP is how many packets of each tenant the XDP programs dropped for its limits. The mutex is held.
func (g *Gateway) limitedInXDP() (sum [bpf.TenantsMax]uint64) {
	c := g.options.Config
	if len(packetLimitsOf(c)) == 0 {
		return sum
	}
	for _, p := range g.interfaces {
		counts := p.countLimited(len(c.Tenants))
		for i := range c.Tenants {
			sum[i] += counts[i]
		}
	}
	return sum
}

// limitLosses are the packets that tenants' limits cost. The mutex is held.
func (g *Gateway) limitLosses(workers *dataplane.Counters) (losses []loss) {
	const message, remedy = "packets dropped: over a tenant's limit",
		"find the sender, or raise limits.packets_per_second or source_packets_per_second"
	for i, n := range g.limitedInXDP() {
		if n > 0 {
			losses = append(losses, loss{message, "tenant", g.options.Config.Tenants[i].Name, n, remedy})
		}
	}
	slow := workers.FramesRejected[dataplane.FrameTenantLimit] +
		workers.FramesRejected[dataplane.FrameSourceLimit]
	return append(losses, loss{message, "interface", kernelName, slow, remedy})
}

// onlyTenant is the ledger of the tenant that there is no other beside: all workers' counters.
func onlyTenant(s *telemetry.Snapshot) dataplane.TenantLedger {
	var c dataplane.Counters
	for i := range s.Workers {
		c.Add(&s.Workers[i].Counters)
	}
	l := dataplane.TenantLedger{TenantCounters: dataplane.TenantCounters{
		Packets:  c.FramesDecoded,
		Received: c.PointsReceived, Derived: c.PointsDerived, Copied: c.PointsCopied,
		Rejected: c.PointsRejected, Filtered: c.PointsFiltered,
		PacketsLimited: c.FramesRejected[dataplane.FrameTenantLimit] +
			c.FramesRejected[dataplane.FrameSourceLimit],
		PointsLimited: c.PointsDropped[dataplane.DropPointsLimit],
		SeriesLimited: c.PointsDropped[dataplane.DropSeriesLimit],
	}}
	for i := range s.Sinks {
		l.Lanes.Add(&s.Sinks[i].Points)
	}
	return l
}

const (
	// heavyShare is the share of all points from which a series is shown, heavySamples how many samples it
	// takes to say so, and heavyMax how many are shown.
	heavyShare   = 0.01
	heavySamples = 8
	heavyMax     = 10
)

// heavySeries asks the workers which series dominate.
func (g *Gateway) heavySeries(looks []*dataplane.Look) []telemetry.HeavySeries {
	var all []dataplane.HeavySeries
	var total uint64
	for _, look := range looks {
		all, total = append(all, look.Heavy...), total+look.HeavySamples
	}
	return g.heaviest(all, total)
}

// heaviest adds up series that several workers have seen, and keeps those that dominate.
func (g *Gateway) heaviest(all []dataplane.HeavySeries, total uint64) (shown []telemetry.HeavySeries) {
	c := g.options.Config
	type identity struct {
		tenant, listener uint16
		key              string
	}
	sums := map[identity]uint64{}
	for _, s := range all {
		sums[identity{s.Tenant, s.Listener, s.Key}] += s.Samples
	}
	for id, samples := range sums {
		if share := float64(samples) / float64(total); share >= heavyShare && samples >= heavySamples {
			shown = append(shown, telemetry.HeavySeries{Tenant: c.Tenants[id.tenant].Name,
				Listener: c.Listeners[id.listener].Name, Key: id.key, Share: share})
		}
	}
	slices.SortFunc(shown, func(a, b telemetry.HeavySeries) int {
		return cmp.Or(cmp.Compare(b.Share, a.Share), cmp.Compare(a.Key, b.Key))
	})
	return shown[:min(len(shown), heavyMax)]
}
