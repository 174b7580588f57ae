package telemetry

import (
	"maps"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"culvert/dataplane"
	"culvert/dataplane/lineproto"
)

// Collector shows a snapshot, taken anew at each scrape, as Prometheus metrics. Prometheus may call it from
// several goroutines.
type Collector struct {
	snapshot func() *Snapshot
	families *families
}

// NewCollector makes a collector of what snapshot returns.
func NewCollector(snapshot func() *Snapshot) *Collector {
	return &Collector{snapshot: snapshot, families: newFamilies(false)}
}

// ByTenant is a collector that shows the ledger with a label tenant, for where there are several.
func (c *Collector) ByTenant() *Collector {
	return &Collector{snapshot: c.snapshot, families: newFamilies(true)}
}

// Describe is prometheus.Collector's.
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range c.families.all {
		descs <- desc
	}
}

// Collect is prometheus.Collector's.
func (c *Collector) Collect(metrics chan<- prometheus.Metric) {
	s := c.snapshot()
	counters := s.total()
	w := &writer{metrics: metrics, families: c.families, snapshot: s}
	w.gauge(w.families.version, 1, s.Version)
	w.gauge(w.families.ready, truth(s.Ready))
	w.counter(w.families.clockSteps, s.ClockSteps)
	w.ledger(&counters)
	if w.families.byTenant {
		w.tenantLedgers()
	} else {
		w.pointLedger(&counters)
		w.sinkLedgers(&counters)
	}
	w.tenantLimits()
	w.interfaces(&counters)
	w.rules(&counters)
	w.sinks()
	w.spools()
	w.workers()
	w.traces()
	for stage, h := range s.Stages {
		w.histogram(w.families.stages, h, stage)
	}
	if s.AlertLatency != nil {
		w.histogram(w.families.alertLatency, s.AlertLatency)
	}
}

// writer turns one snapshot into metrics.
type writer struct {
	metrics  chan<- prometheus.Metric
	families *families
	snapshot *Snapshot
}

func (w *writer) counter(desc *prometheus.Desc, n uint64, labels ...string) {
	w.metrics <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
}

