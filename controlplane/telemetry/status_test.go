package telemetry

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"culvert/bpf/abi"
	"culvert/dataplane"
	"culvert/dataplane/hist"
	"culvert/dataplane/influx"
	"culvert/dataplane/lineproto"
	"culvert/dataplane/spool"
)

// recorded is a snapshot of a histogram of these nanoseconds.
func recorded(values ...int64) *hist.Snapshot {
	var h hist.Histogram
	for _, v := range values {
		h.Record(v)
	}
	s := new(hist.Snapshot)
	h.AddTo(s)
	return s
}

// full is a snapshot in which everything there is to show is there, and balances.
func full() *Snapshot {
	started := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var pinned, kernel dataplane.Counters
	pinned.FramesReceived, pinned.FramesDecoded = 1000, 990
	pinned.FramesRejected[dataplane.FrameChecksum] = 10
	pinned.PointsReceived[0], pinned.PointsReceived[1] = 9000, 1000
	pinned.PointsRejected[lineproto.BadNumber] = 7
	pinned.PointsSinkRejected[dataplane.SinkPartial] = 3
	pinned.PointsDropped[dataplane.DropOverload] = 90
	pinned.PointsWritten, pinned.PointsInFlight = 9800, 100
	pinned.BatchesSealed, pinned.Turns, pinned.Sleeps = 12, 34, 5
	kernel.FramesReceived, kernel.DatagramsReceived, kernel.FramesDecoded = 5, 5, 5
	kernel.PointsReceived[0], kernel.PointsWritten = 5, 5
	return &Snapshot{
		Version: "v1.2.3", Gateway: "gw-7", Started: started, Taken: started.Add(90 * time.Minute),
		Ready: false, Reasons: []string{"sink main: http://127.0.0.1:8086 does not take points: refused"},
		Traces:    &Traces{Exported: 13, Failed: 2, Dropped: 1, LeftOut: 7},
		Listeners: []Listener{{Name: "plant", Port: 8089, KernelDrops: 2}, {Name: "office", Port: 8090}},
		Interfaces: []Interface{{
			Name: "eth1", Driver: "ice", Mode: "zerocopy", ZeroCopy: true, NeedWakeup: true, State: "up",
			CardTimes: "by /dev/ptp0", CardClock: true, CardClockDoubt: 300,
			Queues: []Queue{{Queue: 3, CPU: 2, Node: 1, Worker: "0", FramesReceived: 1000,
				Raw: map[string]uint64{"rx_ring_full": 4}, Drops: map[string]uint64{"ring_full": 4}}},
			Verdicts: []Verdict{{Name: abi.Redirected.String(), Count: 1004},
				{Name: abi.NotOurs.String(), Count: 77}},
		}},
		Workers: []Worker{
			{Name: "0", CPU: 2, Node: 1, Heartbeat: 30 * time.Microsecond, Counters: pinned,
				Transport: "io_uring", Pages: map[string]map[int]int{"frames": {1: 2048},
					"sends": {1: 500, 0: 12}, "rings": {1: 6}}},
			{Name: "kernel", CPU: -1, Node: -1, Heartbeat: time.Millisecond, Counters: kernel,
				Transport: "sockets"},
		},
		Sinks: []Sink{{Name: "main", URL: "http://127.0.0.1:8086", Connections: 2, LastError: "refused",
			Breaker: influx.BreakerOpen,
			Spool: &dataplane.SpoolerState{SpoolShare: dataplane.SpoolShare{Restored: 50},
				DiskFailures: 1, DiskError: "no room", ReplayError: "refused", MemoryPoints: 4,
				Disk: spool.Stats{Bytes: 1 << 20, Segments: 2, Skipped: 1, BadBytes: 99,
					Oldest: started.UnixNano()}},
			Points: dataplane.LaneCounters{Stored: 9998, Written: 9805, InFlight: 100,
				Rejected: [dataplane.SinkRejects]uint64{3}, Dropped: [dataplane.Drops]uint64{0, 90}},
			Requests: map[string]uint64{"204": 11, "error": 1}, ZeroCopySent: 8, ZeroCopyCopied: 3}},
		Tenants: []Tenant{
			{Name: "line", Sink: "main", PacketsLimited: 12, Series: 7, SeriesLimit: 9, Ledger: lineLedger()},
			{Name: "rest", Sink: "main"},
		},
		Heavy: []HeavySeries{{Tenant: "line", Listener: "plant", Key: "m,s=1", Share: 0.256}},
		Rules: []Rule{{Name: "Hot", Firing: 2, Transitions: 6, Evicted: 1}},
		Notifiers: []Notifier{{Name: "ops", Type: "webhook", Delivered: 6,
			ByRule: map[string]uint64{"Hot": 6}}},
		Stages: map[string]*hist.Snapshot{
			"decode": recorded(0, 300, 1500, 1500, 40_000), "end_to_end": recorded(1_200_000, 3_000_000_000),
		},
		AlertLatency: recorded(25_000),
		ClockSteps:   1,
	}
}

