package gateway

import (
	"fmt"

	"culvert/controlplane/telemetry"
	"culvert/dataplane"
)

// sinksDown says of each server that does not take points why, apart by what it means: reasons are of sinks
// whose points have nowhere to go now, impaired of those whose points another server or the spool takes, and
// of those that get nothing new. urls begin with what is shown of the targets.
func (g *Gateway) sinksDown(targets []*sinkTarget, urls []telemetry.Sink) (reasons, impaired []string) {
	for _, s := range g.sinks {
		var own []*telemetry.Sink
		for i, t := range targets {
			if t.config == s.config {
				own = append(own, &urls[i])
			}
		}
		left := s.deals.all(len(own))
		// With failover one place is enough for all, else each server has points of its own.
		failover, anywhere := routingOf(s.config.Routing) == dataplane.RoutingFailover, false
		for i, u := range own {
			anywhere = anywhere || left[i] == stays && (u.Up || hasRoom(u))
		}
		for i, u := range own {
			if u.Up || !left[i].sends() {
				continue
			}
			why := fmt.Sprintf("sink %s: %s does not take points: %s", u.Name, u.URL, orUnknown(u.LastError))
			if hasRoom(u) || left[i] != stays || failover && anywhere {
				impaired = append(impaired, why)
			} else {
				reasons = append(reasons, why)
			}
		}
	}
	return reasons, impaired
}

// hasRoom tells whether what a server does not take can wait on disk.
func hasRoom(u *telemetry.Sink) bool {
	return u.Spool != nil && u.Spool.DiskError == "" && u.Spool.Disk.Bytes < u.SpoolMax
}

func orUnknown(text string) string {
	if text == "" {
		return "no answer yet"
	}
	return text
}
