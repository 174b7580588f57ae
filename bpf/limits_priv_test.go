package bpf

import (
	"encoding/binary"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"culvert/bpf/abi"
)

// slowly is how much slower than said time passes for limits in these tests: no bucket fills by itself.
const slowly = 1_000_000

// newLimited loads the program with listener 7: tenant 1 is 10.2.0.0/16 and fd00:2::/32, tenant 2 is
// 10.3.0.0/16, all others are tenant 0. Buckets fill slowly.
func newLimited(t *testing.T, limits ...TenantLimit) *Steer {
	t.Helper()
	s := newSteer(t)
	check(t, s.SetListeners([]Listener{limitedListener()}, limits...))
	for _, l := range limits {
		changeLimit(t, s, l.Tenant, func(e *steerTenantLimit) {
			e.DrawCost *= slowly
			e.Depth *= slowly
			e.SourceCost *= slowly
			e.SourceDepth *= slowly
		})
	}
	return s
}

func limitedListener() Listener {
	return Listener{ID: 7, Port: ourPort, Addresses: []netip.Addr{ourV4, ourV6}, Tenants: []TenantPrefix{
		{netip.MustParsePrefix("10.2.0.0/16"), 1}, {netip.MustParsePrefix("fd00:2::/32"), 1},
		{netip.MustParsePrefix("10.3.0.0/16"), 2},
	}}
}

// changeLimit changes the live entry of a tenant.
func changeLimit(t *testing.T, s *Steer, tenant uint16, change func(*steerTenantLimit)) {
	t.Helper()
	key := uint32(s.tables.live.generation&1)*TenantsMax + uint32(tenant)
	var e steerTenantLimit
	check(t, s.objects.TenantLimits.Lookup(key, &e))
	change(&e)
	check(t, s.objects.TenantLimits.Put(key, &e))
}

func packetFrom(sender string) []byte {
	f := telemetry4()
	f.from = netip.MustParseAddr(sender)
	if f.from.Is6() {
		f.at = ourV6
	}
	return f.bytes()
}

// expectRow runs a packet several times.
func expectRow(t *testing.T, s *Steer, packet []byte, times int, want abi.Verdict) {
	t.Helper()
	for i := range times {
		expect(t, s, packet, want)
		if t.Failed() {
			t.Fatalf("packet %d of %d", i+1, times)
		}
	}
}

func wantLimited(t *testing.T, s *Steer, tenants map[int]uint64) {
	t.Helper()
	counts, err := s.Limited(TenantsMax)
	check(t, err)
	for tenant, n := range counts {
		if n != tenants[tenant] {
			t.Errorf("tenant %d: %d packets limited, want %d", tenant, n, tenants[tenant])
		}
	}
}

// pin keeps the test on one CPU, because each has its own credits.
func pin(t *testing.T, cpu int) {
	t.Helper()
	runtime.LockOSThread()
	var before, set unix.CPUSet
	check(t, unix.SchedGetaffinity(0, &before))
	set.Set(cpu)
	check(t, unix.SchedSetaffinity(0, &set))
	t.Cleanup(func() {
		check(t, unix.SchedSetaffinity(0, &before))
		runtime.UnlockOSThread()
	})
}

// Goal: a tenant gets its burst and not one packet more, whichever family it sends by; the others get all.
func TestPrivTenantLimit(t *testing.T) {
	s := newLimited(t, TenantLimit{Tenant: 1, PacketsPerSecond: 1, Burst: 3})
	expectRow(t, s, packetFrom("10.2.0.9"), 2, abi.Redirected)
	expectRow(t, s, packetFrom("fd00:2::9"), 1, abi.Redirected)
	expectRow(t, s, packetFrom("10.2.0.9"), 2, abi.TenantLimit)
	expectRow(t, s, packetFrom("fd00:2::9"), 1, abi.TenantLimit)
	expectRow(t, s, packetFrom("10.2.77.1"), 1, abi.TenantLimit)
	expectRow(t, s, packetFrom("10.3.0.1"), 20, abi.Redirected)
	expectRow(t, s, packetFrom("10.4.0.1"), 20, abi.Redirected)
	wantLimited(t, s, map[int]uint64{1: 4})

	// What passes to the kernel is limited before: its socket is no way round.
	s.Heartbeats()[0].Store(0)
	expectRow(t, s, packetFrom("10.2.0.9"), 1, abi.TenantLimit)
	expectRow(t, s, packetFrom("10.3.0.1"), 1, abi.Unserved)
}