func TestStatusBalances(t *testing.T) {
	s := NewStatus(full())
	l := s.Ledger
	if l.Received != 10_005 || l.Written != 9805 || l.InFlight != 100 || l.Residue != 0 {
		t.Errorf("ledger %+v", l)
	}
	want := map[string]uint64{"decode/bad_number": 7, "sink/partial_write": 3}
	if !reflect.DeepEqual(l.Rejected, want) {
		t.Errorf("rejected %v, want %v", l.Rejected, want)
	}
	if want := map[string]uint64{"overload": 90}; !reflect.DeepEqual(l.Dropped, want) {
		t.Errorf("dropped %v, want %v", l.Dropped, want)
	}
	p := s.Packets
	if p.Redirected != 1004 || p.Received != 1005 || p.Kernel != 5 || p.Decoded != 995 ||
		p.KernelDrops != 2 || p.ResidueRedirect != 0 || p.ResidueDecode != 0 ||
		p.Drops["ring_full"] != 4 || p.Rejected["checksum"] != 10 {
		t.Errorf("packets %+v", p)
	}
	if s.UptimeSeconds != 5400 || s.Ready || len(s.Reasons) != 1 || s.Workers[0].PointsReceived != 10_000 {
		t.Errorf("%+v", s)
	}
}

// Goal: in `mode: socket` the pinned workers read kernel sockets too, and those packets are counted. Method:
// a snapshot as such a gateway gives it.
func TestSocketModeCountsAsKernel(t *testing.T) {
	snapshot := full()
	c := &snapshot.Workers[0].Counters
	c.FramesReceived, c.DatagramsReceived, c.FramesDecoded = 1020, 20, 1010
	s := NewStatus(snapshot)
	if s.Packets.Kernel != 25 || s.Packets.Received != 1025 || s.Packets.ResidueRedirect != 0 {
		t.Errorf("%+v", s.Packets)
	}
	families := gather(t, snapshot)
	expectMetric(t, families, 25, "frames_received_total", "kernel", "0")
	expectMetric(t, families, 1000, "frames_received_total", "eth1", "3")
}

// Goal: the spool's terms stand in the ledger, in the sink's balance and in the metrics, and all balance.
// Method: points that were spooled and restored, of which the spooler has settled some.
func TestSpoolBalances(t *testing.T) {
	snapshot := full()
	snapshot.Workers[0].Counters.PointsReceived[0] += 400
	snapshot.Workers[0].Counters.PointsSpooled = 400
	sink := &snapshot.Sinks[0]
	sink.Points.Stored, sink.Points.Spooled = sink.Points.Stored+400, 400
	sink.Spool.Taken = 300 // the rest is on its way
	sink.Spool.Replayed = 200
	sink.Spool.Rejected[dataplane.SinkRefused], sink.Spool.Dropped[dataplane.DropCorrupt] = 7, 3
	s := NewStatus(snapshot)
	if l := s.Ledger; l.Residue != 0 || l.Restored != 50 || l.SpoolPending != 240 || l.Written != 10_005 ||
		l.Rejected["sink/refused"] != 7 || l.Dropped["corrupt"] != 3 {
		t.Errorf("ledger %+v", l)
	}
	p := s.Sinks[0].Points
	out := p.Written + sum(p.Rejected) + sum(p.Dropped) + p.SpoolPending + p.InFlight
	if p.Residue != 0 || p.Stored+p.Restored != out {
		t.Errorf("the sink's %+v", p)
	}
	families := gather(t, snapshot)
	expectMetric(t, families, 400, "points_spooled_total", "main")
	expectMetric(t, families, 200, "points_replayed_total", "main")
	expectMetric(t, families, 50, "points_restored_total", "main")
	expectMetric(t, families, 240, "points_spool_pending", "main")
	expectMetric(t, families, 10_005, "points_written_total", "main")
	expectMetric(t, families, 1<<20, "spool_bytes")
	expectMetric(t, families, 5400, "spool_oldest_seconds")
}

func TestStatusShowsAResidue(t *testing.T) {
	snapshot := full()
	snapshot.Workers[0].Counters.PointsWritten -= 2
	snapshot.Workers[0].Counters.FramesDecoded++
	snapshot.Interfaces[0].Queues[0].FramesReceived -= 3
	s := NewStatus(snapshot)
	if s.Ledger.Residue != 2 || s.Packets.ResidueDecode != -1 || s.Packets.ResidueRedirect != 3 {
		t.Errorf("residues %d, %d, %d", s.Ledger.Residue, s.Packets.ResidueDecode, s.Packets.ResidueRedirect)
	}
	var text bytes.Buffer
	if err := Render(&text, s); err != nil || !strings.Contains(text.String(), "NOT BALANCED") {
		t.Errorf("%v\n%s", err, &text)
	}
}

