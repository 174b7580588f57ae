package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"culvert/controlplane/telemetry"
	"culvert/scripts/testenv"
)

// screen is what a viewer of the dashboard has seen: the last picture, and every reason there ever was.
type screen struct {
	mutex   sync.Mutex
	last    telemetry.Picture
	reasons []string
}

// watchScreen follows the dashboard's stream until the test ends.
func watchScreen(t *testing.T, g *gateway) *screen {
	t.Helper()
	s := new(screen)
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	t.Cleanup(func() { cancel(); watching.Wait() })
	client := &http.Client{Transport: g.client.Transport}
	request, err := http.NewRequestWithContext(ctx, "GET", "http://127.0.0.1:9490/api/v1/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	watching.Go(func() {
		defer response.Body.Close()
		for lines := bufio.NewReader(response.Body); ; {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			data, found := strings.CutPrefix(line, "data: ")
			var p telemetry.Picture
			if !found || json.Unmarshal([]byte(data), &p) != nil {
				continue
			}
			s.mutex.Lock()
			s.last, s.reasons = p, append(s.reasons, p.Health.Reasons...)
			s.mutex.Unlock()
		}
	})
	return s
}

// shows looks for a term in the last picture, and for its reason in all.
func (s *screen) shows(term func(*telemetry.Status) uint64, reason string) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.last.Status == nil || term(s.last.Status) == 0 {
		return fmt.Errorf("the dashboard does not show it")
	}
	for _, r := range s.reasons {
		if strings.Contains(r, reason) {
			return nil
		}
	}
	return fmt.Errorf("no reason says %q: %q", reason, s.last.Health.Reasons)
}

// metric is the sum of all series of a metric whose labels contain a text.
func (g *gateway) metric(name, labels string) (sum float64) {
	g.t.Helper()
	for series, value := range g.figures() {
		if found, rest, _ := strings.Cut(series, "{"); found == name && strings.Contains(rest, labels) {
			sum += value
		}
	}
	return sum
}

// term is one way in which packets or points do not reach the database.
type term struct {
	name           string
	drive          func()
	status         func(*telemetry.Status) uint64
	metric, labels string
	reason         string
}

// The terms by where the status has them.
func verdict(name string) func(*telemetry.Status) uint64 {
	return func(s *telemetry.Status) uint64 { return s.Interfaces[0].Verdicts[name] }
}
func rejectedPacket(reason string) func(*telemetry.Status) uint64 {
	return func(s *telemetry.Status) uint64 { return s.Packets.Rejected[reason] }
}
func rejectedPoint(reason string) func(*telemetry.Status) uint64 {
	return func(s *telemetry.Status) uint64 { return s.Ledger.Rejected[reason] }
}
func droppedPoint(reason string) func(*telemetry.Status) uint64 {
	return func(s *telemetry.Status) uint64 { return s.Ledger.Dropped[reason] }
}

// steered, refused and lost make the terms of the three places.
func steered(name string, drive func()) term {
	return term{"XDP drops: " + name, drive, verdict(name), "culvert_xdp_verdicts_total",
		`verdict="` + name + `"`, "packets dropped by XDP on gw0, " + name + ": "}
}
func refusedPacket(reason string, drive func()) term {
	return term{"packet rejected: " + reason, drive, rejectedPacket(reason),
		"culvert_frames_rejected_total", `reason="` + reason + `"`, "packets rejected, " + reason + ": "}
}
func refusedPoint(stage, reason, says string, drive func()) term {
	return term{"point rejected: " + reason, drive, rejectedPoint(stage + "/" + reason),
		"culvert_points_rejected_total", `reason="` + reason + `",stage="` + stage + `"`,
		says + ", " + reason + ": "}
}
func lostPoint(reason string, drive func()) term {
	return term{"point dropped: " + reason, drive, droppedPoint(reason), "culvert_points_dropped_total",
		`reason="` + reason + `"`, "points dropped, " + reason + ": "}
}

