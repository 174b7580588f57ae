package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"culvert/scripts/testenv"
)

// libxdpObject is a program of xdp-tools: one that lets UDP pass, or one that drops it.
func libxdpObject(t *testing.T, name string) string {
	t.Helper()
	if _, err := exec.LookPath("xdp-loader"); err != nil {
		testenv.Skip(t, "xdp-loader is missing (scripts/setup test)")
	}
	objects, err := filepath.Glob("/usr/lib/*/bpf/" + name)
	if err != nil || len(objects) == 0 {
		testenv.Skip(t, name+" of xdp-tools is missing (scripts/setup test)")
	}
	return objects[0]
}

// output is what a command line in the lab's gateway namespace says, and whether it succeeded.
func output(t *testing.T, lab *testenv.Lab, line string) (said string, ok bool) {
	t.Helper()
	command := exec.Command("sh", "-c", line)
	err := lab.Gateway.Do(func() (err error) {
		text, err := command.CombinedOutput()
		said = string(text)
		return err
	})
	return said, err == nil
}

// others are the programs in the dispatcher as xdp-loader lists them, in their order, with their numbers.
func others(t *testing.T, lab *testenv.Lab) (names []string, ids map[string]string) {
	t.Helper()
	said, ok := output(t, lab, "xdp-loader status "+lab.GatewayInterface)
	if !ok {
		t.Fatalf("xdp-loader status: %s", said)
	}
	ids = map[string]string{}
	line := regexp.MustCompile(`=>\s+\d+\s+(\S+)\s+(\d+)`)
	for _, found := range line.FindAllStringSubmatch(said, -1) {
		names = append(names, found[1])
		ids[found[1]] = found[2]
	}
	return names, ids
}

// servicePins mounts the unit's BPF file system, which belongs to the service's user.
func servicePins(t *testing.T, lab *testenv.Lab) {
	t.Helper()
	shell(t, lab, "mkdir -p /run/culvert/bpf && mount -t bpf -o mode=0700 bpf /run/culvert/bpf && "+
		fmt.Sprintf("chown %d:%d /run/culvert/bpf", nobody, nobody))
	t.Cleanup(func() {
		os.Remove("/run/culvert/bpf")
		os.Remove("/run/culvert")
	})
}

// runs checks which programs a dispatcher runs, as xdp-loader lists them.
func runs(t *testing.T, lab *testenv.Lab, when string, want ...string) (ids map[string]string) {
	t.Helper()
	names, ids := others(t, lab)
	if !slices.Equal(names, want) {
		t.Fatalf("%s: xdp-loader lists %v, want %v", when, names, want)
	}
	return ids
}

// arrives sends one more point and checks that it came by the ring.
func arrives(t *testing.T, g *gateway, conn *net.UDPConn, n int, when string) {
	t.Helper()
	fmt.Fprintf(conn, "m v=%d", n)
	if s := g.settled(uint64(n)); s.Packets.Redirected != uint64(n) {
		t.Fatalf("%s: %+v", when, s.Packets)
	}
}

// Goal: where libxdp's programs share an interface, culvert joins them when it is told to: it gets what those
// before it pass, the gateway runs as the service's user and may come and go, and nobody's program is lost at
// any step, whoever adds or takes one. Method: Debian's xdp-loader in the lab, with one program that passes
// all UDP and one that drops it. Where the kernel has no freplace there is nothing to join, and attach says
// who is there.
func TestPrivJoinsLibxdp(t *testing.T) {
	need(t)
	rootAlone(t, "it plays both users by itself")
	pass, drop := libxdpObject(t, "xdpfilt_alw_udp.o"), libxdpObject(t, "xdpfilt_dny_udp.o")
	lab := testenv.NewLab(t, 1)
	privatePins(t, lab)
	iface := lab.GatewayInterface
	shell(t, lab, "xdp-loader load "+iface+" "+pass)
	if name, _ := programOn(t, lab); name != "xdp_dispatcher" {
		if os.Getenv("CULVERT_TEST_OWN_MACHINE") == "1" {
			t.Fatalf("libxdp attached %q without a dispatcher", name)
		}
		code, output := once(t, lab, "attach", "-i", iface)
		if code != 69 || !strings.Contains(output, name) {
			t.Fatalf("attach beside %q: exit code %d, %q", name, code, output)
		}
		return
	}
	servicePins(t, lab)
	sink := newRecorder(t, lab)
	config := write(t, publicDir(t), "culvert.yaml", minimal(iface, sink.url))

	if f := found(diagnose(t, lab, exec.Command(culvert, "doctor", "--json", "-i", iface)), lab, "program",
		"libxdp's dispatcher"); f == nil || !strings.Contains(f.Remedy, "`culvert attach -i "+iface+"`") {
		t.Fatalf("doctor finds %+v", f)
	}
	g := startCommand(t, lab, nobodyWith(serviceCapabilities(), "attach", "-i", iface))
	if code := g.wait(); code != 69 || !strings.Contains(g.output.String(), "`culvert attach -i "+iface) {
		t.Fatalf("attach as the service's user: exit code %d, %q", code, g.output)
	}
	code, said := once(t, lab, "attach", "-i", iface)
	if code != 0 || !strings.Contains(said, "joined libxdp's dispatcher in native mode") {
		t.Fatalf("attach: exit code %d, %q", code, said)
	}
	t.Log(said)
	locked := strings.Contains(said, "can neither add nor remove")
	runs(t, lab, "joined", "xdpfilt_alw_udp", "culvert_joint")
	passes(t, lab, "while no gateway runs")

	conn := udpSender(t, lab, lab.GatewayIPv4)
	g = startCommand(t, lab, nobodyWith(serviceCapabilities(), "run", "-c", config))
	g.ready()
	arrives(t, g, conn, 1, "joined")
	changeOthers(t, lab, g, conn, locked, drop)
	g.kill()
	if locked {
		passes(t, lab, "after a kill")
	}

	// Root without privileges does not own the service's pins.
	code, said = once(t, lab, "run", "-c", config)
	if code != 69 || !strings.Contains(said, "for another user") {
		t.Fatalf("run as root: exit code %d, %q", code, said)
	}
	g = startCommand(t, lab, nobodyWith(serviceCapabilities(), "run", "-c", config))
	g.ready()
	arrives(t, g, conn, 1, "after a kill")
	if code := g.stop(); code != 0 {
		t.Fatalf("run: exit code %d", code)
	}
	names, _ := others(t, lab)
	code, said = once(t, lab, "detach", "-i", iface)
	if code != 0 || !strings.Contains(said, "left libxdp's dispatcher") {
		t.Fatalf("detach: exit code %d, %q", code, said)
	}
	runs(t, lab, "left", slices.DeleteFunc(names, func(n string) bool { return n == "culvert_joint" })...)
	loseDispatcher(t, lab, config, conn, pass)
}

