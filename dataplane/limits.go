package dataplane

import (
	"encoding/binary"
	"hash/maphash"
	"slices"

	"culvert/dataplane/point"
)

// TenantLimit is what one tenant may send; 0 is no limit.
type TenantLimit struct {
	// PacketsPerSecond bounds the tenant's packets at the kernel's sockets, SourcePacketsPerSecond those of
	// each of its senders: there the XDP program, which has the same limits, has not counted them.
	PacketsPerSecond, SourcePacketsPerSecond int

	PointsPerSecond int // over all workers
	Series          int // distinct ones, over all workers
	// Burst is what may come at once of packets and of points; 0 is a second's worth of each.
	Burst int
}

// TenantsMax bounds the tenants of a gateway.
const TenantsMax = 256

// Limits are the bounds of all tenants and their buckets, which all workers of a gateway share. Nil where no
// tenant has any.
type Limits struct {
	tenants []tenantBounds
	seed    maphash.Seed // secret, so that senders cannot make series or addresses collide
}

type tenantBounds struct {
	packets, points         bucket
	sourceCost, sourceDepth int64 // of each sender, ns; 0: no limit
	series                  *seriesSet
}

// NewLimits makes full buckets for so many workers; the index of a limit is its tenant's number. It is nil
// when nothing is limited.
func NewLimits(limits []TenantLimit, workers int) *Limits {
	if !slices.ContainsFunc(limits, TenantLimit.limits) {
		return nil
	}
	l := &Limits{tenants: make([]tenantBounds, len(limits)), seed: maphash.MakeSeed()}
	for i := range limits {
		from, to := &limits[i], &l.tenants[i]
		to.packets.set(from.PacketsPerSecond, from.Burst, workers)
		to.points.set(from.PointsPerSecond, from.Burst, workers)
		if rate := from.SourcePacketsPerSecond; rate > 0 {
			burst := from.Burst
			if burst == 0 {
				burst = rate
			}
			to.sourceCost, to.sourceDepth = max(nanoseconds(1, rate), 1), nanoseconds(burst-1, rate)
		}
		if from.Series > 0 {
			to.series = newSeriesSet(from.Series)
		}
	}
	return l
}

func (t TenantLimit) limits() bool {
	return t.PacketsPerSecond > 0 || t.SourcePacketsPerSecond > 0 || t.PointsPerSecond > 0 || t.Series > 0
}

// TurnAge forgets the series that did not come since the age before. The control plane calls it once an age.
func (l *Limits) TurnAge() {
	for i := range l.tenants {
		if s := l.tenants[i].series; s != nil {
			s.turnAge()
		}
	}
}

// Series is how many series a tenant has, and whether they are counted.
func (l *Limits) Series(tenant int) (int, bool) {
	if l == nil || tenant >= len(l.tenants) || l.tenants[tenant].series == nil {
		return 0, false
	}
	return int(l.tenants[tenant].series.age.Load().known.Load()), true
}

// gate is what a worker holds of one tenant's bounds.
type gate struct {
	bounds          *tenantBounds
	packets, points credit
	limitsPoints    bool // by number or by series
}

// gates are a worker's, by tenant; nil without limits.
type gates struct {
	tenants []gate
	seed    maphash.Seed
	sources *sources // nil while no sender is limited
}

func newGates(l *Limits) *gates {
	if l == nil {
		return nil
	}
	g := &gates{tenants: make([]gate, len(l.tenants)), seed: l.seed}
	for i := range g.tenants {
		bounds := &l.tenants[i]
		g.tenants[i] = gate{bounds: bounds, limitsPoints: bounds.points.drawCost > 0 || bounds.series != nil}
		if bounds.sourceCost > 0 && g.sources == nil {
			g.sources = new(sources)
		}
	}
	return g
}

// ofPoints is the gate that a tenant's points have to pass, or nil.
func (g *gates) ofPoints(tenant uint16) *gate {
	if g == nil || int(tenant) >= len(g.tenants) || !g.tenants[tenant].limitsPoints {
		return nil
	}
	return &g.tenants[tenant]
}

// admitDatagram takes a datagram out of its sender's bucket and then out of its tenant's, as the XDP program
// does (take_packet in bpf/limit.h). It returns why the datagram may not go on, or FrameRejects.
func (g *gates) admitDatagram(tenant uint16, source *[16]byte, now int64) FrameReject {
	if int(tenant) >= len(g.tenants) {
		return FrameRejects
	}
	one := &g.tenants[tenant]
	if cost := one.bounds.sourceCost; cost > 0 {
		var owned [18]byte
		copy(owned[:], source[:])
		binary.NativeEndian.PutUint16(owned[16:], tenant)
		if !g.sources.take(maphash.Bytes(g.seed, owned[:]), cost, one.bounds.sourceDepth, now) {
			return FrameSourceLimit
		}
	}
	if one.bounds.packets.drawCost > 0 && !one.packets.take(&one.bounds.packets, now) {
		return FrameTenantLimit
	}
	return FrameRejects
}

// admitPoint tells whether a point may go on. A point of a series too many takes nothing out of the bucket of
// points. A series is the key as the sender wrote it: other orders of tags are other series here.
func (w *Worker) admitPoint(g *gate, p *point.Point) bool {
	if g.bounds.series != nil && !g.bounds.series.admit(maphash.Bytes(w.gates.seed, p.Bytes(p.Key))) {
		w.counters.PointsDropped[DropSeriesLimit]++
		return false
	}
	if g.bounds.points.drawCost > 0 && !g.points.take(&g.bounds.points, w.now) {
		w.counters.PointsDropped[DropPointsLimit]++
		return false
	}
	return true
}