// driveTerms drives each term away from zero by itself, sees it in the status and the metrics, then all on
// the dashboard and as reasons, and that both balances close.
func driveTerms(t *testing.T, g *gateway, terms []term) {
	t.Helper()
	view := watchScreen(t, g)
	eventually(t, "the first picture", func() error {
		view.mutex.Lock()
		defer view.mutex.Unlock()
		if view.last.Status == nil {
			return fmt.Errorf("there is none")
		}
		return nil
	})
	for _, one := range terms {
		s, err := g.status()
		if err != nil || one.status(s) != 0 || g.metric(one.metric, one.labels) != 0 {
			t.Fatalf("%s: %d before it is driven, %v", one.name, one.status(s), err)
		}
		one.drive()
		eventually(t, one.name, func() error {
			s, err := g.status()
			if err != nil {
				return err
			}
			n, shown := one.status(s), g.metric(one.metric, one.labels)
			if n == 0 || shown == 0 {
				return fmt.Errorf("the status has %d, %s{%s} is %v: %+v, %+v", n, one.metric, one.labels,
					shown, s.Packets, s.Ledger)
			}
			return nil
		})
	}
	for _, one := range terms {
		eventually(t, one.name, func() error { return view.shows(one.status, one.reason) })
	}
	eventually(t, "the balances close", func() error {
		s, err := g.status()
		if err != nil {
			return err
		}
		if s.Ledger.Residue != 0 || s.Packets.ResidueRedirect != 0 || s.Packets.ResidueDecode != 0 ||
			s.Ledger.InFlight != 0 {
			return fmt.Errorf("%+v, %+v", s.Packets, s.Ledger)
		}
		return nil
	})
	for _, one := range terms {
		s, err := g.status()
		if err != nil {
			t.Fatal(err)
		}
		if n, shown := one.status(s), g.metric(one.metric, one.labels); float64(n) != shown {
			t.Errorf("%s: the status has %d, the metric %v", one.name, n, shown)
		}
	}
}

// moody is a database that refuses points of the measurements "conflict" and "forbidden".
func moody(t *testing.T, lab *testenv.Lab) (url string) {
	t.Helper()
	listener := listen(t, lab)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		switch {
		case err != nil:
			return
		case strings.Contains(string(body), "conflict"):
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"partial write: field type conflict dropped=1"}`)
		case strings.Contains(string(body), "forbidden"):
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error":"unable to parse this"}`)
		default:
			w.WriteHeader(http.StatusNoContent)
		}
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return "http://" + listener.Addr().String()
}

// Goal: every term of the balance from the card to the database that means a loss shows in the status, the
// metrics, on the dashboard and as a reason, and both balances close on all of them. Method: one table; each
// term is driven away from zero on its own. What only a broken driver could do, a frame without metadata or
// of another length than they say, is driven in package dataplane.
func TestPrivEachTermOfTheBalance(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	g := start(t, lab, "run", "-c", write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: %s, mode: native, stall_after: 10s}]
listeners:
  - {name: plant, port: %d, sources: [10.88.0.0/16, "%s/128"]}
tenants:
  - {name: rest}
  - {name: packets, sources: [10.88.1.1/32], limits: {packets_per_second: 1, burst: 1}}
  - {name: sender, sources: [10.88.1.2/32], limits: {source_packets_per_second: 1, burst: 1}}
  - {name: points, sources: [10.88.1.3/32], limits: {points_per_second: 1, burst: 1}}
  - {name: series, sources: [10.88.1.4/32], limits: {series: 1}}