// changeOthers adds a program that drops all UDP behind ours and takes away the one before ours, while a
// gateway runs, which has had one packet. Where libxdp cannot do that, as culvert attach has said, it leaves
// all as it is.
func changeOthers(t *testing.T, lab *testenv.Lab, g *gateway, conn *net.UDPConn, locked bool, drop string) {
	t.Helper()
	load := "xdp-loader load -P 60 " + lab.GatewayInterface + " " + drop
	unload := "xdp-loader unload " + lab.GatewayInterface + " -i "
	ids := runs(t, lab, "before", "xdpfilt_alw_udp", "culvert_joint")
	if locked {
		for _, line := range []string{load, unload + ids["xdpfilt_alw_udp"]} {
			if said, ok := output(t, lab, line); ok {
				t.Errorf("%s: libxdp could do it: %s", line, said)
			}
		}
		runs(t, lab, "as before", "xdpfilt_alw_udp", "culvert_joint")
		arrives(t, g, conn, 2, "while others tried to change the dispatcher")
		return
	}
	shell(t, lab, load)
	runs(t, lab, "one more", "xdpfilt_alw_udp", "culvert_joint", "xdpfilt_dny_udp")
	arrives(t, g, conn, 2, "with a program behind that drops all it sees")
	shell(t, lab, unload+ids["xdpfilt_alw_udp"])
	runs(t, lab, "one less", "culvert_joint", "xdpfilt_dny_udp")
	arrives(t, g, conn, 3, "first in the row")
}

// loseDispatcher takes all programs off under a running gateway, ours too: it attaches by itself then, since
// nobody is there any more, and libxdp finds no way in while it is alone.
func loseDispatcher(t *testing.T, lab *testenv.Lab, config string, conn *net.UDPConn, object string) {
	t.Helper()
	shell(t, lab, culvert+" attach -i "+lab.GatewayInterface)
	g := startCommand(t, lab, nobodyWith(serviceCapabilities(), "run", "-c", config))
	g.ready()
	arrives(t, g, conn, 1, "joined again")
	shell(t, lab, "xdp-loader unload --all "+lab.GatewayInterface)
	eventually(t, "attached by itself", func() error {
		if name, _ := programOn(t, lab); name != "culvert_steer" {
			return fmt.Errorf("%q is on the interface", name)
		}
		return nil
	})
	g.ready()
	eventually(t, "packets come by the ring again", func() error {
		fmt.Fprint(conn, "m v=1")
		s, err := g.status()
		if err == nil && s.Packets.Redirected < 1 {
			err = fmt.Errorf("%+v", s.Packets)
		}
		return err
	})
	said, ok := output(t, lab, "xdp-loader load "+lab.GatewayInterface+" "+object)
	if name, _ := programOn(t, lab); ok || !strings.Contains(said, "busy") || name != "culvert_steer" {
		t.Errorf("xdp-loader beside culvert alone: %q is on the interface, %s", name, said)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("run: exit code %d", code)
	}
	if name, id := programOn(t, lab); id != 0 {
		t.Fatalf("%q is left on the interface", name)
	}
}
