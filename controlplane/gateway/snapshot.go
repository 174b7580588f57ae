package gateway

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"culvert/bpf/abi"
	"culvert/controlplane/telemetry"
	"culvert/dataplane"
	"culvert/dataplane/hist"
	"culvert/dataplane/rules"
	"culvert/dataplane/xsk"
)

// Snapshot is everything the gateway shows of itself, now. Each worker's counters are of one of its turns.
func (g *Gateway) Snapshot() *telemetry.Snapshot {
	s := &telemetry.Snapshot{
		Version: g.options.Version, Gateway: g.options.Config.Gateway.ID, Taken: time.Now(),
		Started: g.started,
	}
	now := g.clock.Now()
	looks := g.looks()
	targets := g.urls()
	states := sinkStates(looks, len(targets))
	// The spoolers' states before the workers' counters: what a spooler has settled, a worker has counted as
	// handed over.
	spools, share := g.spoolStates()
	for i, w := range g.workers {
		s.ClockSteps = max(s.ClockSteps, looks[i].ClockSteps)
		s.Workers = append(s.Workers, telemetry.Worker{
			Name: w.Name(), CPU: w.CPU(), Node: w.Node(), Heartbeat: time.Duration(max(now-w.Heartbeat(), 0)),
			Counters: w.Counters(), Transport: states[i][0].Transport,
		})
	}
	for i, t := range targets {
		sink := g.sinkOf(t, states)
		if spools != nil {
			sink.Spool, sink.SpoolMax = &spools[i], share
		}
		s.Sinks = append(s.Sinks, sink)
	}
	for _, d := range g.spools.draining {
		if i := slices.IndexFunc(targets, d.isBack); i >= 0 {
			s.Sinks[i].Spool.Join(d.spooler.State())
			continue
		}
		s.Sinks = append(s.Sinks, d.shown())
	}
	s.Stages, s.AlertLatency = g.histograms()
	s.Heavy = g.heavySeries(looks)
	s.Rules, s.RuleGroups = g.rulesOf(looks)
	s.Notifiers = g.notifiersOf()
	s.Traces = g.tracesShown()
	g.mutex.Lock()
	for _, p := range g.interfaces {
		s.Interfaces = append(s.Interfaces, g.interfaceOf(p))
	}
	s.Listeners = g.listenersShown()
	s.Tenants = g.tenantsShown(s)
	down, impaired := g.sinksDown(targets, s.Sinks)
	s.Reasons, s.Impaired = append(g.reasons(), down...), impaired
	s.Deviations = g.deviations()
	for i := range s.Workers {
		s.Workers[i].Pages = g.pagesShown(i)
	}
	g.mutex.Unlock()
	s.Ready = len(s.Reasons) == 0
	return s
}

// reasons are why nothing can come in, in plain words. The mutex is held.
func (g *Gateway) reasons() (reasons []string) {
	if g.stopping {
		reasons = append(reasons, "the gateway is stopping")
	}
	for _, p := range g.interfaces {
		if why := p.describe(); why != "" {
			reasons = append(reasons, why)
		} else if !p.state.Up {
			reasons = append(reasons, fmt.Sprintf("interface %s: its link is down", p.config.Name))
		}
	}
	return reasons
}

func (g *Gateway) interfaceOf(p *port) telemetry.Interface {
	t := telemetry.Interface{Name: p.config.Name, Mode: p.mode, State: "up", Fanout: fanoutNone}
	switch {
	case p.waiting != nil:
		t.State = p.waiting.Error()
	case !p.state.Up:
		t.State = "link down"
	}
	for v, n := range p.counted() {
		t.Verdicts = append(t.Verdicts, telemetry.Verdict{Name: abi.Verdict(v).String(), Count: n})
	}
	if p.attachment != nil {
		t.Driver, t.Adopted = p.attachment.Driver(), p.attachment.Adopted()
		t.ZeroCopy, t.NeedWakeup = p.mode == modeZeroCopy, true
		t.BusyPoll, _ = p.polled()
		t.CardTimes = p.cardTimes.says
		if p.cardTimes.clock != nil {
			t.CardClockDoubt, t.CardClock = p.cardTimes.clock.Doubt()
		}
		if p.attachment.Steer().Fanout() > 1 {
			t.Fanout = p.config.QueuesFanout
		}
	}
	raw := make([]xsk.Statistics, len(p.queues))
	for i, s := range p.queues {
		raw[i] = s.statistics()
		t.Queues = append(t.Queues, g.queueOf(s, raw[i]))
	}
	p.queueDrops(t.Queues, raw)
	return t
}

