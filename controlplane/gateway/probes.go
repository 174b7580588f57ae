package gateway

import (
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"culvert/bpf"
	"culvert/controlplane/attach"
	"culvert/controlplane/config"
	"culvert/controlplane/confine"
	"culvert/controlplane/nic"
	"culvert/controlplane/telemetry"
	"culvert/dataplane"
)

// probes are the kernel's probes. They open beside everything else, and nothing else waits for them or
// depends on them. Their methods may be called from any goroutine.
type probes struct {
	log *slog.Logger
	// cardTimes says that cards are asked for the times of packets: the one probe that is not in here.
	// askCard finds out which tell them.
	cardTimes atomic.Bool
	askCard   func(attach.State) (nic.CardTimes, error)

	// opening is held by whoever attaches or detaches: the start, a reload, the stop. It comes before mutex.
	opening sync.Mutex
	config  config.Probes // guarded by opening
	ended   bool          // guarded by opening

	mutex  sync.Mutex
	opened *bpf.Probes // nil until they are open, where they are switched off, and where none opened
	status []bpf.ProbeStatus
	// What is to be watched, kept for when they are open.
	sinks      []netip.AddrPort
	interfaces map[string]int // by name, the index
}

func newProbes(c *config.Probes, log *slog.Logger) *probes {
	p := &probes{config: *c, log: log, status: allProbes(nil), interfaces: map[string]int{},
		askCard: attach.AskCardTimes}
	p.cardTimes.Store(WantsCardTimes(c))
	return p
}

// probeNames are the names that a configuration may except.
func probeNames() []string { return append(bpf.ProbeNames(), nicTimestamps) }

// allProbes is one state of all: off, or missing for one reason.
func allProbes(err error) (status []bpf.ProbeStatus) {
	for _, name := range bpf.ProbeNames() {
		status = append(status, bpf.ProbeStatus{Name: name, Err: err})
	}
	return status
}

// open attaches the probes at the start.
func (p *probes) open(workers []*dataplane.Worker) {
	p.opening.Lock()
	defer p.opening.Unlock()
	p.attach(workers)
}

// change detaches all probes and attaches those of another configuration, if it is another, and returns which
// are on now that were not, and what could not be done.
func (p *probes) change(c *config.Probes, workers []*dataplane.Worker) (telemetry.Difference, []string) {
	p.opening.Lock()
	defer p.opening.Unlock()
	before := names(p.Status())
	if p.ended || p.config.Enabled == c.Enabled && slices.Equal(p.config.Except, c.Except) {
		return telemetry.Difference{Kept: before}, nil
	}
	var warnings []string
	if err := p.detach(); err != nil {
		warnings = append(warnings, err.Error())
	}
	p.config = *c
	p.attach(workers)
	var d telemetry.Difference
	var missing []string
	var why error
	for _, s := range p.Status() {
		was := slices.Contains(before, s.Name)
		switch {
		case s.Err != nil:
			missing = append(missing, s.Name)
			if why == nil {
				why = s.Err
			}
		case s.On && was:
			d.Kept = append(d.Kept, s.Name)
		case s.On:
			d.Added = append(d.Added, s.Name)
		}
		if was && !s.On {
			d.Removed = append(d.Removed, s.Name)
		}
	}
	if why != nil {
		warnings = append(warnings,
			fmt.Sprintf("probes are missing: %s: %v", strings.Join(missing, ", "), why))
	}
	return d, warnings
}

// names are those of the probes that are on.
func names(status []bpf.ProbeStatus) (on []string) {
	for _, s := range status {
		if s.On {
			on = append(on, s.Name)
		}
	}
	return on
}

