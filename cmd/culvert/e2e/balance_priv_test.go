package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"culvert/bpf/abi"
	"culvert/controlplane/telemetry"
	"culvert/dataplane"
	"culvert/dataplane/lineproto"
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

// shows looks for a term in the last picture, and for its reason, if it has one, in all.
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
	if reason == "" {
		return nil
	}
	return fmt.Errorf("no reason says %q: %q", reason, s.last.Health.Reasons)
}

// metric is the sum of all series of a metric whose labels contain a text.
func (g *gateway) metric(name, labels string) float64 {
	g.t.Helper()
	return metricOf(g.figures(), name, labels)
}

// metricOf is the same of figures that were asked for before: the whole text is read for each time.
func metricOf(figures map[string]float64, name, labels string) (sum float64) {
	for series, value := range figures {
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

// counts is what a status and the metrics of the same moment have of it.
func (one *term) counts(s *telemetry.Status, figures map[string]float64) (n uint64, shown float64) {
	return one.status(s), metricOf(figures, one.metric, one.labels)
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
func lostBefore(reason string) func(*telemetry.Status) uint64 {
	return func(s *telemetry.Status) uint64 { return s.Packets.Drops[reason] }
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
func lostPacket(reason string, drive func()) term {
	return term{"packet lost: " + reason, drive, lostBefore(reason), "culvert_xsk_drops_total",
		`reason="` + reason + `"`, "packets lost on gw0, " + reason + ": "}
}

// moved makes a term that is no loss, and so has no reason.
func moved(what, metric string, status func(*telemetry.Status) uint64, drive func()) term {
	return term{"points " + what, drive, status, metric, "", ""}
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
	// What the terms before a term have moved is in the look that found the last of them.
	s, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	figures := g.figures()
	for _, one := range terms {
		if n, shown := one.counts(s, figures); n != 0 || shown != 0 {
			t.Fatalf("%s: %d, %v in the metrics, before it is driven", one.name, n, shown)
		}
		one.drive()
		eventually(t, one.name, func() error {
			if s, err = g.status(); err != nil {
				return err
			}
			figures = g.figures()
			n, shown := one.counts(s, figures)
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
	if s, err = g.status(); err != nil {
		t.Fatal(err)
	}
	figures = g.figures()
	for _, one := range terms {
		if n, shown := one.counts(s, figures); float64(n) != shown {
			t.Errorf("%s: the status has %d, the metrics %v", one.name, n, shown)
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

// decodeTerms are lines that the decoder refuses, by its reasons.
func decodeTerms(send func(text string) func()) (terms []term) {
	var tags strings.Builder
	for i := range lineproto.TagsMax + 1 {
		fmt.Fprintf(&tags, ",t%d=x", i)
	}
	for reason, line := range map[lineproto.Reason]string{
		lineproto.MissingMeasurement: ",host=a v=1", lineproto.MissingTagKey: "m, v=1",
		lineproto.MissingTagValue: "m,host= v=1", lineproto.BadTag: "m,host=a=b v=1",
		lineproto.DuplicateTag: "m,host=a,host=b v=1", lineproto.TooManyTags: "m" + tags.String() + " v=1",
		lineproto.MissingFields: "m,host=a", lineproto.MissingFieldKey: "m v=1,",
		lineproto.MissingFieldValue: "m v= 5", lineproto.BadValue: "m v=abc", lineproto.BadNumber: "m v=1x2",
		lineproto.BadBool: "m v=tRUE", lineproto.IntegerRange: "m v=9223372036854775808i",
		lineproto.FloatRange: "m v=1e400", lineproto.UnterminatedString: `m v="abc`,
		lineproto.NoFieldsLeft: "m v=NaN", lineproto.BadTimestamp: "m v=1 1.5e9",
		lineproto.TimestampRange: "m v=1 9223372036854775807", lineproto.UnexpectedText: `m v="a"b`,
		lineproto.ControlCharacter: "m\x01 v=1", lineproto.TrailingBackslash: `m,dir=C:\\ v=1`,
		lineproto.InvalidUTF8: "m\xff v=1",
	} {
		terms = append(terms, refusedPoint("decode", reason.String(), "lines rejected", send(line)))
	}
	return terms
}

// elsewhere are the terms that the table of TestPrivEachTermOfTheBalance lacks, and where each is driven.
func elsewhere() map[string]string {
	const broken = "only a broken driver does it: package dataplane"
	const long = "no datagram is so long: package lineproto"
	return map[string]string{
		"packet rejected: no_metadata":    broken,
		"packet rejected: length":         broken,
		"packet lost: ring_full":          "the ring has room for all frames there are: package xsk",
		"packet lost: no_room":            "TestPrivTermsOfLongPackets",
		"point rejected: string_too_long": long,
		"point rejected: too_many_fields": long,
		"point rejected: key_too_long":    long,
		"point rejected: key_length":      "TestEachTermWithoutADatabase",
		"point dropped: undelivered":      "TestEachTermWithoutADatabase",
		"point dropped: overload":         "TestEachTermWithoutADatabase",
		"point dropped: spool_full":       "TestEachTermWithoutADatabase",
		"point dropped: corrupt":          "TestPrivTermsOfTheSpool",
	}
}

// allTerms are the losses that the two balances know.
func allTerms() (names []string) {
	for v := range abi.Verdicts {
		if v.Dropped() {
			names = append(names, "XDP drops: "+v.String())
		}
	}
	for _, reason := range []string{"ring_full", "fill_ring_empty", "no_room"} {
		names = append(names, "packet lost: "+reason)
	}
	for r := range dataplane.FrameRejects {
		names = append(names, "packet rejected: "+r.String())
	}
	for r := range lineproto.Reasons {
		names = append(names, "point rejected: "+r.String())
	}
	for r := range dataplane.SinkRejects {
		names = append(names, "point rejected: "+r.String())
	}
	for d := range dataplane.Drops {
		names = append(names, "point dropped: "+d.String())
	}
	return names
}

// Goal: every term of the balance from the card to the database shows in the status, the metrics and on the
// dashboard, as a reason if it means a loss, and both balances close on all of them. Method: one table; each
// term is driven away from zero on its own, and a term that neither it nor elsewhere has fails the test.
func TestPrivEachTermOfTheBalance(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	dir := t.TempDir()
	write(t, dir, "rules.yaml", `groups:
  - name: terms
    rules:
      - drop: {on: debug}
      - {record: mean, on: recorded, every: 100ms, fields: {v: "avg(v[100ms])"}}
`)
	g := start(t, lab, "run", "-c", write(t, dir, "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: %s, mode: native, stall_after: 10s}]
listeners:
  - {name: plant, port: %d, sources: [10.88.0.0/16, "%s/128", 127.1.0.0/16, "::1/128"]}
  - {name: narrow, port: %d, address: [%s]}
tenants:
  - {name: rest}
  - {name: packets, sources: [10.88.1.1/32], limits: {packets_per_second: 1, burst: 1}}
  - {name: sender, sources: [10.88.1.2/32], limits: {source_packets_per_second: 1, burst: 1}}
  - {name: points, sources: [10.88.1.3/32], limits: {points_per_second: 1, burst: 1}}
  - {name: series, sources: [10.88.1.4/32], limits: {series: 1}}
  - {name: inside, sources: [127.1.0.1/32], limits: {packets_per_second: 1, burst: 1}}
  - {name: insider, sources: [127.1.0.2/32], limits: {source_packets_per_second: 1, burst: 1}}
workers: {frames: 256}
rules: {files: [rules.yaml]}
sinks: [{name: main, urls: [%s], database: telemetry, uint: int, ttl: 1h, batch: {bytes: 16KiB}}]
`, lab.GatewayInterface, port, lab.SenderIPv6, port+1, lab.GatewayIPv4, moody(t, lab))))
	g.ready()
	raw, conn := newRawSender(t, lab), udpSender(t, lab, lab.GatewayIPv4)
	send := func(text string) func() { return func() { fmt.Fprint(conn, text) } }
	frame := func(spoil func([]byte) []byte) func() {
		return func() { raw.send(spoil(raw.frame(lab.GatewayIPv4, []byte("m v=1")))) }
	}
	at := func(i int, with byte) func() {
		return frame(func(b []byte) []byte { b[i] ^= with; return b })
	}
	as := func(source net.IP, texts ...string) func() {
		return func() {
			other := *lab
			other.SenderIPv4 = source
			stranger := *raw
			stranger.lab = &other
			for _, text := range texts {
				stranger.send(stranger.frame(lab.GatewayIPv4, []byte(text)))
			}
		}
	}
	from := func(last2 [2]byte, texts ...string) func() {
		return as(net.IPv4(10, 88, last2[0], last2[1]), texts...)
	}
	// local sends so often on the gateway's own host.
	local := func(source string, times int) func() {
		return func() { sendLocally(t, lab, source, times) }
	}
	const atSink = "points rejected at the sink"
	terms := []term{
		steered("malformed", at(udpAt+4, 0x10)), // its length lies
		steered("source", as(net.IPv4(10, 99, 0, 1), "m v=1")),
		steered("tenant_limit", from([2]byte{1, 1}, "m v=1", "m v=1", "m v=1")),
		steered("source_limit", from([2]byte{1, 2}, "m v=1", "m v=1", "m v=1")),
		refusedPacket("checksum", at(payloadAt, 1)),
		refusedPacket("header_checksum", at(ipAt+8, 1)),
		refusedPacket("no_checksum", func() {
			b := raw.frame6(lab.GatewayIPv6, []byte("m v=1"), 17)
			copy(b[14+40+6:], []byte{0, 0})
			raw.send(b)
		}),
		refusedPacket("source", local("127.0.0.1", 1)),
		refusedPacket("destination", func() {
			fmt.Fprint(udpSenderTo(t, lab, lab.GatewayIPv6, port+1), "m v=1")
		}),
		refusedPacket("tenant_limit", local("127.1.0.1", 3)),
		refusedPacket("source_limit", local("127.1.0.2", 3)),
		refusedPacket("truncated", func() { sendJumbogram(t, lab) }),
		refusedPoint("sink", "uint_range", atSink, send("m v=18446744073709551615u")),
		refusedPoint("sink", "partial_write", atSink, send("conflict v=1")),
		refusedPoint("sink", "refused", atSink, send("forbidden v=1")),
		lostPoint("points_limit", from([2]byte{1, 3}, "m v=1\nm v=2\nm v=3")),
		lostPoint("series_limit", from([2]byte{1, 4}, "m,a=1 v=1\nm,a=2 v=2")),
		lostPoint("ttl", send("m v=1 1000")),
		lostPoint("oversize", send("m s=\""+strings.Repeat("s", 20_000)+"\"")),
		moved("filtered", "culvert_points_filtered_total",
			func(s *telemetry.Status) uint64 { return s.Ledger.Filtered }, send("debug v=1")),
		moved("derived", "culvert_points_derived_total",
			func(s *telemetry.Status) uint64 { return s.Ledger.Derived }, send("recorded v=1")),
		lostPacket("fill_ring_empty", func() {
			g.hold()
			for range 600 {
				raw.send(raw.frame(lab.GatewayIPv4, []byte("m v=1")))
			}
			g.release()
		}),
	}
	terms = append(decodeTerms(send), terms...)
	before := g.figures()
	eventually(t, "probes", func() error {
		before = g.figures()
		if before[`culvert_probe_up{probe="packet_drops"}`] != 1 {
			return fmt.Errorf("they are not on")
		}
		return nil
	})
	driveTerms(t, g, terms)
	for series := range g.figures() {
		if _, there := before[series]; !there && strings.Contains(series, "_total") {
			t.Errorf("%s was not there from the start: its first increase is lost on who watches it", series)
		}
	}
	known := elsewhere()
	for _, one := range terms {
		known[one.name] = "here"
	}
	for _, name := range allTerms() {
		if known[name] == "" {
			t.Errorf("nothing drives the term %q", name)
		}
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}

// hold stops the whole process, and release lets it go on. A stop takes until each thread has seen it.
func (g *gateway) hold() {
	g.t.Helper()
	g.command.Process.Signal(syscall.SIGSTOP)
	eventually(g.t, "all threads have stopped", func() error {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", g.command.Process.Pid))
		if err != nil {
			return err
		}
		for _, thread := range threads {
			// Its state is the word behind its name, which ends with the last bracket (proc_pid_stat(5)).
			text, err := os.ReadFile(thread)
			_, fields, _ := strings.Cut(string(text), ") ")
			if err != nil || !strings.HasPrefix(fields, "T") {
				return fmt.Errorf("%s: %q, %v", thread, fields, err)
			}
		}
		return nil
	})
}

func (g *gateway) release() { g.command.Process.Signal(syscall.SIGCONT) }