// statistics are the kernel's counters of a socket's place on a queue: of the present one and those before.
func (s *served) statistics() xsk.Statistics {
	raw := s.before.raw
	if s.queue != nil {
		if now, err := s.queue.Statistics(); err == nil {
			raw = addStatistics(raw, s.own(now))
		}
	}
	return raw
}

// queueOf shows one socket's place on a queue, without its drops.
func (g *Gateway) queueOf(s *served, raw xsk.Statistics) telemetry.Queue {
	w := g.workers[s.worker]
	q := telemetry.Queue{Queue: s.number, Socket: s.member, CPU: w.CPU(), Node: w.Node(), Worker: w.Name(),
		FramesReceived: s.before.received}
	if s.queue != nil {
		q.FramesReceived += s.queue.Received()
		q.HugePages = s.queue.HugePages()
	}
	q.Raw = map[string]uint64{
		"rx_dropped": raw.RXDropped, "rx_invalid_descs": raw.RXInvalidDescs,
		"tx_invalid_descs": raw.TXInvalidDescs,
		"rx_ring_full":     raw.RXRingFull, "rx_fill_ring_empty_descs": raw.FillRingEmpty,
		"tx_ring_empty_descs": raw.TXRingEmpty,
	}
	return q
}

func addStatistics(a, b xsk.Statistics) xsk.Statistics {
	a.RXDropped += b.RXDropped
	a.RXInvalidDescs += b.RXInvalidDescs
	a.TXInvalidDescs += b.TXInvalidDescs
	a.RXRingFull += b.RXRingFull
	a.FillRingEmpty += b.FillRingEmpty
	a.TXRingEmpty += b.TXRingEmpty
	return a
}

// listenersShown adds up the kernel's drops of each listener's sockets, closed ones included. The mutex is
// held.
func (g *Gateway) listenersShown() []telemetry.Listener {
	shown := make([]telemetry.Listener, len(g.listeners))
	for i := range shown {
		c := &g.options.Config.Listeners[i]
		shown[i] = telemetry.Listener{Name: c.Name, Port: uint16(c.Port), KernelDrops: g.kernelDrops[i]}
	}
	doors := slices.Clone(g.doors)
	for _, p := range g.interfaces {
		doors = append(doors, p.doors...)
	}
	for _, d := range doors {
		shown[d.listener].KernelDrops += d.door.KernelDrops()
	}
	return shown
}

const (
	// lookTime is how long a snapshot waits for workers that have answered before, lookFirst for others. A
	// worker answers within a turn, which is microseconds.
	lookTime  = 100 * time.Millisecond
	lookFirst = time.Second
)

// looks asks all workers at once how they are. Of one that does not answer, what it said last stands, so that
// its counters never go backwards; its heartbeat tells the rest.
func (g *Gateway) looks() []*dataplane.Look {
	set := g.rules.current()
	looks := make([]*dataplane.Look, len(g.workers))
	var all sync.WaitGroup
	for i, w := range g.workers {
		all.Go(func() {
			last, patience := g.lastLooks[i].Load(), lookTime
			if last == nil {
				last = new(dataplane.Look)
				patience = lookFirst
			}
			if now, err := w.Look(set, patience); err == nil {
				g.lastLooks[i].Store(now)
				last = now
			}
			looks[i] = last
		})
	}
	all.Wait()
	return looks
}

