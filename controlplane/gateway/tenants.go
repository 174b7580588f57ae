package gateway

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"culvert/bpf"
	"culvert/controlplane/config"
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
	ticker := time.NewTicker(seriesAge)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			g.limits.TurnAge()
		}
	}
}
