package telemetry

import (
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"culvert/bpf"
)

// ProbeSource is what the kernel's probes say. Its methods may be called from any goroutine.
type ProbeSource interface {
	// Status has every probe, attached or not.
	Status() []bpf.ProbeStatus
	// Read is all they measured so far.
	Read() (*bpf.Measured, error)
}

const (
	// probeSchema splits each power of two into 2² native buckets, as the probes' own histograms do.
	probeSchema = 2
	// probeZero is the upper bound of a probe's first bucket, in seconds: what is shorter is not told apart.
	probeZero = 256e-9
	// probeOctave is the number of a probe's buckets between two powers of two.
	probeOctave = 4
)

// ProbeCollector shows the probes as Prometheus metrics. A probe that is off has its state and nothing else.
type ProbeCollector struct {
	source  ProbeSource
	log     *slog.Logger
	started time.Time
	all     []*prometheus.Desc

	up                                            *prometheus.Desc
	runqueue, napiPoll, softirq, ioUring          *prometheus.Desc
	tcpConnect, tcpRTT, tcpRetransmits            *prometheus.Desc
	napiPolls, napiPackets, napiExhausted         *prometheus.Desc
	redirectErrors, xdpExceptions, droppedPackets *prometheus.Desc
}

// NewProbeCollector makes a collector that reads the source at each scrape.
func NewProbeCollector(source ProbeSource, log *slog.Logger) *ProbeCollector {
	c := &ProbeCollector{source: source, log: log, started: time.Now()}
	c.up = c.add("up",
		"1 while a probe in the kernel measures. 0: it is switched off by probes in the "+
			"configuration, or the log of the start says what it lacks.", "probe")
	c.runqueue = c.add("runqueue_seconds",
		"Time that workers' threads which could run waited for a CPU, by the scheduler's own account. "+
			"Above some µs: something else runs on the workers' CPUs; keep it off them.")
	c.napiPoll = c.add("napi_poll_seconds",
		"Time of NAPI polls of our interfaces, the XDP program included; one in eight is measured and "+
			"counts for all. Long ones with few packets: interrupts or the host's other work come between.")
	c.softirq = c.add("softirq_seconds",
		"Time of whole NET_RX softirqs that polled an interface of ours; one in eight is measured and "+
			"counts for all. Those of milliseconds keep a worker on the same CPU from running: move the "+
			"queue's interrupt.")
	c.ioUring = c.add("io_uring_seconds",
		"Time from submission to completion of the workers' io_uring requests; one in eight is measured "+
			"and counts for all. recv is the wait for the database's answer, sendmsg and send_zc the way "+
			"into the kernel.", "opcode")
	c.tcpConnect = c.add("tcp_connect_seconds",
		"Time from SYN to an established connection to a sink. A second or more is a lost SYN: look "+
			"at the sink's listen backlog and the path to it.")
	c.tcpRTT = c.add("tcp_rtt_seconds",
		"The kernel's smoothed round trip time of connections to the sinks, at one segment in eight that "+
			"came in, which counts for all. It bounds culvert_stage_seconds of write from below.")
	c.tcpRetransmits = c.add("tcp_retransmits_total",
		"Segments to the sinks that were sent again. Growing: the path loses packets, or the sink's "+
			"host does not keep up.")
	c.napiPolls = c.add("napi_polls_total",
		"NAPI polls of an interface.", "interface")
	c.napiPackets = c.add("napi_packets_total",
		"Packets that NAPI polls of an interface took; over culvert_probe_napi_polls_total it is how "+
			"many come at once.", "interface")
	c.napiExhausted = c.add("napi_exhausted_total",
		"NAPI polls that used their whole budget and left packets. Growing: the queue's CPU does not "+
			"keep up; spread the interface over more queues.", "interface")
	c.redirectErrors = c.add("redirect_errors_total",
		"Packets lost between the XDP program and a socket, by the kernel's error. ENOBUFS: the "+
			"worker is too slow; ENOMEM: it gave no frames; ENXIO: no socket is bound.", "interface", "error")
	c.xdpExceptions = c.add("xdp_exceptions_total",
		"Packets lost since the driver could not do what an XDP program decided, by the decision. "+
			"Report it for redirect; others are not ours.", "interface", "action")
	c.droppedPackets = c.add("packet_drops_total",
		"Packets that the kernel dropped on our interfaces, by its own reason; what XDP took never "+
			"gets there. no_socket: a sender has the wrong port.", "interface", "reason")
	return c
}