func (w *writer) gauge(desc *prometheus.Desc, v float64, labels ...string) {
	w.metrics <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, v, labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// ledger writes where points are. Every reason is there from the start, so that its first increase is seen.
func (w *writer) ledger(c *dataplane.Counters) {
	f := w.families
	for i, n := range c.FramesRejected {
		w.counter(f.framesRejected, n, dataplane.FrameReject(i).String())
	}
	w.counter(f.framesAssembled, c.PacketsAssembled)
	w.counter(f.checksums, c.ChecksumPartial, "partial")
	w.counter(f.checksums, c.ChecksumAbsent, "absent")
	for _, l := range w.snapshot.Listeners {
		w.counter(f.kernelDrops, l.KernelDrops, l.Name)
	}
	w.counter(f.pointsFuture, c.PointsFuture)
	w.counter(f.fieldsDropped, c.FieldsDropped)
	w.gauge(f.residue, float64(newLedger(w.snapshot, c).Residue))
}

// pointLedger writes what became of points before they had a sink, or there.
func (w *writer) pointLedger(c *dataplane.Counters) {
	f := w.families
	for i, l := range w.snapshot.Listeners {
		w.counter(f.pointsReceived, c.PointsReceived[i], l.Name)
	}
	for i, n := range c.PointsRejected {
		w.counter(f.pointsRejected, n, "decode", lineproto.Reason(i).String())
	}
	spool := w.snapshot.spools(c.PointsSpooled)
	for i, n := range c.PointsSinkRejected {
		w.counter(f.pointsRejected, n+spool.Rejected[i], "sink", dataplane.SinkReject(i).String())
	}
	w.counter(f.pointsDerived, c.PointsDerived)
	w.counter(f.pointsFiltered, c.PointsFiltered)
	w.counter(f.pointsCopied, c.PointsCopied)
}

func (w *writer) traces() {
	if t := w.snapshot.Traces; t != nil {
		w.counter(w.families.traceSpans, t.Exported, "exported")
		w.counter(w.families.traceSpans, t.Failed, "failed")
		w.counter(w.families.traceSpans, t.Dropped, "dropped")
		w.counter(w.families.traceSpans, t.LeftOut, "left_out")
	}
}

func (w *writer) interfaces(c *dataplane.Counters) {
	f := w.families
	for _, in := range w.snapshot.Interfaces {
		w.gauge(f.received, 1, in.Name, in.Driver, in.Mode, strconv.FormatBool(in.ZeroCopy),
			strconv.FormatBool(in.NeedWakeup), strconv.FormatBool(in.BusyPoll))
		if in.CardClock {
			w.gauge(f.cardClock, float64(in.CardClockDoubt)/second, in.Name)
		}
		for _, v := range in.Verdicts {
			w.counter(f.verdicts, v.Count, in.Name, v.Name)
		}
		for _, q := range wholeQueues(in.Queues) {
			queue := strconv.Itoa(q.Queue)
			w.counter(f.framesReceived, q.FramesReceived, in.Name, queue)
			for name, n := range q.Raw {
				w.counter(f.xskStatistics, n, in.Name, queue, name)
			}
			for reason, n := range q.Drops {
				w.counter(f.xskDrops, n, in.Name, queue, reason)
			}
		}
	}
	w.counter(f.framesReceived, c.DatagramsReceived, kernelInterface, "0")
}

// wholeQueues adds up the sockets of each queue, which follow each other.
func wholeQueues(sockets []Queue) (queues []Queue) {
	for _, q := range sockets {
		last := len(queues) - 1
		if q.Socket == 0 || last < 0 {
			queues = append(queues, q)
			continue
		}
		sum := &queues[last]
		sum.FramesReceived += q.FramesReceived
		sum.Raw, sum.Drops = added(sum.Raw, q.Raw), added(sum.Drops, q.Drops)
	}
	return queues
}

// added is the sum of two sets of counters.
func added(a, b map[string]uint64) map[string]uint64 {
	sum := maps.Clone(a)
	for name, n := range b {
		sum[name] += n
	}
	return sum
}

func (w *writer) rules(c *dataplane.Counters) {
	f := w.families
	w.counter(f.handoverRetries, c.HandoverRetries)
	w.counter(f.alertsHeld, c.AlertsHeld)
	for _, r := range byName(w.snapshot.Rules) {
		w.counter(f.evicted, r.Evicted, r.Name)
		w.gauge(f.firing, float64(r.Firing), r.Name)
		w.gauge(f.inside.pending, float64(r.Pending), r.Name)
		w.counter(f.inside.transitions, r.Transitions, r.Name)
		w.counter(f.inside.derived, r.Derived, r.Name)
		w.counter(f.inside.tooLong, r.TooLong, r.Name)
	}
	w.ruleGroups()
	for _, n := range w.snapshot.Notifiers {
		for rule, count := range n.ByRule {
			w.counter(f.alerts, count, rule, n.Name)
		}
		w.gauge(f.notifyQueued, float64(n.Queued), n.Name)
		w.gauge(f.notifyKeys, float64(n.Keys), n.Name)
		w.counter(f.notifyRetries, n.Retries, n.Name)
		for reason, count := range n.Dropped {
			w.counter(f.notifyDropped, count, n.Name, reason)
		}
		for reason, count := range n.Skipped {
			w.counter(f.notifySkipped, count, n.Name, reason)
		}
		w.counter(f.notifyLimited, n.Limited, n.Name)
		w.counter(f.notifyOverflowed, n.Overflowed, n.Name)
		w.counter(f.notifyRefreshed, n.Refreshed, n.Name)
	}
}

// byName adds up the rules that share a name, such as one alert at two severities: a series exists once.
func byName(all []Rule) []Rule {
	var sums []Rule
	at := map[string]int{}
	for _, r := range all {
		i, ok := at[r.Name]
		if !ok {
			at[r.Name] = len(sums)
			sums = append(sums, r)
			continue
		}
		sums[i].Firing += r.Firing
		sums[i].Transitions += r.Transitions
		sums[i].Evicted += r.Evicted
		sums[i].Pending += r.Pending
		sums[i].Derived += r.Derived
		sums[i].TooLong += r.TooLong
		sums[i].Keys += r.Keys
	}
	return sums
}

// sinkLedgers writes what became of the points of each sink, all of its URLs together.
func (w *writer) sinkLedgers(c *dataplane.Counters) {
	f := w.families
	var names []string
	sums := map[string]*dataplane.LaneCounters{}
	for i := range w.snapshot.Sinks {
		s := &w.snapshot.Sinks[i]
		if sums[s.Name] == nil {
			names, sums[s.Name] = append(names, s.Name), new(dataplane.LaneCounters)
		}
		settled := s.settled()
		sums[s.Name].Add(&settled)
	}
	for _, name := range names {
		sum := sums[name]
		w.counter(f.pointsWritten, sum.Written, name)
		w.gauge(f.pointsInFlight, float64(sum.InFlight), name)
		for i, n := range sum.Dropped {
			if !beforeSinks(dataplane.Drop(i)) {
				w.counter(f.pointsDropped, n, name, dataplane.Drop(i).String())
			}
		}
	}
	for i, n := range c.PointsDropped {
		if beforeSinks(dataplane.Drop(i)) {
			w.counter(f.pointsDropped, n, "", dataplane.Drop(i).String())
		}
	}
}

// beforeSinks tells whether a point is dropped for this reason before it has a sink: limits are met there.
// Every reason is either the sinks' or such a one.
func beforeSinks(d dataplane.Drop) bool {
	return d == dataplane.DropPointsLimit || d == dataplane.DropSeriesLimit
}

func (w *writer) sinks() {
	f := w.families
	type totals struct{ sent, copied uint64 }
	zeroCopy := map[string]totals{} // by sink, all URLs together
	for _, s := range w.snapshot.Sinks {
		w.gauge(f.sinkUp, truth(s.Up), s.Name, s.URL)
		w.gauge(f.sinkBreaker, float64(s.Breaker), s.Name, s.URL)
		w.gauge(f.sinkConnections, float64(s.Connections), s.Name, s.URL)
		for code, n := range requests(s.Requests) {
			w.counter(f.sinkRequests, n, s.Name, s.URL, code)
		}
		sum := zeroCopy[s.Name]
		zeroCopy[s.Name] = totals{sum.sent + s.ZeroCopySent, sum.copied + s.ZeroCopyCopied}
	}
	for name, sum := range zeroCopy {
		w.counter(f.sinkZeroCopy, sum.sent, name, "sent")
		w.counter(f.sinkZeroCopy, sum.copied, name, "copied")
	}
}

// requests are the counts by code, with the codes that databases and what stands before them commonly answer,
// so that the first one of these is an increase.
func requests(seen map[string]uint64) map[string]uint64 {
	all := map[string]uint64{"error": 0}
	for _, code := range [...]int{204, 400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504} {
		all[strconv.Itoa(code)] = 0
	}
	maps.Copy(all, seen)
	return all
}

func (w *writer) workers() {
	f := w.families
	for i := range w.snapshot.Workers {
		one := &w.snapshot.Workers[i]
		w.gauge(f.place, 1, one.Name, strconv.Itoa(one.CPU), strconv.Itoa(one.Node), one.Transport)
		w.gauge(f.workerHeartbeat, one.Heartbeat.Seconds(), one.Name)
		w.counter(f.workerBatches, one.Counters.BatchesSealed, one.Name)
		w.counter(f.workerTurns, one.Counters.Turns, one.Name)
		w.counter(f.workerSleeps, one.Counters.Sleeps, one.Name)
	}
}
