package telemetry

import (
	"bytes"
	"log/slog"
	"math"
	"net/http/httptest"
	"os/exec"
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"

	"culvert/scripts/testenv"
)

func gather(t *testing.T, s *Snapshot) map[string]*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(NewCollector(func() *Snapshot { return s })); err != nil {
		t.Fatal(err)
	}
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

// Goal: names and labels of the contract are there and stay. Method: all that this version fills are listed.
func TestMetricsOfTheContract(t *testing.T) {
	families := gather(t, full())
	f := func(name string, labels ...string) {
		t.Helper()
		family := families["culvert_"+name]
		if family == nil {
			t.Errorf("culvert_%s is not there", name)
			return
		}
		for _, m := range family.Metric {
			var got []string
			for _, l := range m.Label {
				got = append(got, l.GetName())
			}
			slices.Sort(labels)
			if !slices.Equal(got, labels) {
				t.Errorf("culvert_%s has the labels %v, want %v", name, got, labels)
			}
		}
	}
	f("frames_received_total", "interface", "queue")
	f("frames_rejected_total", "reason")
	f("points_received_total", "listener")
	f("points_derived_total")
	f("points_rejected_total", "stage", "reason")
	f("points_filtered_total")
	f("points_dropped_total", "sink", "reason")
	f("points_written_total", "sink")
	f("points_in_flight", "sink")
	f("points_spooled_total", "sink")
	f("points_replayed_total", "sink")
	f("points_restored_total", "sink")
	f("points_spool_pending", "sink")
	f("spool_bytes")
	f("spool_oldest_seconds")
	f("xdp_verdicts_total", "interface", "verdict")
	f("xsk_statistics_total", "interface", "queue", "counter")
	f("xsk_drops_total", "interface", "queue", "reason")
	f("interface_info", "interface", "driver", "mode", "zerocopy", "need_wakeup", "busy_poll")
	f("nic_clock_doubt_seconds", "interface")
	f("rule_evicted_total", "rule")
	f("rule_handover_retries_total")
	f("stage_seconds", "stage")
	f("alert_latency_seconds")
	f("alerts_firing", "rule")
	f("alerts_total", "rule", "action")
	f("sink_up", "sink", "url")
	f("sink_breaker_state", "sink", "url")
	f("sink_requests_total", "sink", "url", "code")
	f("sink_zerocopy_total", "sink", "result")
}

// expectMetric checks one counter or gauge by its labels' values, which stand in the order of their names.
func expectMetric(t *testing.T, families map[string]*dto.MetricFamily, want float64, name string,
	labels ...string) {
	t.Helper()
	for _, m := range families["culvert_"+name].GetMetric() {
		var values []string
		for _, l := range m.Label {
			values = append(values, l.GetValue())
		}
		if slices.Equal(values, labels) {
			if got := m.GetCounter().GetValue() + m.GetGauge().GetValue(); got != want {
				t.Errorf("culvert_%s%v is %v, want %v", name, labels, got, want)
			}
			return
		}
	}
	t.Errorf("culvert_%s%v is not there", name, labels)
}

// Goal: rules that share a name, as one alert at two severities does, are one series. Method: their sum.
func TestRulesOfOneName(t *testing.T) {
	snapshot := full()
	snapshot.Rules = append(snapshot.Rules, Rule{Name: "Cold", Firing: 1},
		Rule{Name: "Hot", Firing: 3, Evicted: 4})
	families := gather(t, snapshot)
	expectMetric(t, families, 5, "alerts_firing", "Hot")
	expectMetric(t, families, 5, "rule_evicted_total", "Hot")
	expectMetric(t, families, 1, "alerts_firing", "Cold")
}