func (c *ProbeCollector) add(name, help string, labels ...string) *prometheus.Desc {
	desc := prometheus.NewDesc("culvert_probe_"+name, help, labels, nil)
	c.all = append(c.all, desc)
	return desc
}

// Describe is prometheus.Collector's.
func (c *ProbeCollector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range c.all {
		descs <- desc
	}
}

// Collect is prometheus.Collector's.
func (c *ProbeCollector) Collect(metrics chan<- prometheus.Metric) {
	on := map[string]bool{}
	for _, s := range c.source.Status() {
		on[s.Name] = s.On
		metrics <- prometheus.MustNewConstMetric(c.up, prometheus.GaugeValue, truth(s.On), s.Name)
	}
	m, err := c.source.Read()
	if err != nil {
		// As while the gateway stops. The rest of the scrape is worth having.
		c.log.Warn("read probes", "error", err)
		return
	}
	for name, write := range map[string]func(chan<- prometheus.Metric, *bpf.Measured){
		"runqueue": func(to chan<- prometheus.Metric, m *bpf.Measured) {
			c.histogram(to, c.runqueue, &m.Runqueue)
		},
		"napi_poll": c.napi,
		"softirq": func(to chan<- prometheus.Metric, m *bpf.Measured) {
			c.histogram(to, c.softirq, &m.Softirq)
		},
		"xdp_errors": func(to chan<- prometheus.Metric, m *bpf.Measured) {
			events(to, c.redirectErrors, m.RedirectErrors)
			events(to, c.xdpExceptions, m.XDPExceptions)
		},
		"io_uring": func(to chan<- prometheus.Metric, m *bpf.Measured) {
			c.requests(to, m.IOUring)
		},
		"tcp_connect": func(to chan<- prometheus.Metric, m *bpf.Measured) {
			c.histogram(to, c.tcpConnect, &m.TCPConnect)
		},
		"tcp_rtt": func(to chan<- prometheus.Metric, m *bpf.Measured) {
			c.histogram(to, c.tcpRTT, &m.TCPRTT)
		},
		"tcp_retransmits": func(to chan<- prometheus.Metric, m *bpf.Measured) {
			count(to, c.tcpRetransmits, m.TCPRetransmits)
		},
		"packet_drops": func(to chan<- prometheus.Metric, m *bpf.Measured) {
			events(to, c.droppedPackets, m.PacketDrops)
		},
	} {
		if on[name] {
			write(metrics, m)
		}
	}
}

func count(to chan<- prometheus.Metric, desc *prometheus.Desc, n uint64, labels ...string) {
	to <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), labels...)
}

func (c *ProbeCollector) napi(to chan<- prometheus.Metric, m *bpf.Measured) {
	c.histogram(to, c.napiPoll, &m.NAPIPoll)
	for name, n := range m.NAPI {
		count(to, c.napiPolls, n.Polls, name)
		count(to, c.napiPackets, n.Packets, name)
		count(to, c.napiExhausted, n.Exhausted, name)
	}
}

// requests are by the opcode's name; those without one are by number, so no two are the same.
func (c *ProbeCollector) requests(to chan<- prometheus.Metric, all map[uint8]*bpf.Histogram) {
	for opcode, h := range all {
		c.histogram(to, c.ioUring, h, bpf.OpcodeName(opcode))
	}
}

func events(to chan<- prometheus.Metric, desc *prometheus.Desc, all map[bpf.InterfaceEvent]uint64) {
	for event, n := range all {
		count(to, desc, n, event.Interface, event.What)
	}
}

// histogram writes a probe's histogram, classic by powers of two and native at its own resolution.
func (c *ProbeCollector) histogram(to chan<- prometheus.Metric, desc *prometheus.Desc, h *bpf.Histogram,
	labels ...string) {
	classic, native := map[float64]uint64{}, map[int]int64{}
	all := uint64(0)
	for i, n := range h.Counts {
		all += n
		low, high := h.Bounds(i)
		if i%probeOctave == 0 && high != 0 {
			classic[float64(high)/second] = all
		}
		if n == 0 || i == 0 {
			continue
		}
		// The last bucket has no end; it counts as the next power of two.
		middle := float64(low+max(high, low)) / 2
		if high == 0 {
			middle = 1.5 * float64(low)
		}
		native[nativeIndex(middle, probeSchema)] += int64(n)
	}
	seconds := float64(h.Sum) / second
	to <- &bothHistograms{
		Metric: prometheus.MustNewConstHistogram(desc, all, seconds, classic, labels...),
		native: prometheus.MustNewConstNativeHistogram(desc, all, seconds, native, nil, h.Counts[0],
			probeSchema, probeZero, c.started, labels...),
	}
}