func TestStatusIsTheSameAfterJSON(t *testing.T) {
	for _, snapshot := range []*Snapshot{full(), {}} {
		s := NewStatus(snapshot)
		text, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "null") {
			t.Errorf("a list or map is null: %s", text)
		}
		var back Status
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(&back, s) {
			t.Errorf("%+v became %+v", s, back)
		}
	}
}

// Goal: the names in the document are kept. Method: they are all listed here.
func TestStatusNames(t *testing.T) {
	text, err := json.Marshal(NewStatus(full()))
	if err != nil {
		t.Fatal(err)
	}
	name := regexp.MustCompile(`"([a-z0-9_/-]+)":`)
	seen := map[string]bool{}
	for _, m := range name.FindAllSubmatch(text, -1) {
		seen[string(m[1])] = true
	}
	want := strings.Fields(`
		gateway version taken uptime_seconds ready reasons ledger received derived copied restored written
		stored moved points partial_write sink/refused
		rejected decode/bad_number sink/partial_write filtered dropped overload spool_pending in_flight
		residue packets redirected kernel assembled decoded checksum drops ring_full kernel_drops
		residue_redirect
		residue_decode interfaces name driver mode zerocopy need_wakeup busy_poll queues_fanout adopted
		card_times state queues
		queue socket cpu node worker statistics rx_ring_full verdicts not_ours workers transport
		heartbeat_age_seconds packets_received points_received points_written points_in_flight batches
		turns sleeps pages frames sends rings 1 0 deviations listeners port
		tenants tenant sink packets_limited points_limit series series_limit heavy_series listener
		key share sinks url up connections breaker last_error requests
		204 error
		spool spooled replayed pending bytes segments oldest_seconds memory_points disk_failures disk_error
		replay_error skipped kept_bytes disk_points
		zerocopy_sent zerocopy_copied rules group kind expr firing transitions evicted steps keys
		key_bytes too_long notifiers type delivered failed queued latency
		count mean p50 p99 p999 max end_to_end alert decode clock_steps`)
	for _, w := range want {
		if !seen[w] {
			t.Errorf("%q is not in the document", w)
		}
		delete(seen, w)
	}
	if len(seen) > 0 {
		t.Errorf("not listed here: %v", seen)
	}
}

func TestLatencyFigures(t *testing.T) {
	l := newLatency(recorded(1000, 1000, 1000, 2_000_000))
	near := func(got, want float64) bool { return math.Abs(got-want) <= 0.01*want }
	if l.Count != 4 || !near(l.P50, 1e-6) || !near(l.P99, 2e-3) || !near(l.Max, 2e-3) ||
		!near(l.Mean, 500.75e-6) {
		t.Errorf("%+v", l)
	}
	if empty := newLatency(new(hist.Snapshot)); empty != (Latency{}) {
		t.Errorf("an empty one: %+v", empty)
	}
}

const pageHead = `culvert v1.2.3, gateway gw-7, up 1h30m0s
not ready:
  sink main: http://127.0.0.1:8086 does not take points: refused
the clock jumped, times: 1

POINTS
`

func TestRender(t *testing.T) {
	var text bytes.Buffer
	if err := Render(&text, NewStatus(full())); err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", &text)
	if !strings.HasPrefix(text.String(), pageHead) {
		t.Errorf("it begins otherwise")
	}
	for line := range strings.SplitSeq(text.String(), "\n") {
		if n := len([]rune(line)); n > 100 {
			t.Errorf("%d columns: %q", n, line)
		}
		if strings.HasSuffix(line, " ") {
			t.Errorf("trailing spaces: %q", line)
		}
	}
	for _, want := range []string{"received 10 005", "decode/bad_number 7", "residue 0 balanced", "SINK main",
		"DOWN, connections: 2", "last error: refused", "requests: answered 204: 11, error: 1",
		"0 2 1 1 000 10 000 9 800 io_uring just now",
		"0 1 2 048 500, 12 on 0 6 - -",
		"kernel - - 5 5 5 sockets 1 ms ago", "alert 1 25 µs", "Hot 2 6", "ops webhook 6 0 0",
		"other verdicts: not_ours 77", "in the spool 50",
		"spool: 50 points wait, the oldest for 1h30m0s, in 1 048 576 bytes",
		"spool: restored: 50, spooled: 0",
		"spool's disk: no room; 4 points in memory", "spool: 1 damaged places skipped, 99 bytes kept aside",
		"INTERFACE eth1 zerocopy, ice, up", "3 0 2 1 1 000 ring_full 4"} {
		found := false
		for line := range strings.SplitSeq(text.String(), "\n") {
			found = found || strings.Contains(strings.Join(strings.Fields(line), " "), want)
		}
		if !found {
			t.Errorf("%q is not there", want)
		}
	}
	text.Reset()
	err := Render(&text, NewStatus(&Snapshot{Ready: true}))
	if err != nil || !strings.Contains(text.String(), "\nready\n") {
		t.Errorf("an empty one: %v\n%s", err, &text)
	}
}