// Goal: time fills a bucket, packet by packet and never beyond the burst. Method: the bucket's time is moved
// instead of waiting.
func TestPrivTenantBucketFills(t *testing.T) {
	s := newLimited(t, TenantLimit{Tenant: 1, PacketsPerSecond: 1, Burst: 3})
	packet := packetFrom("10.2.0.9")
	expectRow(t, s, packet, 3, abi.Redirected)
	expectRow(t, s, packet, 1, abi.TenantLimit)
	back := func(costs uint64) {
		changeLimit(t, s, 1, func(e *steerTenantLimit) {
			e.PaidUntil -= min(costs*e.DrawCost, e.PaidUntil)
		})
	}
	back(1)
	expectRow(t, s, packet, 1, abi.Redirected)
	expectRow(t, s, packet, 1, abi.TenantLimit)
	back(2)
	expectRow(t, s, packet, 2, abi.Redirected)
	expectRow(t, s, packet, 1, abi.TenantLimit)
	back(1000)
	expectRow(t, s, packet, 3, abi.Redirected)
	expectRow(t, s, packet, 1, abi.TenantLimit)
	// A bucket of a moment ago: the time may lie at most `depth` ahead.
	changeLimit(t, s, 1, func(e *steerTenantLimit) { e.PaidUntil = nowMonotonic(t) + e.Depth + e.DrawCost })
	expectRow(t, s, packet, 1, abi.TenantLimit)
	changeLimit(t, s, 1, func(e *steerTenantLimit) { e.PaidUntil = nowMonotonic(t) + e.Depth })
	expectRow(t, s, packet, 1, abi.Redirected)
	expectRow(t, s, packet, 1, abi.TenantLimit)
}

// Goal: in real time, too, no more passes than burst and rate allow, and no less than the rate.
func TestPrivTenantRate(t *testing.T) {
	pin(t, 0)
	s := newSteer(t)
	const rate, burst, packets = 10_000, 100, 500_000
	check(t, s.SetListeners([]Listener{limitedListener()},
		TenantLimit{Tenant: 1, PacketsPerSecond: rate, Burst: burst}))
	before := passed(t, s)
	began := time.Now()
	_, each, err := s.Program().Benchmark(packetFrom("10.2.0.9"), packets, nil)
	took := time.Since(began).Seconds()
	check(t, err)
	got := float64(passed(t, s) - before)
	// The kernel says how long the mean run took, without setting up and without what else ran in between.
	inside := each.Seconds() * packets
	most := burst + rate*took
	// A CPU that is taken away for longer than the burst lasts loses what would have come then: hence half.
	if least := rate * inside / 2; got > most || got < least {
		t.Errorf("%v packets passed in %.3f s, want at most %.1f and at least %.1f", got, took, most, least)
	}
	counts, err := s.Limited(TenantsMax)
	check(t, err)
	if counts[1] == 0 {
		t.Error("nothing was limited: the test proves nothing")
	}
}

// passed is how many packets no limit has stopped: in a row of runs the kernel leaves the metadata of one
// packet for the next, which then has no place for its own.
func passed(t *testing.T, s *Steer) uint64 {
	t.Helper()
	counts, err := s.Verdicts()
	check(t, err)
	return counts[abi.Redirected] + counts[abi.NoMetadata]
}

// repeat gives a packet to the program many times in a row.
func repeat(t *testing.T, s *Steer, packet []byte, times uint32) {
	t.Helper()
	_, err := s.Program().Run(&ebpf.RunOptions{Data: packet, Repeat: times,
		Context: xdpMD{DataEnd: uint32(len(packet))}})
	if err != nil {
		t.Fatal(err)
	}
}

// Goal: all CPUs together get no more than the burst, and what may be left lies with them, drawn. Method:
// every CPU sends as fast as it can while the bucket does not fill.
func TestPrivTenantLimitOverCPUs(t *testing.T) {
	const burst = 1000
	s := newLimited(t, TenantLimit{Tenant: 1, PacketsPerSecond: 1, Burst: burst})
	cpus, err := possibleCPUs()
	check(t, err)
	var senders sync.WaitGroup
	for cpu := range runtime.NumCPU() {
		senders.Go(func() {
			runtime.LockOSThread() // its end takes the thread, and the pinning with it
			var set unix.CPUSet
			set.Set(cpu)
			if err := unix.SchedSetaffinity(0, &set); err != nil {
				t.Log(err) // a CPU that is not ours: its share stays unused
				return
			}
			repeat(t, s, packetFrom("10.2.0.9"), 20*burst)
		})
	}
	senders.Wait()
	draw := int((&TenantLimit{PacketsPerSecond: 1, Burst: burst}).entry(cpus).Draw)
	got := int(passed(t, s))
	if got > burst || got < burst-(draw-1)*cpus-draw {
		t.Errorf("%d packets passed, want at most %d, and at least what %d CPUs of draws of %d leave",
			got, burst, cpus, draw)
	}
	t.Logf("%d of %d packets passed, in draws of %d", got, burst, draw)
}

