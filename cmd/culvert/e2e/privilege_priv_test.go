package e2e

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// nobody is the user without rights that stands for the service's.
const nobody = 65534

// nobodyWith is the command line as a user without rights runs it with these capabilities alone.
func nobodyWith(capabilities []uintptr, arguments ...string) *exec.Cmd {
	command := exec.Command(culvert, arguments...)
	command.SysProcAttr = &syscall.SysProcAttr{
		Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: capabilities,
	}
	return command
}

// Goal: the capabilities of the README are enough for a user without rights, and the lack of any one is
// refused by its name, in mode auto, too, which steps down for what an interface cannot do alone. Method: all
// of them with a point end to end; then each left out.
func TestPrivCapabilities(t *testing.T) {
	need(t)
	testenv.Need(t, unix.CAP_PERFMON, unix.CAP_IPC_LOCK)
	all := []struct {
		name   string
		number uintptr
	}{
		{"CAP_BPF", unix.CAP_BPF}, {"CAP_PERFMON", unix.CAP_PERFMON}, {"CAP_NET_ADMIN", unix.CAP_NET_ADMIN},
		{"CAP_NET_RAW", unix.CAP_NET_RAW}, {"CAP_IPC_LOCK", unix.CAP_IPC_LOCK},
	}
	var numbers []uintptr
	for _, c := range all {
		numbers = append(numbers, c.number)
	}
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	config := write(t, publicDir(t), "culvert.yaml", minimal(lab.GatewayInterface, sink.url))
	g := startCommand(t, lab, nobodyWith(numbers, "run", "-c", config))
	g.ready()
	udpSender(t, lab, lab.GatewayIPv4).Write([]byte("m v=1 1"))
	s := g.settled(1)
	if mode := interfaceOf(t, s, lab.GatewayInterface).Mode; s.Packets.Redirected != 1 || mode != "native" {
		t.Fatalf("mode %s, %+v", mode, s.Packets)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	for i, c := range all[:4] {
		others := slices.Delete(slices.Clone(numbers), i, i+1)
		g := startCommand(t, lab, nobodyWith(others, "run", "-c", config))
		if code := g.wait(); code != 77 || !strings.Contains(g.output.String(), c.name) || xdpOf(t, lab) {
			t.Fatalf("without %s: exit code %d, %q", c.name, code, g.output)
		}
	}
}

// Goal: a low RLIMIT_MEMLOCK without CAP_IPC_LOCK is told by name, in mode auto, too. The io_uring, whose
// memory some kernels count as well, is done without. Method: ulimit.
func TestPrivMemoryLimit(t *testing.T) {
	need(t)
	testenv.Need(t, unix.CAP_PERFMON)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	config := write(t, publicDir(t), "culvert.yaml", minimal(lab.GatewayInterface, sink.url))
	command := nobodyWith([]uintptr{unix.CAP_BPF, unix.CAP_PERFMON, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW})
	command.Path, command.Args = "/bin/sh",
		[]string{"sh", "-c", "ulimit -l 16 && exec " + culvert + " run -c " + config}
	g := startCommand(t, lab, command)
	code, output := g.wait(), g.output.String()
	if code != 77 || !strings.Contains(output, "register UMEM") ||
		!strings.Contains(output, "raise RLIMIT_MEMLOCK") || xdpOf(t, lab) {
		t.Fatalf("exit code %d, %q", code, output)
	}
}

// Goal: without CAP_PERFMON a gateway runs by kernel sockets, with its probes off and said so, since it is
// the verifier that asks for it; in mode socket it takes no capability at all. Method: both, with a point
// each.
func TestPrivSocketsWithoutCapabilities(t *testing.T) {
	need(t)
	testenv.Need(t, unix.CAP_IPC_LOCK)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	config := write(t, publicDir(t), "culvert.yaml", strings.Replace(minimal(lab.GatewayInterface, sink.url),
		"}]", ", mode: socket}]", 1))
	withoutPerfmon := slices.DeleteFunc(serviceCapabilities(),
		func(bit uintptr) bool { return bit == unix.CAP_PERFMON })
	for _, capabilities := range [][]uintptr{withoutPerfmon, nil} {
		g := startCommand(t, lab, nobodyWith(capabilities, "run", "-c", config))
		g.ready()
		udpSender(t, lab, lab.GatewayIPv4).Write([]byte("m v=1 1"))
		s := g.settled(1)
		if c := s.Confinement; c == nil || !c.Dropped || len(c.Capabilities) != len(capabilities) {
			t.Fatalf("%+v", c)
		}
		eventually(t, "the probes are said to be off", func() error {
			_, metrics, err := g.get("/metrics")
			if err != nil || strings.Contains(metrics, "culvert_probe_up{probe=\"runqueue\"} 1") ||
				!strings.Contains(metrics, "culvert_probe_up{probe=\"runqueue\"} 0") ||
				!strings.Contains(g.output.String(), "probe") {
				return fmt.Errorf("%w, %s", err, g.output)
			}
			return nil
		})
		if code := g.stop(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
	}
}
