package telemetry

import (
	"log/slog"
	"maps"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"culvert/bpf"
)

// probed is a source that was filled by hand.
type probed struct {
	status []bpf.ProbeStatus
	m      bpf.Measured
	err    error
}

func (p *probed) Status() []bpf.ProbeStatus    { return p.status }
func (p *probed) Read() (*bpf.Measured, error) { return &p.m, p.err }

// allOn is a source whose probes all measured something.
func allOn() *probed {
	p := &probed{}
	for _, name := range bpf.ProbeNames() {
		p.status = append(p.status, bpf.ProbeStatus{Name: name, On: true})
	}
	var h bpf.Histogram
	h.Counts[0], h.Counts[1], h.Counts[4], h.Counts[5], h.Counts[bpf.HistogramBuckets-1] = 1, 2, 3, 4, 5
	h.Sum = 2_000_000_000
	p.m = bpf.Measured{Runqueue: h, NAPIPoll: h, Softirq: h, TCPConnect: h, TCPRTT: h, TCPRetransmits: 7,
		IOUring:        map[uint8]*bpf.Histogram{47: &h, 200: &h},
		NAPI:           map[string]bpf.NAPICounts{"eth1": {Polls: 10, Packets: 640, Exhausted: 3}},
		RedirectErrors: map[bpf.InterfaceEvent]uint64{{Interface: "eth1", What: "ENOBUFS"}: 11},
		XDPExceptions:  map[bpf.InterfaceEvent]uint64{{Interface: "eth1", What: "tx"}: 12},
		PacketDrops:    map[bpf.InterfaceEvent]uint64{{Interface: "eth1", What: "no_socket"}: 13},
	}
	return p
}

func gatherProbes(t *testing.T, source ProbeSource) map[string]*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewProbeCollector(source, slog.New(slog.DiscardHandler)))
	list, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	families := map[string]*dto.MetricFamily{}
	for _, f := range list {
		families[f.GetName()] = f
	}
	return families
}

func TestProbeMetrics(t *testing.T) {
	families := gatherProbes(t, allOn())
	for _, name := range []string{"runqueue", "napi_poll", "softirq", "io_uring", "tcp_connect", "tcp_rtt"} {
		if families["culvert_probe_"+name+"_seconds"] == nil {
			t.Errorf("culvert_probe_%s_seconds is not there", name)
		}
	}
	f := func(want float64, name string, labels ...string) {
		t.Helper()
		expectMetric(t, families, want, "probe_"+name, labels...)
	}
	f(1, "up", "runqueue")
	f(7, "tcp_retransmits_total")
	f(10, "napi_polls_total", "eth1")
	f(640, "napi_packets_total", "eth1")
	f(3, "napi_exhausted_total", "eth1")
	f(11, "redirect_errors_total", "ENOBUFS", "eth1")
	f(12, "xdp_exceptions_total", "tx", "eth1")
	f(13, "packet_drops_total", "eth1", "no_socket")
	var opcodes []string
	for _, m := range families["culvert_probe_io_uring_seconds"].GetMetric() {
		opcodes = append(opcodes, m.Label[0].GetValue())
	}
	if slices.Sort(opcodes); !slices.Equal(opcodes, []string{"200", "send_zc"}) {
		t.Errorf("opcodes %v", opcodes)
	}
}

// Goal: classic buckets are cumulated at powers of two, bounds included, and the native ones hold the same
// values.
func TestProbeHistogram(t *testing.T) {
	h := gatherProbes(t, allOn())["culvert_probe_runqueue_seconds"].GetMetric()[0].GetHistogram()
	if h.GetSampleCount() != 15 || h.GetSampleSum() != 2 {
		t.Errorf("count %d, sum %v", h.GetSampleCount(), h.GetSampleSum())
	}
	classic := map[float64]uint64{}
	for _, b := range h.Bucket {
		classic[b.GetUpperBound()] = b.GetCumulativeCount()
	}
	if len(classic) != 29 || classic[256e-9] != 1 || classic[512e-9] != 6 || classic[1024e-9] != 10 ||
		classic[float64(1<<36)/1e9] != 10 {
		t.Errorf("classic buckets %v", classic)
	}
	if h.GetSchema() != probeSchema || h.GetZeroCount() != 1 || h.GetZeroThreshold() != probeZero {
		t.Errorf("native: schema %d, %d below %v", h.GetSchema(), h.GetZeroCount(), h.GetZeroThreshold())
	}
	// The bounds of the native buckets that are filled, from the spans and the differences between counts.
	native := map[int]int64{}
	index, count, at := int32(0), int64(0), 0
	for _, span := range h.PositiveSpan {
		index += span.GetOffset()
		for range span.GetLength() {
			count += h.PositiveDelta[at]
			if count > 0 {
				native[int(index)] = count
			}
			index++
			at++
		}
	}
	var own bpf.Histogram
	want := map[int]int64{}
	for i, n := range map[int]int64{1: 2, 4: 3, 5: 4} {
		low, high := own.Bounds(i)
		want[int(math.Ceil(math.Log2(float64(low+high)/2/second)*4))] += n
	}
	want[int(math.Ceil(math.Log2(1.5*float64(1<<36)/second)*4))] = 5
	if !maps.Equal(native, want) {
		t.Errorf("native buckets %v, want %v", native, want)
	}
}

// Goal: a probe that is off shows its state alone, and one that can't be read leaves the states.
func TestProbesThatAreOff(t *testing.T) {
	source := allOn()
	for i := range source.status {
		source.status[i].On = source.status[i].Name == "tcp_rtt"
	}
	families := gatherProbes(t, source)
	if len(families) != 2 || families["culvert_probe_tcp_rtt_seconds"] == nil {
		t.Errorf("families %v", slices.Collect(maps.Keys(families)))
	}
	expectMetric(t, families, 1, "probe_up", "tcp_rtt")
	expectMetric(t, families, 0, "probe_up", "io_uring")
	source.err = os.ErrClosed
	if families := gatherProbes(t, source); len(families) != 1 {
		t.Errorf("families %v", slices.Collect(maps.Keys(families)))
	}
}