// Goal: CPUs take packets out of the bucket by draws, and use up what they drew.
func TestPrivDraws(t *testing.T) {
	pin(t, 0)
	s := newLimited(t, TenantLimit{Tenant: 1, PacketsPerSecond: 1, Burst: 1})
	changeLimit(t, s, 1, func(e *steerTenantLimit) { e.Draw, e.Depth = 5, e.DrawCost })
	packet := packetFrom("10.2.0.9")
	expectRow(t, s, packet, 10, abi.Redirected)
	expectRow(t, s, packet, 2, abi.TenantLimit)
	// Credit of one generation is none of the next: its bucket starts full.
	changeLimit(t, s, 1, func(e *steerTenantLimit) { e.PaidUntil = 0 })
	expectRow(t, s, packet, 1, abi.Redirected)
	check(t, s.SetListeners([]Listener{limitedListener()},
		TenantLimit{Tenant: 1, SourcePacketsPerSecond: 1000, PacketsPerSecond: 1, Burst: 1}))
	changeLimit(t, s, 1, func(e *steerTenantLimit) { e.SourceCost, e.DrawCost = 0, e.DrawCost*slowly })
	expectRow(t, s, packet, 1, abi.Redirected)
	expectRow(t, s, packet, 1, abi.TenantLimit)
}

// Goal: what one sender sends too much costs neither the other senders nor its tenant.
func TestPrivSourceLimit(t *testing.T) {
	pin(t, 0)
	s := newLimited(t, TenantLimit{Tenant: 1, PacketsPerSecond: 1, SourcePacketsPerSecond: 1, Burst: 4})
	// The tenant may more than one of its senders.
	changeLimit(t, s, 1, func(e *steerTenantLimit) { e.Depth += 8 * e.DrawCost })
	expectRow(t, s, packetFrom("10.2.0.9"), 4, abi.Redirected)
	expectRow(t, s, packetFrom("10.2.0.9"), 100, abi.SourceLimit)
	expectRow(t, s, packetFrom("fd00:2::9"), 4, abi.Redirected)
	expectRow(t, s, packetFrom("fd00:2::9"), 1, abi.SourceLimit)
	expectRow(t, s, packetFrom("10.2.0.10"), 4, abi.Redirected)
	// The twelve that passed, and none of those that did not, were the tenant's.
	expectRow(t, s, packetFrom("10.2.0.11"), 1, abi.TenantLimit)
	expectRow(t, s, packetFrom("10.3.0.1"), 9, abi.Redirected)
	wantLimited(t, s, map[int]uint64{1: 102})
}

// Goal: a sender that sends too much stays limited whoever else sends, and many senders do not limit each
// other. Method: far more senders than the table has places, each within its limit.
func TestPrivManySources(t *testing.T) {
	pin(t, 0)
	s := newLimited(t, TenantLimit{Tenant: 1, SourcePacketsPerSecond: 1, Burst: 3})
	noisy := packetFrom("10.2.255.1")
	expectRow(t, s, noisy, 3, abi.Redirected)
	expectRow(t, s, noisy, 1, abi.SourceLimit)
	before, err := s.Verdicts()
	check(t, err)
	const senders = 5 * 1024 * 4
	f := telemetry4()
	for i := range senders {
		var address [4]byte
		binary.BigEndian.PutUint32(address[:], 0x0a020000+uint32(i))
		f.from = netip.AddrFrom4(address)
		repeat(t, s, f.bytes(), 1)
	}
	after, err := s.Verdicts()
	check(t, err)
	if got := after[abi.Redirected] - before[abi.Redirected]; got != senders {
		t.Errorf("%d of %d senders passed", got, senders)
	}
	expectRow(t, s, noisy, 1, abi.SourceLimit)
}

// Goal: new limits start with full buckets, and limits that are gone are gone, over both halves of tables.
func TestPrivLimitsReload(t *testing.T) {
	pin(t, 0)
	limit := TenantLimit{Tenant: 1, PacketsPerSecond: 1, SourcePacketsPerSecond: 1, Burst: 2}
	s := newLimited(t, limit)
	packet := packetFrom("10.2.0.9")
	for range 3 {
		expectRow(t, s, packet, 2, abi.Redirected)
		expectRow(t, s, packet, 1, abi.SourceLimit)
		check(t, s.SetListeners([]Listener{limitedListener()}))
		expectRow(t, s, packet, 50, abi.Redirected)
		check(t, s.SetListeners([]Listener{limitedListener()}, TenantLimit{Tenant: 2, PacketsPerSecond: 1}))
		expectRow(t, s, packet, 50, abi.Redirected)
		check(t, s.SetListeners([]Listener{limitedListener()}, limit))
		changeLimit(t, s, 1, func(e *steerTenantLimit) {
			e.SourceCost *= slowly
			e.SourceDepth *= slowly
		})
	}
	if err := s.SetListeners(nil, TenantLimit{Tenant: TenantsMax}); err == nil {
		t.Error("a limit of a tenant that cannot be was taken")
	}
	expectRow(t, s, packet, 2, abi.Redirected)
}