// attach attaches the probes and points them at the workers, the interfaces and the sink. What fails is
// logged once, and shown by its metric from then on. The caller holds opening.
func (p *probes) attach(workers []*dataplane.Worker) {
	if !p.config.Enabled || p.ended {
		return
	}
	elsewhere := func(name string) bool { return name == nicTimestamps }
	opened, err := bpf.OpenProbes(slices.DeleteFunc(slices.Clone(p.config.Except), elsewhere))
	if err != nil {
		err = lacking(err)
		p.log.Warn("no probes", "error", err)
		p.mutex.Lock()
		p.status = allProbes(err)
		p.mutex.Unlock()
		return
	}
	for _, s := range opened.Status() {
		if s.Err != nil {
			p.log.Warn("probe is missing", "probe", s.Name, "error", s.Err)
		}
	}
	p.mutex.Lock()
	p.opened, p.status = opened, opened.Status()
	for _, address := range p.sinks {
		p.applySink(address)
	}
	for name, index := range p.interfaces {
		p.applyInterface(name, index)
	}
	p.mutex.Unlock()
	for _, w := range workers {
		if err := w.Do(opened.WatchThread); err != nil {
			p.log.Warn("worker is not probed", "worker", w.Name(), "error", err)
		}
	}
}

// lacking names the capabilities that probes need and that this process has not, before an error that may be
// from that: the library guesses at limits of memory.
func lacking(err error) error {
	missing, unknown := confine.Missing(unix.CAP_BPF, unix.CAP_PERFMON)
	if unknown != nil || len(missing) == 0 {
		return err
	}
	var names []string
	for i := range missing {
		names = append(names, missing[i].Name)
	}
	return fmt.Errorf("this process lacks %s: %w", strings.Join(names, " and "), err)
}

// watchSink is for each address that the sink gets.
func (p *probes) watchSink(address netip.AddrPort) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.sinks = append(p.sinks, address)
	p.applySink(address)
}

func (p *probes) applySink(address netip.AddrPort) {
	if p.opened == nil {
		return
	}
	if err := p.opened.WatchSink(address); err != nil {
		p.log.Warn("sink is not probed", "error", err)
	}
}

// watchInterface is for an interface that came, or came back with another index.
func (p *probes) watchInterface(in *port) {
	if !in.state.Present {
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.interfaces[in.config.Name] = in.state.Index
	p.applyInterface(in.config.Name, in.state.Index)
}

func (p *probes) applyInterface(name string, index int) {
	if p.opened == nil {
		return
	}
	if err := p.opened.WatchInterface(name, index); err != nil {
		p.log.Warn("interface is not probed", "error", err)
	}
}

// Status says of each probe in the kernel whether it measures.
func (p *probes) Status() []bpf.ProbeStatus {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.status
}

// Read is telemetry.ProbeSource's.
func (p *probes) Read() (*bpf.Measured, error) {
	p.mutex.Lock()
	opened := p.opened
	p.mutex.Unlock()
	if opened == nil {
		return &bpf.Measured{}, nil
	}
	return opened.Read()
}

// close detaches them for good.
func (p *probes) close() error {
	p.opening.Lock()
	defer p.opening.Unlock()
	p.ended = true
	return p.detach()
}

// detach takes them all away. The caller holds opening.
func (p *probes) detach() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	// What is shown afterwards is that they are off.
	opened := p.opened
	p.opened, p.status = nil, allProbes(nil)
	if opened == nil {
		return nil
	}
	return opened.Close()
}

// allOfProbes are the probes in the kernel and the one in the XDP program.
type allOfProbes struct {
	*probes
	gateway *Gateway
}

// Status is telemetry.ProbeSource's.
func (a allOfProbes) Status() []bpf.ProbeStatus {
	a.gateway.mutex.Lock()
	on := a.gateway.cardTimesOn()
	a.gateway.mutex.Unlock()
	return append(slices.Clone(a.probes.Status()), bpf.ProbeStatus{Name: nicTimestamps, On: on})
}

// Probes are what the probes measure.
func (g *Gateway) Probes() telemetry.ProbeSource { return allOfProbes{g.probes, g} }
