package bpf

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// probe is one probe's name, which is also its name in the configuration, and the programs it is made of.
type probe struct {
	name     string
	programs []string
}

// probes are all probes. A program that serves two is attached once.
var probes = [...]probe{
	{"runqueue", []string{"thread_leaves"}},
	{"napi_poll", []string{"net_rx_begins", "napi_polled", "net_rx_ends"}},
	{"softirq", []string{"net_rx_begins", "napi_polled", "net_rx_ends"}},
	{"xdp_errors", []string{"redirect_failed", "xdp_excepted"}},
	{"io_uring", []string{"request_begins", "request_ends"}},
	{"tcp_connect", []string{"tcp_changes"}},
	{"tcp_rtt", []string{"segment_comes"}},
	{"tcp_retransmits", []string{"segment_again"}},
	{"packet_drops", []string{"packet_dropped"}},
}

// ProbeNames are the names of all probes.
func ProbeNames() []string {
	names := make([]string, len(probes))
	for i := range probes {
		names[i] = probes[i].name
	}
	return names
}

// ProbeStatus says whether a probe measures.
type ProbeStatus struct {
	Name string
	On   bool
	// Err is why not; nil where it was not asked for.
	Err error
}

// attached is one program at its tracepoint.
type attached struct {
	program *ebpf.Program
	link    link.Link
}

func (a attached) close() error { return errors.Join(a.link.Close(), a.program.Close()) }

// Probes are the attached probes. Its methods may be called from any goroutine; WatchThread says from which
// thread. None is for the hot path.
type Probes struct {
	status []ProbeStatus
	// dropReasons are the kernel's names, in lower case without their prefix.
	dropReasons map[uint32]string
	// named are what has a counter from the start: the errors of redirecting, and of plainDrops those that
	// this kernel knows.
	named struct{ errnos, drops []string }

	mu         sync.Mutex
	maps       probeMaps
	rest       *ebpf.Collection    // what is loaded beside the maps: the data sections and watch_thread
	attached   map[string]attached // by the program's name
	interfaces []string            // by the index that the maps have for them; names stay
	sinks      map[probeSinkKey]bool
	closed     bool
}

// OpenProbes loads and attaches all probes but those in except. A probe that this kernel or this process's
// privileges do not allow is left out, and its status says why. The error is for when nothing can work: no
// maps, as without CAP_BPF, or no BTF. It needs CAP_BPF and CAP_PERFMON.
func OpenProbes(except []string) (*Probes, error) {
	for _, name := range except {
		if !slices.Contains(ProbeNames(), name) {
			return nil, fmt.Errorf("open probes: there is none named %q", name)
		}
	}
	spec, err := loadProbe()
	if err != nil {
		return nil, fmt.Errorf("read the probes' object: %w", err)
	}
	return openProbes(spec, except)
}

