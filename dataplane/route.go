package dataplane

import (
	"math"
	"slices"
	"sync/atomic"

	"culvert/dataplane/influx"
	"culvert/dataplane/point"
	"culvert/dataplane/shard"
)

// Routing is how a sink's points are shared out among its URLs.
type Routing uint8

const (
	// RoutingHash gives each series to one URL; with weights that the control plane changes it is aware of
	// load.
	RoutingHash Routing = iota
	// RoutingReplicate gives every point to all URLs.
	RoutingReplicate
	// RoutingFailover gives every point to the first URL in order that takes points.
	RoutingFailover
)

// route is one tenant's lanes to its sink and whose a point is. Only its worker touches it.
type route struct {
	lanes   []*lane
	routing Routing
	shared  *atomic.Pointer[shard.Table]
	table   *shard.Table // as of this turn
	// chosen are the lanes that points go to where no table says whose they are, the first one first; places
	// is what they come from, as of this turn.
	chosen []*lane
	order  *atomic.Pointer[[]int]
	places *[]int
	// parting are the lanes of URLs that leave in order and still have their series: until they have parted
	// with them the table stays as it is.
	parting []*lane
	// only is the lane of every point, whatever its series; nil where that decides.
	only   *lane
	ttl    int64 // nanoseconds; 0: none
	oldest int64 // points from before it are dropped, nanoseconds since 1970, as of this turn
	closed bool
}

func newRoute(c *SinkConfig, lanes []*lane) route {
	return route{lanes: lanes, routing: c.Routing, shared: c.Table, order: c.Order, ttl: c.TTL,
		oldest: math.MinInt64}
}

// join connects the lanes once they are open. The route does not move afterwards.
func (r *route) join() {
	for i := range r.lanes {
		r.lanes[i].route = r
	}
	r.choose(slices.Clone(r.lanes))
	r.refresh()
}

// choose lets points go to these lanes, in this order, where no table says whose they are.
func (r *route) choose(lanes []*lane) {
	r.chosen = lanes
	for _, o := range r.lanes {
		o.copies = nil
		if r.routing == RoutingFailover && o.spool == nil {
			// Another server takes over what this one does not take, if there is one.
			o.writer.PassOn(len(lanes) > 1 || lanes[0] != o)
		}
	}
	if r.routing == RoutingReplicate {
		lanes[0].copies = lanes[1:]
	}
}

// follow takes over which URLs points go to, if that has changed.
func (r *route) follow() {
	if r.order == nil || r.order.Load() == r.places {
		return
	}
	r.places = r.order.Load()
	lanes := make([]*lane, len(*r.places))
	for i, place := range *r.places {
		lanes[i] = r.lanes[place]
	}
	r.choose(lanes)
}

// refresh looks once a turn what others may have changed: whose the slots are, and which server is in order.
func (r *route) refresh() {
	switch {
	case r.routing == RoutingReplicate:
		r.follow()
		r.only = r.chosen[0]
	case r.routing == RoutingFailover:
		r.follow()
		if r.only = r.healthy(nil); r.only == nil {
			r.only = r.chosen[0]
		}
	case len(r.lanes) == 1:
		r.only = r.lanes[0]
	case len(r.parting) == 0:
		r.only, r.table = nil, r.shared.Load() // There was only one server, perhaps.
	}
}

// age lets a sink's points be as old as they may at a turn's start.
func (r *route) age(wall int64) {
	if r.ttl > 0 {
		r.oldest = wall - r.ttl
	}
}

// of is a point's lane.
func (r *route) of(p *point.Point) *lane {
	if r.only != nil {
		return r.only
	}
	return r.lane(p)
}

// lane is the lane of a point of a sink with several servers to choose from.
func (r *route) lane(p *point.Point) *lane { return r.lanes[r.table.Find(shard.Hash(p))] }

// healthy is the first lane in order, but for one, whose server takes points or may be tried again.
func (r *route) healthy(but *lane) *lane {
	for _, o := range r.chosen {
		if o == but {
			continue
		}
		switch o.writer.Breaker() {
		case influx.BreakerClosed:
			return o
		case influx.BreakerHalfOpen:
			// One batch shows whether it is back; should it fail, that one moves on.
			if o.writer.Idle() {
				return o
			}
		}
	}
	return nil
}

// instead is the lane that takes over what another one could not deliver since its server is away, or nil.
func (r *route) instead(o *lane) *lane {
	if r.routing != RoutingFailover || r.closed || o.writer.Breaker() == influx.BreakerClosed {
		return nil
	}
	return r.healthy(o)
}

// routeOf is the way of a tenant's points to its sink.
func (w *Worker) routeOf(tenant uint16) *route {
	if int(tenant) < len(w.routes) {
		return &w.routes[tenant]
	}
	return &w.routes[0]
}

// Reroute lets the worker go by its sinks' tables and orders as they are now: each turn begins with those of
// the end of the one before, which may be long ago.
func (w *Worker) Reroute() error {
	return w.Do(func() error {
		for i := range w.routes {
			w.routes[i].refresh()
		}
		return nil
	})
}
