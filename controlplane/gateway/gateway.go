// Package gateway builds workers from a configuration and owns their life: start, changes of interfaces and
// names while they run, and the stop that loses nothing it could have delivered.
//
//	start:  plan → kernel sockets → workers → attach → queues → XSKMAP → redirect on
//	stop:   redirect off → drain (bounded) → detach → close sockets → free memory
//
// It moves no points itself and makes no HTTP pages; it hands others a Snapshot.
package gateway

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"culvert/controlplane/attach"
	"culvert/controlplane/config"
	"culvert/controlplane/notify"
	"culvert/controlplane/telemetry"
	"culvert/controlplane/traces"
	"culvert/dataplane"
	"culvert/dataplane/rules"
	"culvert/dataplane/spsc"
	"culvert/numa"
)

const (
	// drainTime bounds how long a stop waits for the sink's answers.
	drainTime = 10 * time.Second
	// stuckAfter is how long a worker may show no life before the gateway is no longer live.
	stuckAfter = 5 * time.Second
	// kernelName is the slow path's worker and interface in metrics and status.
	kernelName = "kernel"
	// housekeepingSlots is how many goroutines beside the workers can run at once, at least: one that
	// computes and one that must not wait for it.
	housekeepingSlots = 2
	// sysfsRoot is where /sys is looked for.
	sysfsRoot = "/"
)

// Options is what a gateway is made from.
type Options struct {
	Config  *config.Config
	Rules   *rules.Set // (optional)
	Log     *slog.Logger
	Version string
	// Seen are the programs on the interfaces, by name, from before privileges were given up (optional).
	Seen map[string]attach.Seen
	// Kept are kernel sockets of the listeners by port, from a process before this one (optional). Those that
	// are used belong to the gateway.
	Kept map[uint16]int
	// Keep is told the kernel socket of each listener's port, once, while starting, and tells whether it is
	// kept for the next process (optional).
	Keep func(port uint16, fd int) bool
}

// Gateway is a running gateway. Its methods may be called from any goroutine.
type Gateway struct {
	options Options
	log     *slog.Logger
	started time.Time
	plan    *Plan
	placed  placed
	clock   *dataplane.Clock

	exchange  *dataplane.Exchange
	alerts    []*dataplane.Alerts
	samples   []*spsc.Ring[dataplane.Sample]
	refusals  []*spsc.Ring[dataplane.Refusal]
	workers   []*dataplane.Worker // the pinned ones, then the slow path's
	lastLooks []atomic.Pointer[dataplane.Look]
	listeners []dataplane.Listener
	limits    *dataplane.Limits // nil where no tenant has any
	addresses atomic.Pointer[dataplane.Addresses]
	notifiers *notify.Notifiers
	latency   alertLatency
	firing    telemetry.Firing
	rejects   *telemetry.Rejects
	tapped    sync.Mutex             // held while somebody taps
	exporter  *traces.Traces         // nil where traces are off
	traced    []*dataplane.TraceRing // by worker, as workers
	replayed  []*dataplane.TraceRing // the spoolers'

	// changing is held by whoever changes or saves the rules: a reload, a checkpoint.
	changing    sync.Mutex
	rules       ruleBook
	carried     []*atomic.Uint64 // state changes of each worker that went to the notifiers
	checkpoints checkpoints      // of the rules' state; its keeper's goroutine, then the stop
	// ways and departures are of the notifiers via xdp, one each.
	ways       []*way
	departures []dataplane.Departure
	sinks      []*sink
	targets    []*sinkTarget // of all sinks, in the order of the workers' lanes
	spools     spools
	// growing guards targets, the spoolers and their share, refusals and replayed against a reload that adds
	// a URL; what holds changing reads them without it.
	growing sync.RWMutex
	evening evening
	uneven  error           // why no URL can be added any more; guarded by changing
	life    context.Context // ends with the stop; for what begins later than the start
	probes  *probes

	// mutex guards what stands below it against the watchers, the snapshot and the stop.
	mutex      sync.Mutex
	interfaces []*port
	doors      []door
	pages      []dataplane.Pages // of each worker, as the last look found them
	// kernelDrops counts, by listener, what the kernel dropped at sockets that are closed by now.
	kernelDrops []uint64
	stopping    bool

	background sync.WaitGroup // ends with the context
	carriers   sync.WaitGroup // end when their rings are closed
	cancel     context.CancelFunc
}

// Start brings a gateway up. A sink that does not answer is not an error: the gateway starts, is not ready,
// and recovers. Every other failure is returned and leaves nothing behind.
func Start(ctx context.Context, options Options) (*Gateway, error) {
	plan, err := MakePlan(options.Config)
	if err != nil {
		return nil, err
	}
	return startOn(ctx, options, plan)
}

