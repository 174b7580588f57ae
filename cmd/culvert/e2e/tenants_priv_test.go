package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"culvert/controlplane/loadgen"
	"culvert/controlplane/telemetry"
	"culvert/scripts/testenv"
)

// quietSink notes when each point of measurement "quiet" came, in order of their sequence.
type quietSink struct {
	url   string
	mutex sync.Mutex
	took  map[int]time.Duration // from the time in the point on
	twice int
}

func newQuietSink(t *testing.T, lab *testenv.Lab) *quietSink {
	t.Helper()
	s := &quietSink{took: map[int]time.Duration{}}
	listener := listen(t, lab)
	s.url = "http://" + listener.Addr().String()
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		now := time.Now()
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return
		}
		// A batch is one tenant's.
		if bytes.HasPrefix(body, []byte("quiet ")) {
			s.note(string(body), now)
		}
		w.WriteHeader(http.StatusNoContent)
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return s
}

func (s *quietSink) note(body string, now time.Time) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for line := range strings.Lines(body) {
		var number int
		var stamp int64
		if _, err := fmt.Sscanf(line, "quiet n=%di %d", &number, &stamp); err != nil {
			s.twice++ // it is not a quiet one's, and so neither is the batch
			continue
		}
		if _, there := s.took[number]; there {
			s.twice++
		}
		s.took[number] = now.Sub(time.Unix(0, stamp))
	}
}

// between are how many points of these numbers came, and their latency's median and 99th percentile.
func (s *quietSink) between(from, to int) (n int, median, p99 time.Duration) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	var times []time.Duration
	for number, took := range s.took {
		if number >= from && number < to {
			times = append(times, took)
		}
	}
	if len(times) == 0 {
		return 0, 0, 0
	}
	slices.Sort(times)
	return len(times), times[len(times)/2], times[len(times)*99/100]
}

