package e2e

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"culvert/bpf"
	"culvert/scripts/testenv"
)

// figures asks for the metrics: values by name and labels as the text format writes them.
func (g *gateway) figures() map[string]float64 {
	g.t.Helper()
	code, text, err := g.get("/metrics")
	if err != nil || code != 200 {
		g.t.Fatalf("metrics: %d, %v\n%s", code, err, text)
	}
	all := map[string]float64{}
	for line := range strings.SplitSeq(text, "\n") {
		name, value, ok := strings.Cut(line, "} ")
		name += "}"
		if !ok {
			name, value, ok = strings.Cut(line, " ")
		}
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		if all[name], err = strconv.ParseFloat(value, 64); err != nil {
			g.t.Fatalf("metric %q: %v", line, err)
		}
	}
	return all
}

// Goal: on a running gateway every probe measures what it is for. Method: points through the lab and packets
// that nobody listens to, then the metrics.
func TestPrivProbesOfAGateway(t *testing.T) {
	need(t)
	testenv.Need(t, unix.CAP_PERFMON)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	// One connection for each request, since the first may be older than the probes.
	sink.refuse = func(w http.ResponseWriter) bool {
		w.Header().Set("Connection", "close")
		return false
	}
	g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ""))
	g.ready()
	eventually(t, "all probes are on", func() error {
		got := g.figures()
		for _, name := range bpf.ProbeNames() {
			if got[fmt.Sprintf("culvert_probe_up{probe=%q}", name)] != 1 {
				return fmt.Errorf("%s is off", name)
			}
		}
		return nil
	})
	conn := udpSender(t, lab, lab.GatewayIPv4)
	const points = 200
	for n := range points {
		if _, err := fmt.Fprintf(conn, "motor v=%d", n); err != nil {
			t.Fatal(err)
		}
	}
	g.settled(points)
	var nobody net.Conn
	err := lab.Sender.Do(func() (err error) {
		nobody, err = net.Dial("udp", net.JoinHostPort(lab.GatewayIPv4.String(), "9"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	// The second one may be told that the port is closed.
	nobody.Write([]byte("x"))
	in := fmt.Sprintf("{interface=%q", lab.GatewayInterface)
	least := map[string]float64{
		"culvert_probe_runqueue_seconds_count":                           1,
		"culvert_probe_napi_poll_seconds_count":                          1,
		"culvert_probe_softirq_seconds_count":                            1,
		"culvert_probe_tcp_connect_seconds_count":                        1,
		"culvert_probe_tcp_rtt_seconds_count":                            1,
		`culvert_probe_io_uring_seconds_count{opcode="sendmsg"}`:         1,
		`culvert_probe_io_uring_seconds_count{opcode="recv"}`:            1,
		"culvert_probe_napi_packets_total" + in + "}":                    points,
		"culvert_probe_packet_drops_total" + in + `,reason="no_socket"}`: 1,
	}
	eventually(t, "all probes measure", func() error {
		// A connection that is older than the probes answers one request, and no probe saw it begin.
		conn.Write([]byte("motor v=1"))
		got := g.figures()
		for name, n := range least {
			if got[name] < n {
				return fmt.Errorf("%s is %v, want at least %v", name, got[name], n)
			}
		}
		return nil
	})
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if strings.Contains(g.output.String(), "prob") {
		t.Errorf("the log complains about probes:\n%s", g.output)
	}
}

// Goal: probes that are switched off are not attached, and points flow without them.
func TestPrivProbesSwitchedOff(t *testing.T) {
	need(t)
	for more, on := range map[string]float64{
		"probes: {except: [runqueue, io_uring]}\n": 1, "probes: {enabled: false}\n": 0,
	} {
		lab := testenv.NewLab(t, 1)
		sink := newRecorder(t, lab)
		file := configure(t, lab, sink.url, "")
		appendTo(t, file, more)
		g := start(t, lab, "run", "-c", file)
		g.ready()
		if _, err := udpSender(t, lab, lab.GatewayIPv4).Write([]byte("motor v=1")); err != nil {
			t.Fatal(err)
		}
		g.settled(1)
		var got map[string]float64
		eventually(t, more, func() error {
			got = g.figures()
			for name, want := range map[string]float64{"tcp_rtt": on, "runqueue": 0, "io_uring": 0} {
				if up := got[fmt.Sprintf("culvert_probe_up{probe=%q}", name)]; up != want {
					return fmt.Errorf("probe %s is %v, want %v", name, up, want)
				}
			}
			return nil
		})
		if _, there := got["culvert_probe_runqueue_seconds_count"]; there {
			t.Errorf("%s: a probe that is off has a histogram", more)
		}
		if code := g.stop(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
	}
}

// Goal: a reload switches probes on and off while points flow: those that come measure the workers, the
// interface and the sink that were there before them, and those that go show nothing any more. Method: a
// gateway that starts without probes.
func TestPrivProbesByReload(t *testing.T) {
	need(t)
	testenv.Need(t, unix.CAP_PERFMON)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	file := configure(t, lab, sink.url, "")
	without, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	section := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, append(slices.Clone(without), text...), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	section("probes: {enabled: false}\n")
	g := start(t, lab, "run", "-c", file)
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	conn.Write([]byte("motor v=1"))
	g.settled(1)
	section("probes: {except: [io_uring]}\n")
	code, out := g.reload()
	if code != 0 || strings.Contains(out, "restart") || !strings.Contains(out, "+ runqueue") ||
		strings.Contains(out, "io_uring") {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	napi := fmt.Sprintf("culvert_probe_napi_packets_total{interface=%q}", lab.GatewayInterface)
	sent := uint64(1)
	eventually(t, "the probes measure", func() error {
		conn.Write([]byte("motor v=1"))
		sent++
		got := g.figures()
		for _, name := range []string{napi, "culvert_probe_runqueue_seconds_count",
			"culvert_probe_tcp_rtt_seconds_count", `culvert_probe_up{probe="napi_poll"}`} {
			if got[name] < 1 {
				return fmt.Errorf("%s is %v", name, got[name])
			}
		}
		return nil
	})
	g.settled(sent)
	section("probes: {enabled: false}\n")
	if code, out = g.reload(); code != 0 || !strings.Contains(out, "- runqueue") {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	got := g.figures()
	if _, there := got[napi]; there || got[`culvert_probe_up{probe="napi_poll"}`] != 0 {
		t.Errorf("probes that were switched off: %v", got)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}