// startOn brings a gateway up with a plan.
func startOn(ctx context.Context, options Options, plan *Plan) (_ *Gateway, err error) {
	ctx, cancel := context.WithCancel(ctx)
	g := &Gateway{
		options: options, plan: plan, log: options.Log, started: time.Now(), life: ctx, cancel: cancel,
		listeners: listenersOf(options.Config), kernelDrops: make([]uint64, len(options.Config.Listeners)),
		rejects: telemetry.NewRejects(options.Config.Rejects.Keep),
		probes:  newProbes(&options.Config.Probes, options.Log),
	}
	g.addresses.Store(&dataplane.Addresses{})
	g.rules.begin(options.Rules)
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	if g.clock, err = dataplane.NewClock(); err != nil {
		return nil, err
	}
	for _, note := range g.plan.Notes {
		g.log.Warn("placement", "note", note.String())
	}
	for _, note := range g.plan.Cautions {
		g.log.Warn("interface", "note", note.String())
	}
	if err := numa.Confine(g.plan.Housekeeping); err != nil {
		return nil, err
	}
	// Left alone, Go counts the CPUs that Confine left and lets as many goroutines run at once: workers,
	// which hold their CPUs all the time, would take turns with each other and with everything else.
	runtime.GOMAXPROCS(len(g.plan.Workers) + max(len(g.plan.Housekeeping), housekeepingSlots))
	if err := openSinks(ctx, g); err != nil {
		return nil, err
	}
	if g.notifiers, err = g.openNotifiers(); err != nil {
		return nil, err
	}
	if err := g.openWays(); err != nil {
		return nil, err
	}
	if err := g.openCheckpoints(); err != nil {
		return nil, err
	}
	if err := g.openTraces(ctx); err != nil {
		return nil, err
	}
	g.restoreTold()
	if err := g.startWorkers(); err != nil {
		return nil, err
	}
	g.tellRestored()
	if err := g.lookAround(); err != nil {
		return nil, err
	}
	if err := g.openDoors(); err != nil {
		return nil, err
	}
	if err := g.attachAll(); err != nil {
		return nil, err
	}
	g.startBackground(ctx)
	return g, nil
}

// MakePlan reads this machine and deals the configuration's queues out. It opens nothing.
func MakePlan(c *config.Config) (*Plan, error) {
	topology, err := numa.Read(sysfsRoot)
	if err != nil {
		return nil, err
	}
	allowed, err := numa.Allowed()
	if err != nil {
		return nil, err
	}
	set, err := numa.ReadCpuset(sysfsRoot)
	if err != nil {
		return nil, err
	}
	offers, polled := map[string]attach.Offer{}, map[string]bool{}
	var notes []Note
	p := Placement{
		Topology: topology, Allowed: topology.Usable(allowed, set), Cpuset: set, CPUs: c.Workers.CPUs,
		Node: int(c.Workers.NUMA),
	}
	for i := range c.Interfaces {
		iface := &c.Interfaces[i]
		state, err := attach.Look(iface.Name)
		if err != nil {
			return nil, err
		}
		if !state.Present {
			return nil, &attach.Error{Kind: attach.Missing, Interface: iface.Name, Attempt: "use",
				Problem: "there is no such interface", Remedy: "`ip -br link` lists those there are"}
		}
		for _, queue := range iface.Queues {
			if queue >= state.RXQueues {
				return nil, &attach.Error{Kind: attach.Unsupported, Interface: iface.Name, Attempt: "use",
					Problem: fmt.Sprintf("there is no queue %d, it has %d", queue, state.RXQueues),
					Remedy:  fmt.Sprintf("`ethtool -l %s` shows them", iface.Name)}
			}
		}
		offer, err := attach.AskOffer(state)
		if err == nil && iface.Mode == modeZeroCopy {
			err = offer.DemandZeroCopy(iface.Name)
		}
		if err != nil {
			return nil, err
		}
		note, err := judgeZeroCopy(&offer, iface, state.MTU, c.Workers.FrameSize-frameHeadroom)
		if err != nil {
			return nil, err
		}
		if note.Text != "" {
			notes = append(notes, note)
		}
		offers[iface.Name] = offer
		if note := busyPollOf(iface); note.Text != "" {
			notes = append(notes, note)
		} else {
			polled[iface.Name] = iface.BusyPoll.On
		}
		p.Ports = append(p.Ports, Port{
			Name: iface.Name, Node: numa.NICNode(sysfsRoot, iface.Name),
			Queues: queuesOf(iface, state.RXQueues), Fanout: fansOut(iface),
		})
	}
	plan, err := NewPlan(p)
	if err != nil {
		return nil, err
	}
	plan.Offers, plan.Polled = offers, polled
	plan.Notes = append(plan.Notes, notes...)
	plan.Cautions = cautionsOf(c, plan)
	return plan, nil
}