// sinkStates are the states of so many URLs, by worker. Of one that came after a worker was asked nothing is
// known.
func sinkStates(looks []*dataplane.Look, urls int) [][]dataplane.SinkState {
	states := make([][]dataplane.SinkState, len(looks))
	for i, look := range looks {
		states[i] = look.Sinks
		if unknown := urls - len(look.Sinks); unknown > 0 {
			states[i] = append(slices.Clip(look.Sinks), make([]dataplane.SinkState, unknown)...)
		}
	}
	return states
}

// leftWords is what is said of a URL that gets nothing.
const leftWords = "a reload took it out of the sink"

// sinkOf adds up what the workers' writers say of one URL. It is up while any of them reaches it and none of
// them holds points that it does not take: an idle worker's connection says nothing about writes. When nobody
// holds points any more, doubt decides.
func (g *Gateway) sinkOf(target *sinkTarget, states [][]dataplane.SinkState) telemetry.Sink {
	lane := target.lane
	t := telemetry.Sink{Name: target.config.Name, URL: target.url, Requests: map[string]uint64{}}
	stuck := ""
	for i, w := range g.workers {
		s, counters := &states[i][lane], w.LaneCounters(lane)
		t.Points.Add(&counters)
		t.Up = t.Up || s.Up
		t.Connections += s.Stats.Connections
		t.Breaker = max(t.Breaker, s.Stats.Breaker)
		if s.LastError != "" {
			t.LastError = s.LastError
			if !s.Up && counters.InFlight > 0 {
				stuck = s.LastError
			}
		}
		for code, n := range s.Stats.Requests {
			t.Requests[code] += n
		}
		t.ZeroCopySent += s.Stats.ZeroCopySent
		t.ZeroCopyCopied += s.Stats.ZeroCopyCopied
	}
	if stuck == "" {
		stuck = g.doubt(target, states)
	}
	switch {
	case !g.leavingOf(target).sends():
		t.Up, t.LastError = false, leftWords
	case stuck != "":
		t.Up, t.LastError = false, stuck
	case t.Up:
		t.LastError = ""
	}
	return t
}

// doubt is how the last request to a URL failed, if no point waits that would show whether the next one does,
// and nothing has shown since that the server is in order.
func (g *Gateway) doubt(target *sinkTarget, states [][]dataplane.SinkState) string {
	lane := target.lane
	good, bad, why := target.asked.Load(), int64(0), ""
	for i, w := range g.workers {
		s := &states[i][lane]
		good = max(good, s.LastGood)
		if s.LastTrouble > bad {
			bad, why = s.LastTrouble, orUnknown(s.LastError)
		}
		if w.LaneCounters(lane).InFlight > 0 {
			return ""
		}
	}
	if good >= bad {
		return ""
	}
	return why
}

// histograms are all workers' stages together.
func (g *Gateway) histograms() (map[string]*hist.Snapshot, *hist.Snapshot) {
	stages := map[string]*hist.Snapshot{}
	add := func(name string, h *hist.Histogram) {
		if stages[name] == nil {
			stages[name] = new(hist.Snapshot)
		}
		h.AddTo(stages[name])
	}
	for _, w := range g.workers {
		s := w.Stages()
		add("nic_to_steer", &s.NICToSteer)
		add("steer_to_worker", &s.SteerToWorker)
		add("decode", &s.Decode)
		add("rules", &s.Rules)
		add("batch_wait", &s.BatchWait)
		add("write", &s.Write)
		add("end_to_end", &s.EndToEnd)
	}
	if n := stages["nic_to_steer"]; n != nil && n.Count == 0 {
		// Most cards do not tell: no series that stay at 0 for ever.
		delete(stages, "nic_to_steer")
	}
	latency := new(hist.Snapshot)
	g.latency.hist.AddTo(latency)
	return stages, latency
}