// sendQuietly sends one point a millisecond.
func sendQuietly(t *testing.T, lab *testenv.Lab, from, to int) {
	t.Helper()
	var conn net.Conn
	err := lab.Sender.Do(func() (err error) {
		conn, err = net.Dial("udp", net.JoinHostPort(lab.GatewayIPv4.String(), strconv.Itoa(port)))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for number := from; number < to; number++ {
		<-ticker.C
		if _, err := fmt.Fprintf(conn, "quiet n=%di %d\n", number, time.Now().UnixNano()); err != nil {
			t.Fatal(err)
		}
	}
}

func tenantOf(t *testing.T, s *telemetry.Status, name string) *telemetry.TenantStatus {
	t.Helper()
	for i := range s.Tenants {
		if s.Tenants[i].Name == name {
			return &s.Tenants[i]
		}
	}
	t.Fatalf("there is no tenant %q in %+v", name, s.Tenants)
	return nil
}

// Goal: a tenant that sends far more than it may, and more than the gateway could take, costs another one
// nothing. Method: the quiet one, by IPv4, sends alone and then beside a noisy one, by IPv6, that sends as
// fast as this machine can; every point of the quiet one has to come. How long they take is printed: sender,
// gateway and sink share the CPUs.
func TestPrivNoisyTenant(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	sink := newQuietSink(t, lab)
	// The noisy one sends many times as much as it may, however slow the machine is.
	limit, points := testenv.Sized(200, 50), testenv.Sized(3000, 1000)
	g := start(t, lab, "run", "-c", write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: %s, mode: native, stall_after: 10s}]
listeners: [{name: plant, port: %d}]
tenants:
  - {name: quiet, sources: [%s]}
  - {name: noisy, sources: ["%s"], limits: {packets_per_second: %d, burst: 100}}
sinks: [{name: main, urls: [%s], database: telemetry}]
`, lab.GatewayInterface, port, lab.SenderIPv4, lab.SenderIPv6, limit, sink.url)))
	g.ready()
	sendQuietly(t, lab, 0, points)

	gateway, _ := netip.AddrFromSlice(lab.GatewayIPv6)
	var noise loadgen.Report
	began := time.Now()
	done := lab.Sender.Go(func() (err error) {
		noise, err = loadgen.Run(t.Context(), loadgen.Config{To: []netip.AddrPort{
			netip.AddrPortFrom(gateway, port)}, PointsPerPacket: 10,
			Duration: testenv.Sized(5*time.Second, 2*time.Second)})
		return err
	})
	time.Sleep(500 * time.Millisecond)
	sendQuietly(t, lab, points, 2*points)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	took := time.Since(began).Seconds()
	var s *telemetry.Status
	eventually(t, "everything is settled", func() (err error) {
		if s, err = g.status(); err != nil {
			return err
		}
		noisy := tenantOf(t, s, "noisy")
		if s.Ledger.InFlight != 0 || s.Packets.ResidueRedirect != 0 ||
			noisy.Packets+noisy.PacketsLimited+lab.WireDrops(t) < noise.Packets {
			return fmt.Errorf("%d noisy packets sent, %d dropped by the veth, %+v", noise.Packets,
				lab.WireDrops(t), noisy)
		}
		return nil
	})
	quiet, noisy := tenantOf(t, s, "quiet"), tenantOf(t, s, "noisy")
	alone, median, p99 := sink.between(0, points)
	beside, medianBeside, p99Beside := sink.between(points, 2*points)
	t.Logf("noisy: %d packets sent in %.1f s, %d dropped by the veth, %d over the limit, %d in",
		noise.Packets, took, lab.WireDrops(t), noisy.PacketsLimited, noisy.Packets)
	t.Logf("quiet alone: %d points, median %v, P99 %v; beside: %d points, median %v, P99 %v", alone, median,
		p99, beside, medianBeside, p99Beside)
	// Both send over one cable, and what that lost is nobody's doing here.
	came := alone + beside
	if alone > points || beside > points || came+int(lab.WireDrops(t)) < 2*points || sink.twice != 0 {
		t.Errorf("of %d points %d came alone and %d beside the noisy one, %d twice", points, alone, beside,
			sink.twice)
	}
	if quiet.PacketsLimited != 0 || sum(quiet.Ledger.Dropped) != 0 || quiet.Ledger.Written != uint64(came) {
		t.Errorf("the quiet one: %+v", quiet)
	}
	most := 100 + float64(limit)*took
	if float64(noisy.Packets) > most || noisy.PacketsLimited < 10*noisy.Packets {
		t.Errorf("%d packets of the noisy one came in, at most %.0f may; %d were over the limit",
			noisy.Packets, most, noisy.PacketsLimited)
	}
	for _, one := range s.Tenants {
		if one.Ledger.Residue != 0 {
			t.Errorf("tenant %s: %+v", one.Name, one.Ledger)
		}
	}
	if s.Ledger.Residue != 0 || s.Packets.ResidueDecode != 0 {
		t.Errorf("%+v, %+v", s.Ledger, s.Packets)
	}
}

// Goal: each limit is kept on its way in, counted under its name, and shown by tenant in metrics and status.
// Method: frames of two senders, and datagrams to the kernel's socket.
func TestPrivTenantLimits(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	recorder := newRecorder(t, lab)
	g := start(t, lab, "run", "-c", write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: %s, mode: native}]
listeners: [{name: plant, port: %d}]
tenants:
  - name: local
    limits: {packets_per_second: 1, burst: 5}
  - {name: few, sources: [10.88.0.0/16], limits: {points_per_second: 1, series: 2, burst: 5}}
  - {name: slow, sources: ["fd00:88::/32"], limits: {source_packets_per_second: 1, burst: 3}}
workers: {frames: 1024}
sinks: [{name: main, urls: [%s], database: telemetry}]
`, lab.GatewayInterface, port, recorder.url)))
	g.ready()
	begun := time.Now()
	raw := newRawSender(t, lab)
	// Two series with six points, of which five may come, and a third one.
	raw.send(raw.frame(lab.GatewayIPv4, []byte("m,s=a v=1 1\nm,s=b v=1 1\nm,s=c v=1 1\nm,s=a v=2 2\n"+
		"m,s=a v=3 3\nm,s=b v=2 2\nm,s=b v=3 3\n")))
	for i := range 4 {
		raw.send(raw.frame6(lab.GatewayIPv6, fmt.Appendf(nil, "six v=%d 1", i), 17))
	}
	other := *lab
	other.SenderIPv6 = net.ParseIP("fd00:88::3")
	raw.lab = &other
	raw.send(raw.frame6(lab.GatewayIPv6, []byte("seven v=1 1"), 17))
	err := lab.Gateway.Do(func() error {
		conn, err := net.Dial("udp", net.JoinHostPort("127.0.0.1", fmt.Sprint(port)))
		if err != nil {
			return err
		}
		defer conn.Close()
		for i := range 8 {
			if _, err := fmt.Fprintf(conn, "local v=%d 1", i); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var s *telemetry.Status
	eventually(t, "everything is settled", func() (err error) {
		if s, err = g.status(); err != nil {
			return err
		}
		local, slow := tenantOf(t, s, "local"), tenantOf(t, s, "slow")
		if local.Packets+local.PacketsLimited != 8 || slow.Packets+slow.PacketsLimited != 5 ||
			tenantOf(t, s, "few").Packets != 1 || s.Ledger.InFlight != 0 {
			return fmt.Errorf("%+v, %+v", s.Ledger, s.Packets)
		}
		return nil
	})
	// A limit of one a second lets one more in with each second that this takes.
	later := uint64(time.Since(begun)/time.Second) + 1
	f := func(name string, least, most, written, points, series uint64) {
		t.Helper()
		got := tenantOf(t, s, name)
		if got.Packets < least || got.Packets > most || got.Ledger.Written != written ||
			got.Ledger.Dropped["points_limit"] != points || got.Ledger.Dropped["series_limit"] != series ||
			got.Ledger.Residue != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	local, slow := tenantOf(t, s, "local"), tenantOf(t, s, "slow")
	f("local", 5, min(5+later, 7), local.Packets, 0, 0)
	f("few", 1, 1, 5, 1, 1)
	f("slow", 4, min(4+later, 5), slow.Packets, 0, 0)
	if s.Packets.Rejected["tenant_limit"] != local.PacketsLimited ||
		s.Interfaces[0].Verdicts["source_limit"] != slow.PacketsLimited {
		t.Errorf("rejected %v, verdicts %v", s.Packets.Rejected, s.Interfaces[0].Verdicts)
	}
	g.exposes(
		`culvert_points_written_total{sink="main",tenant="few"} 5`,
		`culvert_points_dropped_total{reason="series_limit",sink="",tenant="few"} 1`,
		fmt.Sprintf(`culvert_points_received_total{listener="plant",tenant="slow"} %d`, slow.Packets),
		fmt.Sprintf(`culvert_tenant_packets_limited_total{tenant="local"} %d`, local.PacketsLimited),
		`culvert_tenant_series{tenant="few"} 2`,
	)
	total := map[string]uint64{
		`"interface":"kernel"`: local.PacketsLimited,
		`"tenant":"slow"`:      slow.PacketsLimited,
	}
	eventually(t, "the log says what limits cost", func() error {
		log := g.output.String()
		for whose, limited := range total {
			said := regexp.MustCompile(fmt.Sprintf(`over a tenant's.*%s,.*"total":%d,`, whose, limited))
			if limited > 0 && !said.MatchString(log) {
				return fmt.Errorf("nothing of %d packets, %s, in\n%s", limited, whose, log)
			}
		}
		return nil
	})
	if lines := recorder.all(); uint64(len(lines)) != 5+local.Packets+slow.Packets {
		t.Errorf("%d lines were written: %q", len(lines), lines)
	}
}