// startWorkers starts the pinned workers and the slow path's, none of which has a source yet.
func (g *Gateway) startWorkers() (err error) {
	pinned := len(g.plan.Workers)
	g.lastLooks = make([]atomic.Pointer[dataplane.Look], pinned+1)
	g.limits = limitsOf(g.options.Config, pinned+1)
	if g.exchange, err = dataplane.NewExchange(pinned + 1); err != nil {
		return err
	}
	if err := g.openSpools(pinned + 1); err != nil {
		return err
	}
	// Secret, so that senders cannot make keys collide.
	var random [16]byte
	if _, err := rand.Read(random[:]); err != nil {
		return fmt.Errorf("read a random seed: %w", err)
	}
	seed := [2]uint64{binary.NativeEndian.Uint64(random[:8]), binary.NativeEndian.Uint64(random[8:])}
	for index := range pinned + 1 {
		alerts, err := dataplane.NewAlerts()
		if err != nil {
			return err
		}
		g.alerts = append(g.alerts, alerts)
		g.carried = append(g.carried, new(atomic.Uint64))
		samples := spsc.New[dataplane.Sample](dataplane.SampleSlots)
		g.samples = append(g.samples, samples)
		c := g.workerConfig(index, seed)
		refusals := spsc.New[dataplane.Refusal](dataplane.RefusalSlots)
		g.refusals = append(g.refusals, refusals)
		c.Alerts, c.Samples, c.Refusals = alerts, samples, refusals
		if g.traced != nil {
			c.Traces, c.TraceOneIn = g.traced[index], g.options.Config.Traces.OneIn
		}
		worker, err := dataplane.Start(c)
		if err != nil {
			return err
		}
		g.workers = append(g.workers, worker)
	}
	for _, w := range g.workers {
		if err := w.WithoutRing(); err != nil {
			g.log.Warn("no io_uring, sending over plain sockets", "worker", w.Name(), "error", err)
		}
	}
	return nil
}

// slowWorker is the index of the worker behind the kernel's sockets.
func (g *Gateway) slowWorker() int { return len(g.plan.Workers) }

func (g *Gateway) workerConfig(index int, seed [2]uint64) dataplane.Config {
	cfg := g.options.Config
	c := dataplane.Config{
		Name: strconv.Itoa(index), Index: index, CPU: -1, Node: -1, Wait: waitMode(cfg.Workers.Wait),
		Batch: cfg.Workers.Batch, Listeners: g.listeners, Addresses: &g.addresses, Limits: g.limits,
		Rules: g.rules.current(), RuleCheckpoints: g.checkpoints.found, Exchange: g.exchange,
		TenantSinks: tenantSinks(cfg),
		RuleState: rules.Config{
			Worker: index, Workers: len(g.plan.Workers) + 1, Owners: len(g.plan.Workers), Seed: seed,
			KeysMax: cfg.Rules.MaxKeys,
		},
	}
	for _, s := range g.sinks {
		one := s.worker(index, index == g.slowWorker(), seed[0])
		one.HugePages = g.batchPages()
		if first := s.targets[0].lane; g.spools.dir != "" {
			end := first + len(s.targets)
			one.Spools = g.spools.ports[index][first:end:end]
			one.Always = cfg.Spool.Mode == "always"
		}
		c.Sinks = append(c.Sinks, one)
	}
	if index == g.slowWorker() {
		// It shares its CPU with all else of the gateway, so it never spins.
		c.Name, c.Wait = kernelName, dataplane.WaitSleep
		return c
	}
	c.Departures = g.departures
	c.CPU, c.Node = g.plan.Workers[index].CPU, g.plan.Workers[index].Node
	if c.CPU < 0 {
		c.Wait = dataplane.WaitSleep
	}
	return c
}