// rulesOf adds up what the workers say of each rule and of each group. Only a key's owner counts it, so sums
// are right; of the watermarks the latest counts.
func (g *Gateway) rulesOf(looks []*dataplane.Look) (shown []telemetry.Rule, groups []telemetry.RuleGroup) {
	set := g.rules.current()
	if set == nil {
		return nil, nil
	}
	var at []int // the place of each rule in what is shown; filters are not, the ledger counts what they drop
	for _, r := range set.Rules() {
		if r.Kind == rules.KindKeep || r.Kind == rules.KindDrop {
			at = append(at, -1)
			continue
		}
		at = append(at, len(shown))
		shown = append(shown, telemetry.Rule{Name: r.Name, Group: r.Group, Kind: r.Kind.String(),
			Expr: r.Expr, Steps: r.Steps, KeyBytes: r.KeyBytes})
	}
	for _, name := range set.Groups() {
		groups = append(groups, telemetry.RuleGroup{Name: name})
	}
	for _, look := range looks {
		counts := &look.Rules
		if counts.Set != set {
			continue
		}
		for i := range counts.Rules {
			if at[i] >= 0 {
				addRule(&shown[at[i]], &counts.Rules[i])
			}
		}
		for i := range counts.Groups {
			addGroup(&groups[i], &counts.Groups[i])
		}
	}
	return shown, groups
}

func addRule(to *telemetry.Rule, s *rules.RuleStats) {
	to.Firing += s.Firing
	to.Pending += s.Pending
	to.Transitions += s.Transitions
	to.Derived += s.Derived
	to.Evicted += s.Evicted
	to.TooLong += s.TooLong
	to.Keys += s.Keys
}

func addGroup(to *telemetry.RuleGroup, s *rules.GroupStats) {
	to.Keys += s.Keys
	to.Late += s.Late
	to.Ahead += s.Ahead
	to.Missed += s.Missed
	to.Early, to.OnTime = max(to.Early, s.Early), max(to.OnTime, s.OnTime)
	to.Final = max(to.Final, s.Final)
}

// Alerts are at most n of the alerts that fire, the newest first; their maps are only to be read.
func (g *Gateway) Alerts(n int) []telemetry.Alert { return g.firing.Newest(n) }

// Rejects are at most n of the last rejects, the newest first.
func (g *Gateway) Rejects(n int) []telemetry.Reject { return g.rejects.Newest(n) }

func (g *Gateway) notifiersOf() []telemetry.Notifier {
	var shown []telemetry.Notifier
	var set []rules.RuleSummary
	if now := g.rules.current(); now != nil {
		set = now.Rules()
	}
	for _, n := range g.notifiers.Stats() {
		n.ByRule = toldBy(n.ByRule, set, n.Name, n.Type == "log")
		shown = append(shown, telemetry.Notifier{
			Name: n.Name, Type: n.Type, Delivered: n.Delivered, Failed: n.Lost(), Queued: n.Queued,
			Dropped: map[string]uint64{"refused": n.Refused, "no_room": n.NoRoom, "stopped": n.Left},
			Skipped: map[string]uint64{"known": n.Deduplicated, "newer": n.Superseded},
			Retries: n.Retries, Limited: n.Limited, Overflowed: n.Overflowed, Refreshed: n.Refreshed,
			Keys: n.Keys, ByRule: n.ByRule,
		})
	}
	return shown
}

// toldBy is what a notifier delivered by rule, with every alert that it is there for, also those that have
// not fired yet. A notifier of type log is there for alerts that name none, too.
func toldBy(delivered map[string]uint64, set []rules.RuleSummary, notifier string,
	log bool) map[string]uint64 {
	all := map[string]uint64{}
	for i := range set {
		r := &set[i]
		if r.Kind == rules.KindAlert && (slices.Contains(r.Actions, notifier) || log && len(r.Actions) == 0) {
			all[r.Name] = 0
		}
	}
	maps.Copy(all, delivered)
	return all
}
