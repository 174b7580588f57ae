package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"

	"culvert/scripts/testenv"
)

// programOn is the name and the number of the program on the lab's interface, as root sees it.
func programOn(t *testing.T, lab *testenv.Lab) (name string, id uint32) {
	t.Helper()
	gatewayLink(t, lab, func(l netlink.Link) error {
		if l.Attrs().Xdp != nil {
			id = l.Attrs().Xdp.ProgId
		}
		return nil
	})
	if id == 0 {
		return "", 0
	}
	program, err := ebpf.NewProgramFromID(ebpf.ProgramID(id))
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	about, err := program.Info()
	if err != nil {
		t.Fatal(err)
	}
	return about.Name, id
}

// Goal: on an interface that libxdp's programs share, the gateway takes nothing away from anybody: it says
// who is there, with a command that mends it and does; beside them it runs by kernel sockets. Where the
// kernel has no freplace, libxdp puts its one program there without a dispatcher, and the same holds. Method:
// Debian's xdp-loader; a start as root and as the service's user; the printed command.
func TestPrivBesideLibxdp(t *testing.T) {
	need(t)
	rootAlone(t, "it plays both users by itself")
	object := libxdpObject(t, "xdpfilt_alw_udp.o")
	lab := testenv.NewLab(t, 1)
	privatePins(t, lab)
	shell(t, lab, "xdp-loader load "+lab.GatewayInterface+" "+object)
	name, id := programOn(t, lab)
	t.Logf("xdp-loader has attached %q", name)
	sink := newRecorder(t, lab)
	config := write(t, publicDir(t), "culvert.yaml", minimal(lab.GatewayInterface, sink.url))

	code, output := once(t, lab, "run", "-c", config)
	last := output[strings.LastIndex(strings.TrimSpace(output), "\n")+1:]
	if code != 69 || !strings.Contains(last, name) || !strings.Contains(last, lab.GatewayInterface) {
		t.Fatalf("run: exit code %d, %q", code, output)
	}
	if name == "xdp_dispatcher" && (!strings.Contains(last, "and runs xdpfilt_alw_ud") ||
		!strings.Contains(last, "mode: socket")) {
		t.Errorf("it does not say who is there: %q", last)
	}
	_, rest, _ := strings.Cut(last, "`")
	remedy, _, _ := strings.Cut(rest, "`")
	g := startCommand(t, lab, nobodyWith(serviceCapabilities(), "run", "-c", config))
	if code := g.wait(); code != 69 || !strings.Contains(g.output.String(), fmt.Sprintf("id %d", id)) {
		t.Fatalf("run as the service's user: exit code %d, %q", code, g.output)
	}

	sockets := write(t, publicDir(t), "culvert.yaml", strings.Replace(minimal(lab.GatewayInterface, sink.url),
		"}]", ", mode: socket}]", 1))
	g = start(t, lab, "run", "-c", sockets)
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	fmt.Fprint(conn, "m v=1")
	g.settled(1)
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if _, after := programOn(t, lab); after != id {
		t.Fatalf("program %d is in the place of %d", after, id)
	}

	if remedy == "" {
		t.Fatalf("no command in %q", last)
	}
	shell(t, lab, remedy)
	g = start(t, lab, "run", "-c", config)
	g.ready()
	fmt.Fprint(conn, "m v=2")
	if s := g.settled(1); s.Packets.Redirected != 1 {
		t.Fatalf("after %q: %+v", remedy, s.Packets)
	}
}