// startBackground starts everything that goes on beside the workers until the stop.
func (g *Gateway) startBackground(ctx context.Context) {
	names := make([]string, len(g.options.Config.Listeners))
	for i := range names {
		names[i] = g.options.Config.Listeners[i].Name
	}
	g.background.Go(func() { g.takeRefusals(ctx) })
	for _, s := range g.sinks {
		if s.config.Routing == "load_aware" {
			g.background.Go(func() { g.balance(ctx, s) })
		}
		if s.config.TokenFile != "" {
			g.background.Go(func() { g.followToken(ctx, s) })
		}
	}
	g.background.Go(func() { logSamples(ctx, g.log, g.samples, names, g.rejects) })
	for _, t := range g.targets {
		g.followTarget(ctx, t)
	}
	for _, d := range g.spools.draining {
		g.background.Go(func() { d.watch(ctx) })
	}
	g.background.Go(func() { g.probes.open(g.workers) })
	g.background.Go(func() { g.logSinks(ctx) })
	if g.spools.dir != "" {
		g.background.Go(func() { g.logSpools(ctx) })
	}
	if g.exporter != nil {
		g.background.Go(func() { g.carryTraces(ctx) })
	}
	g.background.Go(func() { g.logLosses(ctx) })
	g.background.Go(func() { g.keepPages(ctx) })
	g.background.Go(func() { g.turnAges(ctx) })
	g.background.Go(func() { spaceCollections(ctx) })
	g.background.Go(func() { g.keepCheckpoints(ctx) })
	g.background.Go(func() { g.endOrphans(ctx) })
	if len(g.ways) > 0 {
		g.background.Go(func() { g.followWays(ctx) })
	}
	for i := range g.alerts {
		g.carriers.Go(func() { g.carryAlerts(i) })
	}
	for _, p := range g.interfaces {
		g.background.Go(func() { g.watch(ctx, p) })
	}
}

// Live returns an error when a worker has shown no life for too long.
func (g *Gateway) Live() error {
	now := g.clock.Now()
	for _, w := range g.workers {
		if idle := time.Duration(now - w.Heartbeat()); idle > stuckAfter {
			return fmt.Errorf("worker %q has been stuck for %s", w.Name(), idle.Round(time.Millisecond))
		}
	}
	return nil
}

// Stop takes the gateway down in the order that loses nothing it could still deliver: no new packets, what is
// in memory to the sink within a bound, then everything back to how it was. It is idempotent.
func (g *Gateway) Stop() error {
	g.mutex.Lock()
	stopped := g.stopping
	g.stopping = true
	g.mutex.Unlock()
	if stopped {
		return nil
	}
	g.cancel()
	g.background.Wait()
	// A reload that is under way comes to its end; those that come later are refused.
	g.changing.Lock()
	defer g.changing.Unlock()
	var errs []error
	for _, p := range g.interfaces {
		errs = append(errs, p.redirect(false))
	}
	return errors.Join(append(errs, g.drain(), g.saveStates(), g.close(), g.saveTold())...)
}

// drain empties all workers at once: a worker hands rule states to others until it is done.
func (g *Gateway) drain() error {
	errs := make([]error, len(g.workers))
	var all sync.WaitGroup
	for i, w := range g.workers {
		all.Go(func() { errs[i] = w.Drain(drainTime) })
	}
	all.Wait()
	var c dataplane.Counters
	for _, w := range g.workers {
		counters := w.Counters()
		c.Add(&counters)
	}
	g.log.Info("drained", "points_received", c.PointsIn(), "points_written", c.PointsWritten,
		"points_rejected", c.PointsRefused(), "points_dropped", c.PointsLost(),
		"points_spooled", c.PointsSpooled, "residue", int64(c.PointsIn()-c.PointsOut()))
	return errors.Join(errs...)
}

// close gives back what Start took, as far as it came: detach, sockets, memory.
func (g *Gateway) close() error {
	g.cancel()
	errs := []error{g.closeIntake()}
	for _, w := range g.workers {
		errs = append(errs, w.Close())
	}
	errs = append(errs, g.closeSpools())
	for _, a := range g.alerts {
		errs = append(errs, a.Close())
	}
	for _, w := range g.ways {
		w.close()
	}
	errs = append(errs, g.probes.close())
	g.closeTraces()
	g.carriers.Wait()
	if g.notifiers != nil {
		ctx, cancel := context.WithTimeout(context.Background(), notifyTime)
		defer cancel()
		errs = append(errs, g.notifiers.Close(ctx))
	}
	if g.exchange != nil {
		g.exchange.Close()
	}
	return errors.Join(errs...)
}

// closeIntake takes programs and sockets away, as an interface that goes loses them: with the mutex held,
// since snapshots are asked for until the process ends, and with what they counted kept.
func (g *Gateway) closeIntake() error {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	var errs []error
	for _, p := range g.interfaces {
		errs = append(errs, p.detach(), g.lower(p))
	}
	return errors.Join(append(errs, g.closeDoors(&g.doors))...)
}

func waitMode(name string) dataplane.WaitMode {
	switch name {
	case "busy":
		return dataplane.WaitBusy
	case "sleep":
		return dataplane.WaitSleep
	}
	return dataplane.WaitAdaptive
}
