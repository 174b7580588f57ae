package e2e

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"culvert/controlplane/fakesink"
	"culvert/controlplane/loadgen"
	"culvert/scripts/testenv"
)

// letters writes a number with letters, so that ten thousand names have three bytes each.
func letters(n int) string {
	return string([]byte{'a' + byte(n/676), 'a' + byte(n/26%26), 'a' + byte(n%26)})
}

// resident is the memory of the gateway's process, in MiB.
func (g *gateway) resident() int {
	g.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.command.Process.Pid))
	if err != nil {
		g.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	kib, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		g.t.Fatal(err)
	}
	return kib >> 10
}

// swallower is a webhook that takes everything and keeps nothing.
func swallower(t *testing.T, lab *testenv.Lab) (url string) {
	t.Helper()
	listener := listen(t, lab)
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, request *http.Request) {
		io.Copy(io.Discard, request.Body)
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return "http://" + listener.Addr().String()
}

// Goal: what a hostile sender can say costs bounded memory, is counted, and ends nothing. Method: a rule of a
// thousand terms meets a point of ten thousand fields and a key of 60 KiB; then as many keys come as the load
// generator makes in some seconds (CULVERT_KEYS asks for more), each with cause for an alert and a window.
func TestPrivHostileSenders(t *testing.T) {
	need(t)
	keys := testenv.Sized(50_000, 10_000)
	if text := os.Getenv("CULVERT_KEYS"); text != "" {
		var err error
		if keys, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	lab := testenv.NewLab(t, 2)
	url, sink := checkingSink(t, lab, fakesink.Config{})
	hook, came := webhook(t, lab)
	dir := t.TempDir()
	var terms, fields []string
	for i := range 10_000 {
		fields = append(fields, letters(i)+"=1")
		if i%10 == 0 {
			terms = append(terms, letters(i)+" > 0")
		}
	}
	const keysMax = 1000
	write(t, dir, "rules.yaml", fmt.Sprintf(`groups:
  - name: hostile
    rules:
      - {alert: Terms, on: wide, expr: "%s", by: [machine], actions: [ops]}
      - {alert: Hot, on: plant, expr: temperature > 0, by: [sensor], actions: [plenty]}
      - {alert: Window, on: plant, expr: "quantile(0.9, temperature[10s]) > 1000", by: [sensor]}
      - {alert: Silent, on: plant, absent: 1h, by: [sensor]}
`, strings.Join(terms, " && ")))
	path := write(t, dir, "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: gw0, mode: native, stall_after: 10s}]
listeners: [{name: plant, port: %d}]
rules: {files: [rules.yaml], max_keys: %d}
notifiers: [{name: ops, type: webhook, url: "%s"}, {name: plenty, type: webhook, url: "%s", limit: 0}]
sinks: [{name: main, urls: [%s], database: telemetry}]
`, port, keysMax, hook, swallower(t, lab), url))
	g := start(t, lab, "run", "-c", path)
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	fmt.Fprint(conn, "wide,machine=a "+strings.Join(fields, ","))
	select {
	case n := <-came:
		if n.Labels["alertname"] != "Terms" || n.Status != "firing" {
			t.Fatalf("told %+v", n)
		}
	case <-time.After(waitLimit):
		t.Fatal("a rule of a thousand terms does not fire")
	}
	fmt.Fprintf(conn, "wide,machine=%s %s", strings.Repeat("x", 55_000), strings.Join(fields[:1000], ","))
	fmt.Fprintf(conn, "plant,sensor=%s temperature=1", strings.Repeat("y", 60_000))
	g.settled(3)

	before := g.resident()
	sent := load(t, lab, loadgen.Config{Rate: 100_000, Count: uint64(keys), PointsPerPacket: 10,
		Series: keys})
	var packets uint64
	eventually(t, "all points are accounted for", func() error {
		s, err := g.status()
		if err != nil {
			return err
		}
		packets = s.Packets.Received
		lost := lab.WireDrops(t) + sum(s.Packets.Drops) + s.Packets.KernelDrops
		if l := s.Ledger; packets+lost != sent.Packets+3 || l.InFlight != 0 || l.Residue != 0 ||
			l.Written+sum(l.Dropped) != l.Received {
			return fmt.Errorf("%d packets sent: %+v, %+v", sent.Packets, s.Packets, s.Ledger)
		}
		return nil
	})
	after := g.resident()
	_, metrics, err := g.get("/metrics")
	if err != nil {
		t.Fatal(err)
	}
	value := func(series string) int {
		t.Helper()
		_, rest, found := strings.Cut(metrics, "\nculvert_"+series+" ")
		text, _, _ := strings.Cut(rest, "\n")
		number, err := strconv.ParseFloat(text, 64)
		if !found || err != nil {
			t.Fatalf("%s is %q in\n%s", series, text, metrics)
		}
		return int(number)
	}
	points := int(packets-3)*10 - 2*keysMax
	evicted, kept := value(`rule_evicted_total{rule="Window"}`), value(`rule_keys{group="hostile"}`)
	if evicted < points-value(`rule_missed_total{group="hostile"}`) || kept > keysMax+1 || kept == 0 {
		t.Errorf("%d keys are kept and %d were let go, of %d", kept, evicted, points)
	}
	if firing := value(`alerts_firing{rule="Hot"}`); firing > keysMax+1 || firing == 0 {
		t.Errorf("%d alerts are firing", firing)
	}
	for _, rule := range []string{"Hot", "Window"} {
		if n := value(`rule_too_long_total{rule="` + rule + `"}`); n == 0 {
			t.Errorf("the key of 60 KiB is not counted for %s", rule)
		}
	}
	// Most of it is the notifier's, which keeps track of 100 000 alerts.
	if after > before+500 {
		t.Errorf("%d keys take %d MiB", keys, after-before)
	}
	t.Logf("%d keys: %d MiB before, %d after; %d evicted, %d in the sink", keys, before, after, evicted,
		sink.Stats().Points)
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}
