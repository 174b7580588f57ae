package e2e

import (
	"fmt"
	"maps"
	"strings"
	"syscall"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// Goal: a gateway that has joined libxdp's programs reloads by SIGHUP as any other: its rules are others,
// each packet comes by the ring meanwhile, and the dispatcher and the program beside are the ones they were.
// The port of a listener and a limit wait for a restart, as the log says, and with that they are the new ones
// at the same place in the row. Method: Debian's xdp-loader, the service's user; where the kernel has no
// freplace there is nothing to join, as TestPrivJoinsLibxdp checks.
func TestPrivReloadsJoined(t *testing.T) {
	need(t)
	object := libxdpObject(t, "xdpfilt_alw_udp.o")
	lab := testenv.NewLab(t, 1)
	privatePins(t, lab)
	iface := lab.GatewayInterface
	shell(t, lab, "xdp-loader load "+iface+" "+object)
	name, _ := programOn(t, lab)
	if name != "xdp_dispatcher" {
		t.Logf("not run: libxdp attached %q without a dispatcher", name)
		return
	}
	servicePins(t, lab)
	sink := newRecorder(t, lab)
	dir := publicDir(t)
	configure := func(port, limit int, dropped string) string {
		write(t, dir, "rules.yaml", fmt.Sprintf("groups: [{name: g, rules: [{drop: {on: %s}}]}]\n", dropped))
		return write(t, dir, "culvert.yaml", fmt.Sprintf(`interfaces: [{name: %s}]
listeners: [{name: plant, port: %d}]
tenants: [{name: all, limits: {packets_per_second: %d}}]
rules: {files: [rules.yaml]}
workers: {frames: 1024}
sinks: [{name: main, urls: [%s], database: telemetry}]
`, iface, port, limit, sink.url))
	}
	config := configure(port, 1_000_000, "unused")
	shell(t, lab, culvert+" attach -i "+iface)
	row := []string{"xdpfilt_alw_udp", "culvert_joint"}
	ids := runs(t, lab, "joined", row...)
	_, dispatcher := programOn(t, lab)
	unchanged := func(when string) {
		t.Helper()
		if now := runs(t, lab, when, row...); !maps.Equal(now, ids) {
			t.Errorf("%s: the programs are %v, they were %v", when, now, ids)
		}
		if _, now := programOn(t, lab); now != dispatcher {
			t.Errorf("%s: the dispatcher is %d, it was %d", when, now, dispatcher)
		}
	}
	run := func() *gateway {
		t.Helper()
		g := startCommand(t, lab, nobodyWith(serviceCapabilities(), "run", "-c", config))
		g.ready()
		return g
	}

	g := run()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	stop, count := make(chan struct{}), make(chan uint64)
	go func() {
		for n := uint64(1); ; n++ {
			fmt.Fprintf(conn, "m v=%d %d", n, n)
			select {
			case <-stop:
				count <- n
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	received := func(more uint64) {
		t.Helper()
		var before uint64
		eventually(t, "packets go on", func() error {
			s, err := g.status()
			if err == nil && before == 0 {
				before = max(s.Ledger.Received, 1)
			}
			if err == nil && s.Ledger.Received < before+more {
				err = fmt.Errorf("%d points of %d", s.Ledger.Received, before+more)
			}
			return err
		})
	}
	received(20)
	configure(port+1, 900_000, "debug")
	g.command.Process.Signal(syscall.SIGHUP)
	eventually(t, "reloaded", func() error {
		said := g.output.String()
		for _, want := range []string{`"reloaded"`, "listeners[0].port", "limits.packets_per_second"} {
			if !strings.Contains(said, want) {
				return fmt.Errorf("the log has no %s", want)
			}
		}
		return nil
	})
	received(20)
	close(stop)
	sent := <-count
	s := g.settled(sent)
	// While a worker without a CPU shows no life, its packets come by the kernel's socket.
	if s.Packets.Received != sent || s.Packets.Redirected == 0 || s.Ledger.Written != sent {
		t.Fatalf("%d points sent: %+v, %+v", sent, s.Packets, s.Ledger)
	}
	fmt.Fprint(conn, "debug v=1")
	if s = g.settled(sent + 1); s.Packets.Received != sent+1 || s.Ledger.Written != sent {
		t.Fatalf("the new rule drops nothing: %+v, %+v", s.Packets, s.Ledger)
	}
	unchanged("after the reload")
	if code := g.stop(); code != 0 {
		t.Fatalf("run: exit code %d", code)
	}

	passes(t, lab, "between two gateways")
	g = run()
	arrives(t, g, udpSenderTo(t, lab, lab.GatewayIPv4, port+1), 1, "by the new port")
	passes(t, lab, "by the old port")
	unchanged("after the restart")
	if code := g.stop(); code != 0 {
		t.Fatalf("run: exit code %d", code)
	}
	if code, said := once(t, lab, "detach", "-i", iface); code != 0 {
		t.Fatalf("detach: exit code %d, %q", code, said)
	}
	runs(t, lab, "left", row[0])
}
