package gateway

import (
	"log/slog"
	"net/netip"

	"culvert/bpf"
	"culvert/controlplane/telemetry"
	"culvert/dataplane"
)

// probes are the kernel's probes, or why there are none. Nothing else depends on them: where none opened,
// every method does nothing.
type probes struct {
	log    *slog.Logger
	opened *bpf.Probes // nil where they are switched off, or where none opened
	status []bpf.ProbeStatus
}

// openProbes attaches the probes and points them at the sink. What fails is logged once, and
// shown by its metric from then on.
func (g *Gateway) openProbes() *probes {
	p := &probes{log: g.log}
	if !g.options.Config.Probes.Enabled {
		p.status = allProbes(nil)
		return p
	}
	opened, err := bpf.OpenProbes(g.options.Config.Probes.Except)
	if err != nil {
		p.log.Warn("no probes", "error", err)
		p.status = allProbes(err)
		return p
	}
	p.opened, p.status = opened, opened.Status()
	for _, s := range p.status {
		if s.Err != nil {
			p.log.Warn("probe is missing", "probe", s.Name, "error", s.Err)
		}
	}
	if g.sink.current.IsValid() {
		p.watchSink(g.sink.current)
	}
	g.sink.moved = p.watchSink
	return p
}

// allProbes is one state of all.
func allProbes(err error) (status []bpf.ProbeStatus) {
	for _, name := range bpf.ProbeNames() {
		status = append(status, bpf.ProbeStatus{Name: name, Err: err})
	}
	return status
}

// watchWorkers lets each worker's thread make itself known.
func (p *probes) watchWorkers(workers []*dataplane.Worker) {
	if p.opened == nil {
		return
	}
	for _, w := range workers {
		if err := w.Do(p.opened.WatchThread); err != nil {
			p.log.Warn("worker is not probed", "worker", w.Name(), "error", err)
		}
	}
}

func (p *probes) watchSink(address netip.AddrPort) {
	if err := p.opened.WatchSink(address); err != nil {
		p.log.Warn("sink is not probed", "error", err)
	}
}

// watchInterface is for an interface that came, or came back with another index.
func (p *probes) watchInterface(in *port) {
	if p.opened == nil || !in.state.Present {
		return
	}
	if err := p.opened.WatchInterface(in.config.Name, in.state.Index); err != nil {
		p.log.Warn("interface is not probed", "error", err)
	}
}

// Status is telemetry.ProbeSource's.
func (p *probes) Status() []bpf.ProbeStatus { return p.status }

// Read is telemetry.ProbeSource's.
func (p *probes) Read() (*bpf.Measured, error) {
	if p.opened == nil {
		return &bpf.Measured{}, nil
	}
	return p.opened.Read()
}

func (p *probes) close() error {
	if p == nil || p.opened == nil {
		return nil
	}
	return p.opened.Close()
}

// Probes are what the kernel's probes measure.
func (g *Gateway) Probes() telemetry.ProbeSource { return g.probes }