workers: {frames: 256}
sinks: [{name: main, urls: [%s], database: telemetry, uint: int, ttl: 1h, batch: {bytes: 16KiB}}]
`, lab.GatewayInterface, port, lab.SenderIPv6, moody(t, lab))))
	g.ready()
	raw, conn := newRawSender(t, lab), udpSender(t, lab, lab.GatewayIPv4)
	send := func(text string) func() { return func() { fmt.Fprint(conn, text) } }
	frame := func(spoil func([]byte) []byte) func() {
		return func() { raw.send(spoil(raw.frame(lab.GatewayIPv4, []byte("m v=1")))) }
	}
	at := func(i int, with byte) func() {
		return frame(func(b []byte) []byte { b[i] ^= with; return b })
	}
	from := func(last2 [2]byte, texts ...string) func() {
		return func() {
			other := *lab
			other.SenderIPv4 = net.IPv4(10, 88, last2[0], last2[1])
			stranger := *raw
			stranger.lab = &other
			for _, text := range texts {
				stranger.send(stranger.frame(lab.GatewayIPv4, []byte(text)))
			}
		}
	}
	local := func() {
		if err := lab.Gateway.Do(func() error {
			to, err := net.Dial("udp", "127.0.0.1:"+strconv.Itoa(port))
			if err == nil {
				fmt.Fprint(to, "m v=1")
				err = to.Close()
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	stranger := *lab
	stranger.SenderIPv4 = net.IPv4(10, 99, 0, 1)
	foreign := *raw
	foreign.lab = &stranger
	const atSink = "points rejected at the sink"
	driveTerms(t, g, []term{
		steered("malformed", at(udpAt+4, 0x10)), // its length lies
		steered("source", func() { foreign.send(foreign.frame(lab.GatewayIPv4, []byte("m v=1"))) }),
		steered("tenant_limit", from([2]byte{1, 1}, "m v=1", "m v=1", "m v=1")),
		steered("source_limit", from([2]byte{1, 2}, "m v=1", "m v=1", "m v=1")),
		refusedPacket("checksum", at(payloadAt, 1)),
		refusedPacket("header_checksum", at(ipAt+8, 1)),
		refusedPacket("no_checksum", func() {
			b := raw.frame6(lab.GatewayIPv6, []byte("m v=1"), 17)
			copy(b[14+40+6:], []byte{0, 0})
			raw.send(b)
		}),
		refusedPacket("source", local),
		refusedPoint("decode", "bad_number", "lines rejected", send("m v=1x2")),
		refusedPoint("sink", "uint_range", atSink, send("m v=18446744073709551615u")),
		refusedPoint("sink", "partial_write", atSink, send("conflict v=1")),
		refusedPoint("sink", "refused", atSink, send("forbidden v=1")),
		lostPoint("points_limit", from([2]byte{1, 3}, "m v=1\nm v=2\nm v=3")),
		lostPoint("series_limit", from([2]byte{1, 4}, "m,a=1 v=1\nm,a=2 v=2")),
		lostPoint("ttl", send("m v=1 1000")),
		lostPoint("oversize", send("m s=\""+strings.Repeat("s", 20_000)+"\"")),
		{"packets find no room while the worker stands", func() {
			g.hold()
			for range 600 {
				raw.send(raw.frame(lab.GatewayIPv4, []byte("m v=1")))
			}
			g.release()
		}, func(s *telemetry.Status) uint64 { return sum(s.Packets.Drops) }, "culvert_xsk_drops_total", "",
			"packets lost on gw0, "},
	})
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}

// hold stops the whole process, and release lets it go on.
func (g *gateway) hold()    { g.command.Process.Signal(syscall.SIGSTOP) }
func (g *gateway) release() { g.command.Process.Signal(syscall.SIGCONT) }

// Goal and method as above, for what is lost where no database is: the retry budget is spent, a
// key gets too long, the spool is full; and at the kernel's own socket. It is no TestPriv…, since on an
// emulated machine other bounds may be reached first.
func TestEachTermWithoutADatabase(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	const nowhere = "http://127.0.0.1:9"
	run := func(sink, more string) *gateway {
		g := start(t, lab, "run", "-c", write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
			`interfaces: [{name: %s, mode: socket}]
listeners: [{name: plant, port: %d, tags: {place: %s}}]
sinks: [{name: main, urls: ["%s"], database: telemetry%s}]
%s`, lab.GatewayInterface, port, strings.Repeat("x", 200), nowhere, sink, more)))
		eventually(t, "it answers", func() error { _, err := g.status(); return err })
		return g
	}
	conn := udpSender(t, lab, lab.GatewayIPv4)
	send := func(n, length int) func() {
		return func() {
			text := "m s=\"" + strings.Repeat("x", length) + "\""
			for range n {
				fmt.Fprint(conn, text)
			}
		}
	}
	g := run(", retry: {attempts: 1, first: 10ms, max: 10ms}", "spool: {dir: \"\"}\n")
	driveTerms(t, g, []term{
		lostPoint("undelivered", send(1, 1)),
		refusedPoint("sink", "key_length", "points rejected at the sink", func() {
			fmt.Fprint(conn, strings.Repeat("k", 65_400)+" v=1")
		}),
		{"the kernel's socket is full", func() {
			g.hold()
			send(40_000, 1000)()
			g.release()
		}, func(s *telemetry.Status) uint64 { return s.Packets.KernelDrops },
			"culvert_listener_kernel_drops_total", "", "packets dropped by the kernel's socket of plant: "},
	})
	// Points that nobody can take are lost at the end, and the exit code says so.
	g.stop()

	dir := t.TempDir()
	spoolOnly := fmt.Sprintf("spool: {dir: %s, max: 2MiB, segment: 1MiB, compression: none}\n", dir)
	g = run(", retry: {attempts: 1, first: 10ms, max: 10ms}, batch: {bytes: 16KiB}", spoolOnly)
	driveTerms(t, g, []term{lostPoint("spool_full", func() {
		// At a pace that the spool takes: faster, and batches are lacking first.
		for range 150 {
			send(20, 1000)()
			time.Sleep(10 * time.Millisecond)
		}
	})})
	g.stop()
}
