package e2e

import (
	"fmt"
	"testing"

	"culvert/controlplane/fakesink"
	"culvert/controlplane/loadgen"
	"culvert/scripts/testenv"
)

// Goal: the frames that the load generator makes itself pass the gateway's strictest check of sums, and by
// the sequence numbers the sink finds per flow exactly what was sent. Method: each way, counted and decoded,
// at a rate that loses nothing.
func TestPrivLoadWays(t *testing.T) {
	need(t)
	for _, c := range []struct {
		via, checksum string
		countOnly     bool
	}{
		{loadgen.ViaXDP, "verify", false}, {loadgen.ViaLive, "verify", false},
		{loadgen.ViaLive, "verify", true}, {loadgen.ViaSocket, "auto", true},
	} {
		t.Run(fmt.Sprintf("%s/count=%v", c.via, c.countOnly), func(t *testing.T) {
			lab := testenv.NewLab(t, 2)
			url, sink := checkingSink(t, lab, fakesink.Config{CountOnly: c.countOnly, Sequence: true})
			path := write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
				`interfaces: [{name: %s, mode: native, checksum: %s, stall_after: 10s}]
listeners: [{name: plant, port: %d}]
sinks: [{name: main, urls: [%s], database: telemetry}]
`, lab.GatewayInterface, c.checksum, port, url))
			g := start(t, lab, "run", "-c", path)
			g.ready()
			sent := load(t, lab, loadgen.Config{
				Via: c.via, Interface: lab.SenderInterface, Rate: 50_000, PointsPerPacket: 7,
				Count: testenv.Sized[uint64](28_000, 7000), Sequence: true, Flows: 4,
			})
			s := accounted(t, lab, g, sent)
			if s.Ledger.Written != sent.Points {
				t.Fatalf("%d points sent, %d written: %+v, %+v", sent.Points, s.Ledger.Written, s.Ledger,
					s.Packets)
			}
			got := sink.Stats().Sequences
			if got.Unnumbered != 0 || got.Duplicates != 0 || got.Missing != 0 || len(got.Flows) != 4 {
				t.Fatalf("%+v", got)
			}
			for flow, points := range sent.FlowPoints {
				if got.Flows[flow].Seen != points {
					t.Fatalf("flow %d: %d sent, %+v", flow, points, got.Flows[flow])
				}
			}
			if code := g.stop(); code != 0 {
				t.Fatalf("exit code %d", code)
			}
		})
	}
}
