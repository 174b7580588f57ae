package gateway

import (
	"log/slog"
	"net/netip"
	"sync"

	"culvert/bpf"
	"culvert/controlplane/config"
	"culvert/controlplane/telemetry"
	"culvert/dataplane"
)

// probes are the kernel's probes. They open beside everything else, and nothing else waits for them or
// depends on them. Their methods may be called from any goroutine.
type probes struct {
	config *config.Probes
	log    *slog.Logger

	mutex  sync.Mutex
	opened *bpf.Probes // nil until they are open, where they are switched off, and where none opened
	status []bpf.ProbeStatus
	// What is to be watched, kept for when they are open.
	sinks      []netip.AddrPort
	interfaces map[string]int // by name, the index
}

func newProbes(c *config.Probes, log *slog.Logger) *probes {
	return &probes{config: c, log: log, status: allProbes(nil), interfaces: map[string]int{}}
}

// allProbes is one state of all: off, or missing for one reason.
func allProbes(err error) (status []bpf.ProbeStatus) {
	for _, name := range bpf.ProbeNames() {
		status = append(status, bpf.ProbeStatus{Name: name, Err: err})
	}
	return status
}

// open attaches the probes and points them at the workers, the interfaces and the sink. What fails is logged
// once, and shown by its metric from then on.
func (p *probes) open(workers []*dataplane.Worker) {
	if !p.config.Enabled {
		return
	}
	opened, err := bpf.OpenProbes(p.config.Except)
	if err != nil {
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

// Status is telemetry.ProbeSource's.
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

func (p *probes) close() error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.opened == nil {
		return nil
	}
	// What is shown afterwards is that they are off.
	opened := p.opened
	p.opened, p.status = nil, allProbes(nil)
	return opened.Close()
}

// Probes are what the kernel's probes measure.
func (g *Gateway) Probes() telemetry.ProbeSource { return g.probes }