// openProbes is OpenProbes from an object.
func openProbes(spec *ebpf.CollectionSpec, except []string) (*Probes, error) {
	// Shared by all loads: reading the kernel's BTF is most of their time.
	cache := btf.NewCache()
	kernel, err := cache.Kernel()
	if err != nil {
		return nil, fmt.Errorf("read the kernel's BTF: %w", err)
	}
	p := &Probes{sinks: map[probeSinkKey]bool{}, attached: map[string]attached{},
		dropReasons: dropReasons(kernel)}
	p.named.errnos, p.named.drops = knownErrnos(), knownDrops(p.dropReasons)
	options := ebpf.CollectionOptions{Cache: cache}
	// Nothing here is relocated against types of modules, so they are not read.
	options.Programs.KernelTypes = kernel
	if err := p.adapt(spec, kernel, except); err != nil {
		return nil, err
	}
	options.MapReplacements, err = p.loadMaps(spec, options)
	if err != nil {
		return nil, fmt.Errorf("load the probes' maps: %w", errors.Join(err, p.Close()))
	}
	// A program attaches once, for the first probe that needs it; the result is that of all.
	results := map[string]error{}
	for i := range probes {
		p.status = append(p.status, p.open(spec, &options, &probes[i], except, results))
	}
	if err := p.detachIdle(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// detachIdle takes away programs that attached for a probe of which another one did not.
func (p *Probes) detachIdle() error {
	needed := map[string]bool{}
	for i := range probes {
		for _, name := range probes[i].programs {
			needed[name] = needed[name] || p.status[i].On
		}
	}
	for name, a := range p.attached {
		if needed[name] {
			continue
		}
		delete(p.attached, name)
		if err := a.close(); err != nil {
			return fmt.Errorf("detach %s: %w", name, err)
		}
	}
	return nil
}

// adapt fits the object to this kernel, by what its BTF says.
func (p *Probes) adapt(spec *ebpf.CollectionSpec, kernel *btf.Spec, except []string) error {
	// Linux 6.4 renamed it (include/trace/events/io_uring.h).
	if tracepoint(kernel, "io_uring_submit_req") == nil {
		spec.Programs["request_begins"].AttachTo = "io_uring_submit_sqe"
	}
	drop := tracepoint(kernel, "kfree_skb")
	const dropArguments = 5 // the tracepoint's own, skb, location, reason, socket
	consumed := uint32(0)
	for code, name := range p.dropReasons {
		if name == consumedReason {
			consumed = code
		}
	}
	for name, value := range map[string]any{
		"drop_has_socket":   drop != nil && len(drop.Params) >= dropArguments,
		"drop_consumed":     consumed,
		"measure_napi_poll": !slices.Contains(except, "napi_poll"),
		"measure_softirq":   !slices.Contains(except, "softirq"),
	} {
		if err := spec.Variables[name].Set(value); err != nil {
			return fmt.Errorf("set the probes' %s: %w", name, err)
		}
	}
	return nil
}

// tracepoint is the function type of a tracepoint's raw arguments, the first of which is the tracepoint's
// own; nil where the kernel has none of this name.
func tracepoint(kernel *btf.Spec, name string) *btf.FuncProto {
	var named *btf.Typedef
	if err := kernel.TypeByName("btf_trace_"+name, &named); err != nil {
		return nil
	}
	pointer, ok := named.Type.(*btf.Pointer)
	if !ok {
		return nil
	}
	proto, _ := pointer.Target.(*btf.FuncProto)
	return proto
}

// loadMaps makes the maps, and with them the one program that attaches to nothing. It returns all maps by
// name, those of the data sections too; p owns them.
func (p *Probes) loadMaps(spec *ebpf.CollectionSpec,
	options ebpf.CollectionOptions) (map[string]*ebpf.Map, error) {
	loaded, err := ebpf.NewCollectionWithOptions(alone(spec, "watch_thread"), options)
	if err != nil {
		return nil, err
	}
	p.rest = loaded
	shared := maps.Clone(loaded.Maps)
	// What is assigned is no longer the collection's.
	return shared, loaded.Assign(&p.maps)
}

// alone is the object with one program of its programs.
func alone(spec *ebpf.CollectionSpec, program string) *ebpf.CollectionSpec {
	only := spec.Copy()
	maps.DeleteFunc(only.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return name != program })
	return only
}

// open attaches one probe's programs, as far as no other probe did.
func (p *Probes) open(spec *ebpf.CollectionSpec, options *ebpf.CollectionOptions, one *probe, except []string,
	results map[string]error) ProbeStatus {
	if slices.Contains(except, one.name) {
		return ProbeStatus{Name: one.name}
	}
	for _, name := range one.programs {
		err, done := results[name]
		if !done {
			err = p.attach(spec, options, name)
			results[name] = err
		}
		if err != nil {
			return ProbeStatus{Name: one.name, Err: err}
		}
	}
	return ProbeStatus{Name: one.name, On: true}
}

// attach loads one program over the shared maps and attaches it.
func (p *Probes) attach(spec *ebpf.CollectionSpec, options *ebpf.CollectionOptions, name string) error {
	loaded, err := ebpf.NewCollectionWithOptions(alone(spec, name), *options)
	if err != nil {
		return fmt.Errorf("load %s on tracepoint %s: %w", name, spec.Programs[name].AttachTo, err)
	}
	defer loaded.Close()
	at, err := link.AttachTracing(link.TracingOptions{Program: loaded.Programs[name]})
	if err != nil {
		return fmt.Errorf("attach %s to tracepoint %s: %w", name, spec.Programs[name].AttachTo, err)
	}
	p.attached[name] = attached{program: loaded.DetachProgram(name), link: at}
	return nil
}

// Status says of each probe whether it measures. The caller must not write to it.
func (p *Probes) Status() []ProbeStatus { return p.status }

// WatchThread makes the calling thread one of those that are measured. The caller is locked to its thread.
func (p *Probes) WatchThread() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return fmt.Errorf("watch a thread: %w", os.ErrClosed)
	}
	// Run on this thread, the program reads its number as the kernel counts, whatever namespace we are in.
	code, err := p.rest.Programs["watch_thread"].Run(&ebpf.RunOptions{})
	if err == nil && code != 0 {
		err = unix.Errno(-int32(code))
	}
	if err != nil {
		return fmt.Errorf("watch a thread: %w", err)
	}
	return nil
}

