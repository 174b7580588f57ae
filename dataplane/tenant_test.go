package dataplane

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"culvert/dataplane/rules"
)

// tenantWorker is a worker that does not run, with so many tenants of one sink that does not answer.
func tenantWorker(t *testing.T, tenants int, set *rules.Set) *Worker {
	t.Helper()
	config := workerConfig(t, "http://127.0.0.1:9", true)
	config.TenantSinks = make([]uint8, tenants)
	limits := make([]TenantLimit, tenants)
	limits[tenants-1] = TenantLimit{PointsPerSecond: 100, Series: 3}
	config.Limits = NewLimits(limits, 1)
	if set != nil {
		config.Rules, config.RuleState = set, rules.Config{Workers: 1, Owners: 1, KeysMax: 1000}
	}
	w := openWith(t, config)
	w.now = second
	return w
}

func feedTenant(t *testing.T, w *Worker, tenant uint16, text string) {
	t.Helper()
	packet, metadata := frame(text, w.clock.Now())
	metadata[18] = byte(tenant)
	var payload Payload
	if r := openFrame(&payload, packet, metadata, ChecksumVerify, &w.counters); r != FrameRejects {
		t.Fatal(r)
	}
	w.eat(&payload, false)
}

// balance publishes and checks every ledger there is, and that the tenants' make up the worker's.
func balance(t *testing.T, w *Worker) []TenantLedger {
	t.Helper()
	w.publish()
	c, ledgers := w.Counters(), w.TenantLedgers()
	if c.PointsIn() != c.PointsOut() {
		t.Errorf("worker: %d in, %d out", c.PointsIn(), c.PointsOut())
	}
	var sum TenantLedger
	for i := range ledgers {
		if r := ledgers[i].Residue(); r != 0 {
			t.Errorf("tenant %d: residue %d of %+v", i, r, ledgers[i])
		}
		sum.Add(&ledgers[i])
	}
	if sum.Received != c.PointsReceived || sum.Rejected != c.PointsRejected ||
		sum.Filtered != c.PointsFiltered || sum.PointsLimited != c.PointsDropped[DropPointsLimit] ||
		sum.SeriesLimited != c.PointsDropped[DropSeriesLimit] || sum.Derived != c.PointsDerived ||
		sum.Packets != c.FramesDecoded || sum.Lanes.InFlight != c.PointsInFlight ||
		sum.Lanes.Written != c.PointsWritten || total(sum.Lanes.Dropped[:])+sum.PointsLimited+
		sum.SeriesLimited != total(c.PointsDropped[:]) {
		t.Errorf("the tenants' sum %+v is not the worker's %+v", sum, c)
	}
	return ledgers
}

// Goal: each tenant's ledger holds exactly what it sent, by what became of it, and all together make up the
// worker's. Method: payloads of random tenants with good, bad, filtered and too many points.
func TestTenantLedgersBalance(t *testing.T) {
	group := rules.Group{Name: rules.Text{Source: "filter"}, Rules: []rules.Rule{
		{Kind: rules.KindDrop, On: []rules.Text{{Source: "m"}}, Expr: rules.Text{Source: "v > 90"}},
	}}
	set, wrong := rules.Compile([]rules.Group{group})
	if len(wrong) > 0 {
		t.Fatal(wrong[0])
	}
	const tenants = 3
	w := tenantWorker(t, tenants, set)
	r := rand.New(rand.NewPCG(3, 4))
	var want [tenants]TenantCounters
	var bad [tenants]uint64
	for range 500 {
		tenant := r.IntN(tenants)
		var text strings.Builder
		one := &want[tenant]
		one.Packets++
		for range r.IntN(6) {
			one.Received[0]++
			switch v := r.IntN(120); {
			case v >= 100:
				text.WriteString("bad\n")
				bad[tenant]++
			default:
				fmt.Fprintf(&text, "m,s=%d v=%d 1\n", r.IntN(9), v)
			}
		}
		feedTenant(t, w, uint16(tenant), text.String())
	}
	ledgers := balance(t, w)
	for i := range ledgers {
		got := ledgers[i].TenantCounters
		if got.Packets != want[i].Packets || got.Received != want[i].Received ||
			total(got.Rejected[:]) != bad[i] || got.Filtered == 0 {
			t.Errorf("tenant %d is %+v, want %+v", i, got, want[i])
		}
		if limited := got.PointsLimited > 0 && got.SeriesLimited > 0; limited != (i == tenants-1) {
			t.Errorf("tenant %d: %d points and %d series are limited", i, got.PointsLimited,
				got.SeriesLimited)
		}
		if ledgers[i].Lanes.InFlight == 0 || ledgers[i].Lanes.Stored != ledgers[i].Lanes.InFlight {
			t.Errorf("tenant %d: %+v", i, ledgers[i].Lanes)
		}
	}
	w.closeSinks(w.clock.Now())
	for i, l := range balance(t, w) {
		if l.Lanes.InFlight != 0 || l.Lanes.Dropped[DropUndelivered] != l.Lanes.Stored {
			t.Errorf("tenant %d at the end: %+v", i, l.Lanes)
		}
	}
}

