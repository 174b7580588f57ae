package gateway

import (
	"net/netip"
	"slices"

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
