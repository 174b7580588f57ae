package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"culvert/scripts/testenv"
)

// configureMode is configure with another mode.
func configureMode(t *testing.T, lab *testenv.Lab, url, mode string) string {
	t.Helper()
	return write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(`interfaces: [{name: %s, mode: %s}]
listeners: [{name: plant, port: %d}]
workers: {frames: 1024}
sinks: [{name: main, urls: [%s], database: telemetry}]
`, lab.GatewayInterface, mode, port, url))
}

// setMTU changes the MTU of both ends.
func setMTU(t *testing.T, lab *testenv.Lab, mtu int) {
	t.Helper()
	set := func(l netlink.Link) error { return netlink.LinkSetMTU(l, mtu) }
	gatewayLink(t, lab, set)
	err := lab.Sender.Do(func() error {
		l, err := netlink.LinkByName(lab.SenderInterface)
		if err != nil {
			return err
		}
		return set(l)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Goal: each mode receives, and the status says which one it is. Method: points over both families, on veth,
// which has native XDP and no zero-copy; with an MTU beyond a page auto falls back to generic on old kernels.
func TestPrivModes(t *testing.T) {
	need(t)
	f := func(mode, want string, mtu int) {
		t.Run(fmt.Sprintf("%s, MTU %d", mode, mtu), func(t *testing.T) {
			lab := testenv.NewLab(t, 2)
			privatePins(t, lab)
			setMTU(t, lab, mtu)
			sink := newRecorder(t, lab)
			g := start(t, lab, "run", "-c", configureMode(t, lab, sink.url, mode))
			g.ready()
			var lines []string
			v4, v6 := udpSender(t, lab, lab.GatewayIPv4), udpSender(t, lab, lab.GatewayIPv6)
			for n := range 100 {
				line := fmt.Sprintf("m,n=%d v=%d %d", n, n, n+1)
				lines = append(lines, line)
				conn := v4
				if n%2 == 1 {
					conn = v6
				}
				if _, err := fmt.Fprint(conn, line); err != nil {
					t.Fatal(err)
				}
			}
			s := g.settled(100)
			got := sink.all()
			slices.Sort(got)
			slices.Sort(lines)
			if !slices.Equal(got, lines) {
				t.Fatalf("the sink has %d lines, want %d", len(got), len(lines))
			}
			iface := interfaceOf(t, s, lab.GatewayInterface)
			steered := uint64(100)
			if want == "socket" {
				steered = 0
			}
			if iface.Mode != want || iface.ZeroCopy || s.Packets.Redirected != steered ||
				s.Packets.ResidueRedirect != 0 || s.Packets.ResidueDecode != 0 {
				t.Fatalf("mode %q, want %q: %+v, %+v", iface.Mode, want, iface, s.Packets)
			}
			if code := g.stop(); code != 0 || xdpOf(t, lab) {
				t.Fatalf("exit code %d, a program is still attached: %t", code, xdpOf(t, lab))
			}
		})
	}
	f("auto", "native", 1500)
	f("generic", "generic", 1500)
	f("socket", "socket", 1500)
	// Packets longer than a frame take Linux 6.6 in native mode.
	jumbo := "generic"
	if testenv.AtLeast(6, 6) {
		jumbo = "native"
	}
	f("auto", jumbo, 9000)
}

// Goal: a mode that cannot be had is refused with one line that says why. Method: zero-copy on veth, native
// with jumbo frames on a kernel that has no packets of several frames.
func TestPrivModeThatCannotBeHad(t *testing.T) {
	need(t)
	f := func(mode string, mtu int, want ...string) {
		t.Helper()
		lab := testenv.NewLab(t, 1)
		privatePins(t, lab)
		setMTU(t, lab, mtu)
		code, output := once(t, lab, "run", "-c", configureMode(t, lab, "http://127.0.0.1:1", mode))
		lines := strings.Split(strings.TrimSpace(output), "\n")
		last := lines[len(lines)-1]
		if code != 69 || strings.Count(output, "culvert: ") != 1 {
			t.Fatalf("mode %s, MTU %d: exit code %d, %q", mode, mtu, code, output)
		}
		for _, text := range want {
			if !strings.Contains(last, text) {
				t.Fatalf("mode %s, MTU %d: %q does not say %q", mode, mtu, last, text)
			}
		}
		if xdpOf(t, lab) {
			t.Fatalf("mode %s, MTU %d: a program is still attached", mode, mtu)
		}
	}
	f("zerocopy", 1500, "gw0", "zero-copy")
	if !testenv.AtLeast(6, 6) {
		f("native", 9000, "gw0", "MTU 9000", "older than 6.6", "ip link set dev gw0 mtu 1500")
	}
}

// Goal: check says which mode auto will come to, and a demand that the driver cannot meet is refused before
// anything is attached, by attach, too. Method: veth, which has native XDP and no zero-copy, and loopback,
// which has neither. Kernels before 6.3 do not say what a driver offers.
func TestPrivModeIsForetold(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	privatePins(t, lab)
	if !testenv.AtLeast(6, 3) {
		code, output := once(t, lab, "check", "-c", configureMode(t, lab, "http://127.0.0.1:1", "auto"))
		if code != 0 || !regexp.MustCompile(`gw0 .* auto\n`).MatchString(output) {
			t.Fatalf("exit code %d, %q", code, output)
		}
		return
	}
	for iface, mode := range map[string]string{lab.GatewayInterface: "native", "lo": "generic"} {
		config := write(t, t.TempDir(), "culvert.yaml", minimal(iface, "http://127.0.0.1:1"))
		code, output := once(t, lab, "check", "-c", config)
		if code != 0 || !regexp.MustCompile(iface+` .* `+mode+`\n`).MatchString(output) {
			t.Fatalf("%s: exit code %d, %q", iface, code, output)
		}
	}
	for _, arguments := range [][]string{
		{"attach", "-i", lab.GatewayInterface, "--mode", "zerocopy"},
		{"check", "-c", configureMode(t, lab, "http://127.0.0.1:1", "zerocopy")},
	} {
		code, output := once(t, lab, arguments...)
		if code != 69 || !strings.Contains(output, "zero-copy") || xdpOf(t, lab) {
			t.Fatalf("%v: exit code %d, %q", arguments, code, output)
		}
	}
}
