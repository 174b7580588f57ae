package telemetry

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"culvert/dataplane"
	"culvert/dataplane/lineproto"
)

// lineLedger is a tenant's that balances: 500 points in, of which all are told where they are.
func lineLedger() (l dataplane.TenantLedger) {
	l.Packets = 50
	l.Received[0], l.Received[1], l.Derived, l.Copied = 400, 90, 7, 3
	l.Rejected[lineproto.BadNumber], l.Filtered, l.PointsLimited, l.SeriesLimited = 20, 30, 40, 50
	l.Lanes.Stored, l.Lanes.Written, l.Lanes.InFlight = 360, 300, 45
	l.Lanes.Dropped[dataplane.DropOverload], l.Lanes.Rejected[dataplane.SinkRefused] = 10, 5
	return l
}

func gatherByTenant(t *testing.T, s *Snapshot) map[string]*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(func() *Snapshot { return s }).ByTenant())
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

// Goal: with several tenants the ledger's metrics have their names, and nothing else changes.
func TestMetricsByTenant(t *testing.T) {
	snapshot := full()
	// 20 points of the line's were set aside, on top of what its ledger has, and 5 were found at the start,
	// of which 8 are written, 3 refused, and 2 dropped; 4 of a tenant that there is no more are written.
	line := dataplane.SpoolShare{Restored: 5, Taken: 19, Replayed: 8}
	line.Dropped[dataplane.DropOversize], line.Rejected[dataplane.SinkRefused] = 2, 3
	snapshot.Tenants[0].Ledger.Lanes.Spooled = 20
	snapshot.Sinks[0].Spool = &dataplane.SpoolerState{Shares: []dataplane.SpoolShare{
		line, {}, {Restored: 4, Replayed: 4}}}
	families := gatherByTenant(t, snapshot)
	f := func(want float64, name string, labels ...string) {
		t.Helper()
		expectMetric(t, families, want, name, labels...)
	}
	f(400, "points_received_total", "plant", "line")
	f(90, "points_received_total", "office", "line")
	f(0, "points_received_total", "plant", "rest")
	f(7, "points_derived_total", "line")
	f(3, "points_copied_total", "line")
	f(20, "points_rejected_total", "bad_number", "decode", "line")
	f(5+3, "points_rejected_total", "refused", "sink", "line")
	f(30, "points_filtered_total", "line")
	f(40, "points_dropped_total", "points_limit", "", "line")
	f(50, "points_dropped_total", "series_limit", "", "line")
	f(10, "points_dropped_total", "overload", "main", "line")
	f(300+8, "points_written_total", "main", "line")
	f(2, "points_dropped_total", "oversize", "main", "line")
	f(20, "points_spooled_total", "main", "line")
	f(8, "points_replayed_total", "main", "line")
	f(5, "points_restored_total", "main", "line")
	f(12, "points_spool_pending", "main", "line")
	f(0, "points_spooled_total", "main", "rest")
	f(45, "points_in_flight", "main", "line")
	f(4, "points_written_total", "main", "")
	f(4, "points_restored_total", "main", "")
	f(0, "points_spool_pending", "main", "")
	f(12, "tenant_packets_limited_total", "line")
	f(7, "tenant_series", "line")
	plain := gather(t, snapshot)
	for name := range plain {
		if families[name] == nil {
			t.Errorf("%s is gone", name)
		}
	}
	if len(families) != len(plain) {
		t.Errorf("%d families by tenant, %d without", len(families), len(plain))
	}
}

// Goal: the status has each tenant's balance, and says in words what limits cost and what dominates.
func TestTenantsInStatus(t *testing.T) {
	status := NewStatus(full())
	line := status.Tenants[0].Ledger
	if line.Received != 490 || line.Residue != 0 || line.Dropped["points_limit"] != 40 ||
		line.Dropped["overload"] != 10 || line.Rejected["sink/refused"] != 5 {
		t.Errorf("ledger %+v", line)
	}
	var text strings.Builder
	if err := Render(&text, status); err != nil {
		t.Fatal(err)
	}
	has := func(words string) bool {
		return slices.ContainsFunc(strings.Split(text.String(), "\n"), func(line string) bool {
			return strings.Join(strings.Fields(line), " ") == words
		})
	}
	for _, words := range []string{
		"TENANT sink points written dropped packets limited",
		"line main 490 300 100 12",
		"dropped: overload 10, points_limit 40, series_limit 50",
		"series: 7 of 9",
		"rest main 0 0 0 0",
		"HEAVY SERIES tenant listener key",
		"25.6 % line plant m,s=1",
	} {
		if !has(words) {
			t.Errorf("no line %q in\n%s", words, &text)
		}
	}
	alone := full()
	alone.Tenants, alone.Heavy = alone.Tenants[1:], nil
	text.Reset()
	if err := Render(&text, NewStatus(alone)); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text.String(), "TENANT") || strings.Contains(text.String(), "HEAVY") {
		t.Errorf("one tenant without limits is shown:\n%s", &text)
	}
}
