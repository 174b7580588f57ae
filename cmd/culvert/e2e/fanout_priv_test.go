package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"culvert/scripts/testenv"
)

// Goal: with more CPUs than queues, `queues_fanout: flow` gives one queue several workers on CPUs of their
// own, as `check` says beforehand, and many senders reach all of them; the metrics show one queue. Where
// there is no such CPU, check and status say so, and all works as without. Method: 60 senders on one queue.
func TestPrivQueueFansOut(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	privatePins(t, lab)
	sink := newRecorder(t, lab)
	config := write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(`interfaces:
  - {name: %s, mode: native, queues_fanout: flow}
listeners: [{name: plant, port: %d}]
workers: {frames: 1024}
sinks: [{name: main, urls: [%s], database: telemetry}]
`, lab.GatewayInterface, port, sink.url))
	code, planned := once(t, lab, "check", "-c", config)
	if code != 0 {
		t.Fatalf("exit code %d, %q", code, planned)
	}
	g := start(t, lab, "run", "-c", config)
	g.ready()
	var lines []string
	for n := range 60 {
		line := fmt.Sprintf("m,n=%d v=%d %d", n, n, n+1)
		lines = append(lines, line)
		if _, err := fmt.Fprint(udpSender(t, lab, lab.GatewayIPv4), line); err != nil {
			t.Fatal(err)
		}
	}
	s := g.settled(60)
	got := sink.all()
	slices.Sort(got)
	slices.Sort(lines)
	if !slices.Equal(got, lines) || s.Packets.Redirected != 60 || s.Packets.ResidueRedirect != 0 {
		t.Fatalf("the sink has %d lines, want %d: %+v", len(got), len(lines), s.Packets)
	}
	in := interfaceOf(t, s, lab.GatewayInterface)
	const none = "queues_fanout changes nothing"
	if strings.Contains(planned, none) {
		said := strings.Contains(strings.Join(s.Deviations, "\n"), none)
		if in.Fanout != "none" || len(in.Queues) != 1 || !said {
			t.Fatalf("%+v, %q", in, s.Deviations)
		}
		return
	}
	workers := map[string]bool{}
	for i, q := range in.Queues {
		workers[q.Worker] = true
		if q.Received == 0 || q.Queue != 0 || q.Socket != i || q.CPU < 0 ||
			!strings.Contains(planned, fmt.Sprintf("0 socket %d, by flow", i)) {
			t.Fatalf("socket %d: %+v, planned %q", i, q, planned)
		}
	}
	if in.Fanout != "flow" || len(workers) < 2 || len(workers) != len(in.Queues) {
		t.Fatalf("%+v", in)
	}
	_, metrics, err := g.get("/metrics")
	const family = "\nculvert_frames_received_total{"
	if want := fmt.Sprintf(`%sinterface=%q,queue="0"} 60`, family, lab.GatewayInterface); err != nil ||
		!strings.Contains(metrics, want) {
		t.Fatalf("%v: no %q", err, want)
	}
	if code := g.stop(); code != 0 || xdpOf(t, lab) {
		t.Fatalf("exit code %d, a program is still attached: %t", code, xdpOf(t, lab))
	}
}
