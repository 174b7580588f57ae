package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"culvert/controlplane/fakesink"
	"culvert/controlplane/loadgen"
	"culvert/controlplane/telemetry"
	"culvert/scripts/testenv"
)

// checkingSink is a sink that decodes every line, in the gateway's namespace.
func checkingSink(t *testing.T, lab *testenv.Lab, config fakesink.Config) (url string, sink *fakesink.Sink) {
	t.Helper()
	sink, err := fakesink.New(config)
	if err != nil {
		t.Fatal(err)
	}
	listener := listen(t, lab)
	server := &http.Server{Handler: sink}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return "http://" + listener.Addr().String(), sink
}

// load sends from the sender's namespace and returns what was sent.
func load(t *testing.T, lab *testenv.Lab, config loadgen.Config) loadgen.Report {
	t.Helper()
	gateway, _ := netip.AddrFromSlice(lab.GatewayIPv4.To4())
	config.To = []netip.AddrPort{netip.AddrPortFrom(gateway, port)}
	var report loadgen.Report
	err := <-lab.Sender.Go(func() (err error) {
		report, err = loadgen.Run(context.Background(), config)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(report)
	return report
}

// accounted waits until nothing is on its way any more and checks that every packet that was sent is counted
// under one heading on its way to the sink.
func accounted(t *testing.T, lab *testenv.Lab, g *gateway, sent loadgen.Report) *telemetry.Status {
	t.Helper()
	var s *telemetry.Status
	eventually(t, "every packet is accounted for", func() (err error) {
		if s, err = g.status(); err != nil {
			return err
		}
		p, perPacket := s.Packets, sent.Points/sent.Packets
		lost := lab.WireDrops(t) + sum(p.Drops) + p.KernelDrops
		switch {
		case p.Received+lost != sent.Packets:
			return fmt.Errorf("%d packets sent, %d received, %d dropped by the veth: %+v", sent.Packets,
				p.Received, lab.WireDrops(t), p)
		case p.ResidueRedirect != 0 || p.ResidueDecode != 0 || len(p.Rejected) != 0:
			return fmt.Errorf("the packet balance does not close: %+v", p)
		case s.Ledger.Received != p.Received*perPacket || s.Ledger.InFlight != 0 || s.Ledger.Residue != 0:
			return fmt.Errorf("%d packets of %d points received: %+v", p.Received, perPacket, s.Ledger)
		}
		return nil
	})
	return s
}

func sum(counts map[string]uint64) (total uint64) {
	for _, n := range counts {
		total += n
	}
	return total
}

// Goal: at every pace each point that was sent is in the sink, or counted as dropped by name. Method: the
// load generator from the other namespace against a sink that decodes each line.
func TestPrivLoadIsAccountedFor(t *testing.T) {
	need(t)
	f := func(name string, lossless bool, config loadgen.Config) {
		t.Run(name, func(t *testing.T) {
			lab := testenv.NewLab(t, 2)
			url, sink := checkingSink(t, lab, fakesink.Config{})
			path := write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
				`interfaces: [{name: %s, mode: native, stall_after: 10s}]
listeners: [{name: plant, port: %d}]
sinks: [{name: main, urls: [%s], database: telemetry}]
`, lab.GatewayInterface, port, url))
			g := start(t, lab, "run", "-c", path)
			g.ready()
			sent := load(t, lab, config)
			s := accounted(t, lab, g, sent)
			if s.Ledger.Written+sum(s.Ledger.Dropped) != s.Ledger.Received || len(s.Ledger.Rejected) > 0 {
				t.Fatalf("%+v", s.Ledger)
			}
			if lossless && s.Ledger.Written != sent.Points {
				t.Fatalf("%d points sent, %d written: %+v, %+v", sent.Points, s.Ledger.Written, s.Ledger,
					s.Packets)
			}
			if got := sink.Stats(); got.Points != s.Ledger.Written || got.Rejected != 0 || got.Refused != 0 {
				t.Fatalf("the sink has %+v, the ledger %+v", got, s.Ledger)
			}
			if code := g.stop(); code != 0 {
				t.Fatalf("exit code %d", code)
			}
		})
	}
	f("200000 a second", false, loadgen.Config{Rate: 200_000, PointsPerPacket: 10,
		Duration: testenv.Sized(3*time.Second, time.Second)})
	f("one a second", true, loadgen.Config{Rate: 1, Duration: 3 * time.Second})
	f("5000 at once", false, loadgen.Config{Count: 5000})
}

// Goal: the means of the stages from the card to the acknowledgement add up to the mean of the whole, so that
// no time is unaccounted for. Method: a load of packets of one length at 100 k points/s.
func TestPrivStagesAddUp(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	url, _ := checkingSink(t, lab, fakesink.Config{})
	g := start(t, lab, "run", "-c", configure(t, lab, url, ", stall_after: 10s"))
	g.ready()
	sent := load(t, lab, loadgen.Config{Rate: 100_000, Count: 50_000, PointsPerPacket: 10})
	var s *telemetry.Status
	eventually(t, "all that came is written", func() (err error) {
		if s, err = g.status(); err == nil && (s.Ledger.InFlight != 0 || s.Ledger.Written == 0 ||
			s.Packets.Received+sum(s.Packets.Drops)+lab.WireDrops(t) != sent.Packets) {
			err = fmt.Errorf("%+v, %+v", s.Packets, s.Ledger)
		}
		return err
	})
	if s.Packets.Kernel != 0 {
		t.Fatalf("%d packets took the kernel's way, which has no stamp", s.Packets.Kernel)
	}
	means := 0.0
	for _, stage := range []string{"steer_to_worker", "batch_wait", "write"} {
		l := s.Latency[stage]
		t.Logf("%-16s mean %9.6f P50 %9.6f P99 %9.6f s", stage, l.Mean, l.P50, l.P99)
		means += l.Mean
	}
	whole := s.Latency["end_to_end"]
	if whole.Count != s.Ledger.Written || means < 0.98*whole.Mean || means > 1.02*whole.Mean {
		t.Errorf("the means add up to %.6f s, the whole is %.6f s for %d points of %d", means, whole.Mean,
			whole.Count, s.Ledger.Written)
	}
	t.Logf("%-16s mean %9.6f P50 %9.6f P99 %9.6f s; %.3f %% of it are accounted for", "end_to_end",
		whole.Mean, whole.P50, whole.P99, 100*means/whole.Mean)
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}
