package gateway

import (
	"context"
	"fmt"
	"sync/atomic"

	"culvert/controlplane/config"
	"culvert/dataplane"
	"culvert/dataplane/lineproto"
	"culvert/dataplane/shard"
)

const (
	// batchesPinned and batchesSlow bound what a worker holds for a URL that is slow or away, times
	// batch.bytes. URLs that share a sink's points share the first bound, down to the second.
	batchesPinned, batchesSlow = 32, 8
	// batchesPerTenant is what there is at least for each tenant of a sink: one that is filled and some under
	// way. A batch that is smaller for it still holds every line that fits into a datagram.
	batchesPerTenant, batchBytesMin = 4, 128 << 10
)

// orderSeries is the value of sinks.order that lets no write pass an older one of its series.
const orderSeries = "series"

// sink is one database or several that share its points.
type sink struct {
	config  *config.Sink
	targets []*sinkTarget // one for each URL
	tenants int           // how many have it as their sink
	token   string        // as last read, by the goroutine that follows the file
	// table says whose a series is, where that decides; workers read it.
	table atomic.Pointer[shard.Table]
	// order are the places of those that get points, in the order of the configuration; workers read it, too.
	order atomic.Pointer[[]int]
	deals deals
}

// openSinks reads the tokens and looks all names up once.
func openSinks(ctx context.Context, g *Gateway) error {
	for i := range g.options.Config.Sinks {
		c := &g.options.Config.Sinks[i]
		token, err := readToken(c.TokenFile)
		if err != nil {
			return fmt.Errorf("sink %q: %w", c.Name, err)
		}
		s := &sink{config: c, token: token}
		for _, t := range g.options.Config.Tenants {
			if t.Sink == c.Name {
				s.tenants++
			}
		}
		for _, url := range c.URLs {
			t, err := newSinkTarget(ctx, c, url, token, len(g.targets), g.log)
			if err != nil {
				return err
			}
			s.targets, g.targets = append(s.targets, t), append(g.targets, t)
		}
		order := s.placesOf(c.URLs)
		s.order.Store(&order)
		if err := s.deal(); err != nil {
			return fmt.Errorf("sink %q: %w", c.Name, err)
		}
		g.sinks = append(g.sinks, s)
	}
	return nil
}

// Members are a sink's servers, each with its whole share.
func Members(c *config.Sink) []shard.Member {
	members := make([]shard.Member, len(c.URLs))
	for i, url := range c.URLs {
		members[i] = shard.Member{Name: url, Weight: shard.WeightMax}
	}
	return members
}

// tenantSinks are the tenants' places among the sinks.
func tenantSinks(c *config.Config) []uint8 {
	places := make([]uint8, len(c.Tenants))
	for i := range c.Tenants {
		for j := range c.Sinks {
			if c.Sinks[j].Name == c.Tenants[i].Sink {
				places[i] = uint8(j)
			}
		}
	}
	return places
}

// worker is the sink as one worker sees it.
func (s *sink) worker(index int, slow bool, seed uint64) dataplane.SinkConfig {
	c := s.config
	batches, bytes := s.batches(slow)
	w := dataplane.SinkConfig{
		Routing: routingOf(c.Routing), Table: &s.table, Order: &s.order, Uint: uintPolicy(c.Uint),
		Batches: batches, BatchBytes: bytes, BatchPoints: c.Batch.Points, Linger: int64(c.Batch.Linger),
		Age: int64(c.Batch.Age), TTL: int64(c.TTL),
	}
	for _, t := range s.targets {
		one := s.writer(t)
		one.Seed = seed + uint64(index) + uint64(t.lane)<<32
		w.Writers = append(w.Writers, one)
	}
	return w
}

func routingOf(name string) dataplane.Routing {
	switch name {
	case "replicate":
		return dataplane.RoutingReplicate
	case "failover":
		return dataplane.RoutingFailover
	}
	return dataplane.RoutingHash
}

func uintPolicy(name string) lineproto.UintPolicy {
	switch name {
	case "int":
		return lineproto.UintInt
	case "float":
		return lineproto.UintFloat
	}
	return lineproto.UintKeep
}
