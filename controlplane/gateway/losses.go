package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"culvert/controlplane/telemetry"
	"culvert/dataplane"
)

const (
	// lossTick is how often the counters of losses are looked at.
	lossTick = time.Second
	// lossInterval is how often one kind of loss is said again while it goes on.
	lossInterval = 10 * time.Second
)

// loss is what was lost so far in one way that a person can do something about.
type loss struct {
	message string // of the log line
	place   string // what the way is called in that line: a reason, a listener, a queue
	name    string
	total   uint64 // since the start
	remedy  string
}

// lossLog says what is lost: the first at once, then every lossInterval how much came to it.
type lossLog struct {
	log  *slog.Logger
	said map[string]saidLoss
}

type saidLoss struct {
	total uint64
	at    time.Time
}

func (l *lossLog) note(losses []loss, now time.Time) {
	for _, one := range losses {
		key := one.message + "\x00" + one.name
		before := l.said[key]
		if one.total <= before.total || !before.at.IsZero() && now.Sub(before.at) < lossInterval {
			continue
		}
		l.log.Warn(one.message, one.place, one.name, "count", one.total-before.total, "total", one.total,
			"remedy", one.remedy)
		l.said[key] = saidLoss{one.total, now}
	}
}

// logLosses follows the counters of losses until the context ends. What the last lines did not say is in the
// sums of the drain.
func (g *Gateway) logLosses(ctx context.Context) {
	l := &lossLog{log: g.log, said: map[string]saidLoss{}}
	for now := range each(ctx, lossTick) {
		l.note(g.losses(), now)
	}
}

// losses are all of the gateway's.
func (g *Gateway) losses() []loss {
	var c dataplane.Counters
	for _, w := range g.workers {
		counters := w.Counters()
		c.Add(&counters)
	}
	states, _ := g.spoolStates()
	for _, s := range states {
		for i, n := range s.Dropped {
			c.PointsDropped[i] += n
		}
	}
	g.mutex.Lock()
	defer g.mutex.Unlock()
	var interfaces []telemetry.Interface
	for _, p := range g.interfaces {
		interfaces = append(interfaces, g.interfaceOf(p))
	}
	return append(lossesOf(&c, g.listenersShown(), interfaces), g.limitLosses(&c)...)
}

// dropRemedies says of each reason what would mend it.
func dropRemedies() [dataplane.Drops]string {
	return [dataplane.Drops]string{
		dataplane.DropUndelivered: "the sink was away for longer than retry allows: bring it back, " +
			"or let a spool keep what waits (spool.dir)",
		dataplane.DropOverload: "the sink is slower than what comes in: see its latency, or send less",
		dataplane.DropOversize: "the line is longer than batch.bytes: raise it",
		dataplane.DropPointsLimit: "a tenant sends more than its limits.points_per_second: " +
			"find the sender, or raise it",
		dataplane.DropSeriesLimit: "a tenant has more series than its limits.series: " +
			"find the tag that makes them, or raise it",
		dataplane.DropSpoolFull: "the spool has no room, or the disk fails: bring the sink back, raise " +
			"spool.max, mend the disk",
		dataplane.DropCorrupt: "the disk lost what was written to it: see its health; `culvert spool verify`",
		dataplane.DropTTL: "the point was older than ttl when it came, or when the sink was back, or it " +
			"waited in memory for too long: bring the sink back, raise ttl, mend the disk",
	}
}

func lossesOf(c *dataplane.Counters, listeners []telemetry.Listener,
	interfaces []telemetry.Interface) (losses []loss) {
	remedies := dropRemedies()
	for i, n := range c.PointsDropped {
		losses = append(losses, loss{"points dropped", "reason", dataplane.Drop(i).String(), n, remedies[i]})
	}
	// Of what the server itself refuses its words are logged; these never got there.
	losses = append(losses,
		loss{"points rejected", "reason", dataplane.SinkUintRange.String(),
			c.PointsSinkRejected[dataplane.SinkUintRange],
			"an unsigned value beyond int64 with `uint: int`: use keep or float"},
		loss{"points rejected", "reason", dataplane.SinkKeyLength.String(),
			c.PointsSinkRejected[dataplane.SinkKeyLength],
			"the key is too long with the listener's tags: shorten them"})
	for _, l := range listeners {
		losses = append(losses, loss{"packets dropped: the kernel's socket is full", "listener", l.Name,
			l.KernelDrops, "its worker does not keep up: see the CPU, and net.core.rmem_max"})
	}
	for _, in := range interfaces {
		for _, q := range in.Queues {
			var n uint64
			for _, drops := range q.Drops {
				n += drops
			}
			name := fmt.Sprintf("%s:%d", in.Name, q.Queue)
			if q.Socket > 0 {
				name += fmt.Sprintf(" socket %d", q.Socket)
			}
			losses = append(losses, loss{"packets dropped: the AF_XDP socket is full", "queue", name, n,
				"its worker does not keep up: more queues and CPUs, or more workers.frames for bursts"})
		}
	}
	return losses
}