// WatchInterface measures an interface of the calling thread's network namespace under this name. The same
// name may come again with another index, after the interface was made anew.
func (p *Probes) WatchInterface(name string, ifindex int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return fmt.Errorf("watch interface %q: %w", name, os.ErrClosed)
	}
	netns, err := networkNamespace()
	if err != nil {
		return fmt.Errorf("watch interface %q: %w", name, err)
	}
	index := slices.Index(p.interfaces, name)
	if index < 0 {
		if index = len(p.interfaces); index >= int(p.maps.NapiTotal.MaxEntries()) {
			return fmt.Errorf("watch interface %q: the probes take %d", name, index)
		}
		p.interfaces = append(p.interfaces, name)
	}
	// An old index of this name may be another interface's by now.
	var key probeInterfaceKey
	var value uint32
	var old []probeInterfaceKey
	for all := p.maps.Interfaces.Iterate(); all.Next(&key, &value); {
		if value == uint32(index) {
			old = append(old, key)
		}
	}
	for _, key := range old {
		if err := p.maps.Interfaces.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("forget interface %q: %w", name, err)
		}
	}
	key = probeInterfaceKey{Netns: netns, Ifindex: uint32(ifindex)}
	if err := p.maps.Interfaces.Put(key, uint32(index)); err != nil {
		return fmt.Errorf("watch interface %q: %w", name, err)
	}
	return nil
}

// WatchSink measures the connections that go to this address from the calling thread's network namespace.
func (p *Probes) WatchSink(to netip.AddrPort) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return fmt.Errorf("watch connections to %s: %w", to, os.ErrClosed)
	}
	netns, err := networkNamespace()
	if err != nil {
		return fmt.Errorf("watch connections to %s: %w", to, err)
	}
	key := probeSinkKey{Address: to.Addr().As16(), Netns: netns, Port: bigEndian(to.Port())}
	if p.sinks[key] {
		return nil
	}
	if err := p.maps.Sinks.Put(key, uint32(0)); err != nil {
		return fmt.Errorf("watch connections to %s: %w", to, err)
	}
	p.sinks[key] = true
	return nil
}

// bigEndian is a port as it lies in a packet, read as the host reads.
func bigEndian(port uint16) uint16 { return port<<8 | port>>8 }

// networkNamespace is the inode number of the calling thread's network namespace.
func networkNamespace() (uint32, error) {
	var stat unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &stat); err != nil {
		return 0, fmt.Errorf("look at the network namespace: %w", err)
	}
	return uint32(stat.Ino), nil
}

// Close detaches everything. It may be called twice.
func (p *Probes) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	p.closed = true
	var errs []error
	for _, a := range p.attached {
		errs = append(errs, a.close())
	}
	if p.rest != nil {
		p.rest.Close()
		errs = append(errs, p.maps.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close probes: %w", err)
	}
	return nil
}