// Goal: a tenant that fills all batches it may have leaves the other room, and a batch is one tenant's.
func TestTenantsShareBatches(t *testing.T) {
	w := tenantWorker(t, 2, nil)
	size := w.lanes[0].pool.Size()
	if len(w.lanes) != 2 || len(w.urls) != 1 || size < 3 {
		t.Fatalf("%d lanes, %d URLs, %d batches", len(w.lanes), len(w.urls), size)
	}
	lines := strings.Repeat("m,s=a v=1 1\n", 100)
	for w.lanes[0].counters.Dropped[DropOverload] == 0 {
		feedTenant(t, w, 0, lines)
	}
	feedTenant(t, w, 1, "m,s=b v=1 1\n")
	ledgers := balance(t, w)
	if held := w.lanes[0].batches; held != 2*size/3 {
		t.Errorf("the noisy tenant holds %d of %d batches", held, size)
	}
	if l := ledgers[1].Lanes; l.InFlight != 1 || total(l.Dropped[:]) != 0 {
		t.Errorf("the quiet tenant's lane is %+v", l)
	}
	if body := string(w.lanes[1].open.Body()); body != "m,s=b v=1 1\n" {
		t.Errorf("the quiet tenant's batch is %q", body)
	}
	if sum := w.LaneCounters(0); sum.Stored != w.counters.PointsIn() {
		t.Errorf("the URL's counters are %+v", sum)
	}
	w.closeSinks(w.clock.Now())
	balance(t, w)
	if w.lanes[0].batches != 0 || w.lanes[1].batches != 0 || w.lanes[0].pool.Free() != size {
		t.Errorf("%d and %d batches are out, %d free of %d", w.lanes[0].batches, w.lanes[1].batches,
			w.lanes[0].pool.Free(), size)
	}
}

// Goal: tenants with sinks of their own meet nowhere, and one tenant alone has no ledger beside the worker's.
func TestTenantsWithOwnSinks(t *testing.T) {
	config := workerConfig(t, "http://127.0.0.1:9", true)
	config.Sinks = append(config.Sinks, config.Sinks[0], config.Sinks[0])
	config.TenantSinks = []uint8{2, 0, 2}
	w := openWith(t, config)
	if len(w.lanes) != 4 || len(w.urls) != 3 {
		t.Fatalf("%d lanes, %d URLs", len(w.lanes), len(w.urls))
	}
	for tenant := range uint16(4) {
		feedTenant(t, w, tenant, "m v=1 1\n")
	}
	balance(t, w)
	for url, want := range []uint64{1, 0, 3} {
		if got := w.LaneCounters(url).Stored; got != want {
			t.Errorf("URL %d has %d points, want %d", url, got, want)
		}
	}
	if w.lanes[0].sharing != 1 || w.lanes[2].sharing != 2 || w.lanes[3].sharing != 2 {
		t.Error("pools are shared by other tenants than send there")
	}
	if alone := openWorker(t, nil); alone.TenantLedgers() != nil || alone.tenants != nil {
		t.Error("one tenant has a ledger of its own")
	}
}

// Goal: with several tenants, too, everything comes to the database and is settled with its tenant.
func TestTenantsAreSettled(t *testing.T) {
	config := workerConfig(t, newDatabase(t).server.URL, false)
	config.TenantSinks = make([]uint8, 3)
	w, err := Start(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	const rounds = 200
	err = w.Do(func() error {
		for i := range rounds {
			for tenant := range uint16(3) {
				feedTenant(t, w, tenant, fmt.Sprintf("m,t=%d v=%d %d\n", tenant, i, i+1))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(10 * time.Second)
	for w.Counters().PointsWritten < 3*rounds && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	if err := w.Drain(5 * time.Second); err != nil {
		t.Fatal(err)
	}
	for i, l := range w.TenantLedgers() {
		if l.Lanes.Written != rounds || l.Residue() != 0 || l.Lanes.InFlight != 0 {
			t.Errorf("tenant %d: %+v", i, l)
		}
	}
}