func TestMetricValues(t *testing.T) {
	families := gather(t, full())
	f := func(want float64, name string, labels ...string) {
		t.Helper()
		expectMetric(t, families, want, name, labels...)
	}
	f(1000, "frames_received_total", "eth1", "3")
	f(5, "frames_received_total", "kernel", "0")
	f(10, "frames_rejected_total", "checksum")
	f(0, "frames_rejected_total", "length")
	f(9005, "points_received_total", "plant")
	f(7, "points_rejected_total", "bad_number", "decode")
	f(3, "points_rejected_total", "partial_write", "sink")
	f(90, "points_dropped_total", "overload", "main")
	f(9805, "points_written_total", "main")
	f(0, "ledger_residue_points")
	f(1004, "xdp_verdicts_total", "eth1", "redirected")
	f(6, "alerts_total", "ops", "Hot")
	f(0, "sink_up", "main", "http://127.0.0.1:8086")
	f(2, "sink_breaker_state", "main", "http://127.0.0.1:8086")
	f(3, "sink_zerocopy_total", "copied", "main")
	f(13, "trace_spans_total", "exported")
	f(2, "trace_spans_total", "failed")
	f(1, "trace_spans_total", "dropped")
	f(7, "trace_spans_total", "left_out")
	f(0, "ready")
}

func TestHistogramsAreClassicAndNative(t *testing.T) {
	for _, m := range gather(t, full())["culvert_stage_seconds"].GetMetric() {
		if m.Label[0].GetValue() != "decode" {
			continue
		}
		h := m.GetHistogram()
		if h.GetSampleCount() != 5 || math.Abs(h.GetSampleSum()-43.3e-6) > 1e-9 {
			t.Errorf("count %d, sum %v", h.GetSampleCount(), h.GetSampleSum())
		}
		classic := map[float64]uint64{}
		for _, b := range h.Bucket {
			classic[b.GetUpperBound()] = b.GetCumulativeCount()
		}
		if classic[1e-6] != 2 || classic[2e-6] != 4 || classic[2e-5] != 4 || classic[5e-5] != 5 ||
			classic[10] != 5 {
			t.Errorf("classic buckets %v", classic)
		}
		if h.GetSchema() != nativeSchema || h.GetZeroCount() != 1 || len(h.PositiveSpan) == 0 {
			t.Errorf("native: schema %d, zeros %d, spans %v", h.GetSchema(), h.GetZeroCount(), h.PositiveSpan)
		}
		return
	}
	t.Error("the stage is not there")
}

// Goal: a native bucket's bounds hold what is counted in it, but for the histogram's own width.
func TestNativeBucketsHoldTheirValues(t *testing.T) {
	for v := int64(1); v < 1<<39; v = v*9/8 + 1 {
		buckets, zeros := nativeBuckets(recorded(v))
		if zeros != 0 || len(buckets) != 1 {
			t.Fatalf("%d ns: %v, %d zeros", v, buckets, zeros)
		}
		for i := range buckets {
			upper := math.Exp2(float64(i)/(1<<nativeSchema)) * second
			lower := math.Exp2(float64(i-1)/(1<<nativeSchema)) * second
			if float64(v) > upper*1.008 || float64(v) <= lower*0.992 {
				t.Fatalf("%d ns is in (%v, %v]", v, lower, upper)
			}
		}
	}
}

// Goal: the exposition is clean by Prometheus' own tool.
func TestPromtoolFindsNothing(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		testenv.Skip(t, "promtool is missing (Debian: prometheus)")
	}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(full))
	registry.MustRegister(NewProbeCollector(allOn(), slog.New(slog.DiscardHandler)))
	answer := httptest.NewRecorder()
	handler := promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
	handler.ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	check := exec.Command(promtool, "check", "metrics")
	check.Stdin = answer.Body
	if out, err := check.CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// Goal: the classic buckets are what the histogram itself says of their bounds. Method: values at, below and
// above each bound, and beyond the last.
func TestClassicBucketsCountBelowTheirBounds(t *testing.T) {
	var values []int64
	for _, bound := range classicBounds() {
		values = append(values, int64(bound)-1, int64(bound), int64(bound)+1, int64(bound)*3/2)
	}
	h := recorded(append(values, 0, 1<<50)...)
	got := classicBuckets(h)
	for _, bound := range classicBounds() {
		if want := h.CountBelow(bound); got[float64(bound)/second] != want {
			t.Errorf("%d ns: %d, want %d", bound, got[float64(bound)/second], want)
		}
	}
	if len(got) != len(classicBounds()) {
		t.Errorf("%d buckets, want %d", len(got), len(classicBounds()))
	}
}
