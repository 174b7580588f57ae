package e2e

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// pinsOfService gives the gateway's namespace what the unit's root pre-step does, by its own line, and a BPF
// file system of the host's that is closed to all but root.
func pinsOfService(t *testing.T, lab *testenv.Lab) {
	t.Helper()
	privatePins(t, lab)
	const folder = "/run/culvert"
	if _, err := os.Stat(folder); err != nil {
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		// The mount below it ends with the namespace.
		t.Cleanup(func() { os.Remove(folder + "/bpf"); os.Remove(folder) })
	}
	text, err := os.ReadFile("../../../deploy/systemd/culvert.service")
	if err != nil {
		t.Fatal(err)
	}
	const inHost = "ExecStartPre=-+/usr/bin/nsenter --target 1 --mount /bin/sh -c '"
	step := ""
	for line := range strings.Lines(string(text)) {
		if found, ok := strings.CutPrefix(line, inHost); ok {
			step = strings.TrimSuffix(strings.TrimSpace(found), "'")
		}
	}
	step = strings.ReplaceAll(step, "culvert:culvert", fmt.Sprintf("%d:%d", nobody, nobody))
	for range 2 { // a restart does it again
		command, output := exec.Command("/bin/sh", "-c", step), &lockedBuffer{}
		command.Stdout, command.Stderr = output, output
		err := lab.Gateway.Do(command.Run)
		if err != nil || step == "" {
			t.Fatalf("%q: %v, %s", step, err, output)
		}
	}
}

// attachAsService is the unit's second pre-step.
func attachAsService(t *testing.T, lab *testenv.Lab, config string) (code int, output string) {
	t.Helper()
	g := startCommand(t, lab, nobodyWith(serviceCapabilities(), "attach", "-c", config))
	return g.wait(), g.output.String()
}

// counter sends points that count up in their timestamps from 1, and never asks whether anybody listens.
type counter struct {
	sent  atomic.Uint64
	end   chan struct{}
	ended sync.WaitGroup
}

func newCounter(t *testing.T, lab *testenv.Lab, pause time.Duration) *counter {
	t.Helper()
	c := &counter{end: make(chan struct{})}
	var conn net.PacketConn
	err := lab.Sender.Do(func() (err error) {
		// Not connected: refusals would come back to one that is, and hide what was lost.
		conn, err = net.ListenPacket("udp4", ":0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	to := &net.UDPAddr{IP: lab.GatewayIPv4, Port: port}
	c.ended.Go(func() {
		defer conn.Close()
		for {
			select {
			case <-c.end:
				return
			case <-time.After(pause):
			}
			if _, err := conn.WriteTo(fmt.Appendf(nil, "count v=1 %d", c.sent.Load()+1), to); err == nil {
				c.sent.Add(1)
			}
		}
	})
	t.Cleanup(c.stop)
	return c
}

func (c *counter) stop() {
	select {
	case <-c.end:
	default:
		close(c.end)
	}
	c.ended.Wait()
}

// numbers are the timestamps of the points that a sink has, in order.
func (r *recorder) numbers(t *testing.T) (numbers []uint64) {
	t.Helper()
	for _, line := range r.all() {
		n, err := strconv.ParseUint(line[strings.LastIndexByte(line, ' ')+1:], 10, 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	return numbers
}

// through is up to which timestamp all points are there.
func (r *recorder) through(t *testing.T) (n uint64) {
	t.Helper()
	for _, number := range r.numbers(t) {
		if number != n+1 {
			break
		}
		n = number
	}
	return n
}

// watchPrograms collects the numbers of the programs that are on the interface, each once, 0 for none, until
// its result is called.
func watchPrograms(t *testing.T, lab *testenv.Lab) (end func() []uint32) {
	t.Helper()
	var route *netlink.Handle
	err := lab.Gateway.Do(func() (err error) {
		// Its socket stays in the namespace, from wherever it is asked.
		route, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	stop, programs := make(chan struct{}), make(chan []uint32, 1)
	go func() {
		defer route.Close()
		var seen []uint32
		for {
			select {
			case <-stop:
				programs <- seen
				return
			case <-time.After(100 * time.Microsecond):
			}
			program := uint32(0)
			found, err := route.LinkByName(lab.GatewayInterface)
			if err == nil && found.Attrs().Xdp != nil {
				program = found.Attrs().Xdp.ProgId
			}
			if !slices.Contains(seen, program) {
				seen = append(seen, program)
			}
		}
	}()
	return func() []uint32 { close(stop); return <-programs }
}

// Goal: a restart of the service under load, as an upgrade of its package does it, never takes the program
// off the interface, and costs only what came while nobody was there to take it: each point that was sent
// before the old process was told to go, and after the new one was ready, is written, once. So it is if the
// old one is killed. Where systemd keeps the listener's socket meanwhile, a restart costs no point at all.
// Method: the unit's steps as its user; a sender that counts.
func TestPrivHandover(t *testing.T) {
	need(t)
	testenv.Need(t, unix.CAP_PERFMON, unix.CAP_IPC_LOCK)
	t.Run("restart", func(t *testing.T) { handOver(t, false, nil) })
	t.Run("kill", func(t *testing.T) { handOver(t, true, nil) })
	t.Run("socket kept", func(t *testing.T) {
		if lost := handOver(t, false, newSocketStore(t)); lost > 0 {
			t.Errorf("%d points are lost", lost)
		}
	})
	t.Run("socket kept, kill", func(t *testing.T) { handOver(t, true, newSocketStore(t)) })
}

// handOver changes one gateway for another under load, with a store or without, and returns how many points
// that has cost.
func handOver(t *testing.T, kill bool, store *socketStore) int {
	lab := testenv.NewLab(t, 1)
	pinsOfService(t, lab)
	sink := newRecorder(t, lab)
	config := write(t, publicDir(t), "culvert.yaml", minimal(lab.GatewayInterface, sink.url))
	service := func() *gateway {
		if code, output := attachAsService(t, lab, config); code != 0 {
			t.Fatalf("attach: exit code %d, %s", code, output)
		}
		command := nobodyWith(serviceCapabilities(), "run", "-c", config)
		if store != nil {
			command = store.pass(command)
		}
		return startCommand(t, lab, command)
	}
	old := service()
	old.ready()
	sender := newCounter(t, lab, 500*time.Microsecond)
	old.steers()
	if s, err := old.status(); err != nil || !interfaceOf(t, s, lab.GatewayInterface).Adopted {
		t.Fatalf("the link is not taken over: %+v, %v", s, err)
	}
	programs := watchPrograms(t, lab)
	told, began := sender.sent.Load(), time.Now()
	if kill {
		// What a killed process had in memory goes with it: what is written by now stays.
		told = sink.through(t)
		old.kill()
	} else if code := old.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	fresh := service()
	fresh.ready()
	took, ready := time.Since(began), sender.sent.Load()
	fresh.steers()
	sender.stop()
	last := sender.sent.Load()
	eventually(t, "the last point is written", func() error {
		if numbers := sink.numbers(t); !slices.Contains(numbers, last) {
			return fmt.Errorf("%d of %d", len(numbers), last)
		}
		return nil
	})
	if code := fresh.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if seen := programs(); slices.Contains(seen, 0) {
		t.Errorf("there was no program on the interface for a while: %d", seen)
	}
	lost := sink.missing(t, last)
	if len(lost) > 0 && (lost[0] <= told || lost[len(lost)-1] > ready) {
		t.Errorf("lost are %d to %d; nobody was there from %d to %d alone", lost[0], lost[len(lost)-1],
			told, ready)
	}
	t.Logf("%d of the %d points sent in the %v of the change are lost, and no other of %d", len(lost),
		ready-told, took.Round(time.Millisecond), last)
	return len(lost)
}

// missing are the timestamps up to the last one that the sink has not, in order. None may be there twice.
func (r *recorder) missing(t *testing.T, last uint64) (missing []uint64) {
	t.Helper()
	numbers := r.numbers(t)
	if once := slices.Compact(slices.Clone(numbers)); len(once) != len(numbers) {
		t.Errorf("%d points are written twice", len(numbers)-len(once))
	}
	for n := uint64(1); n <= last; n++ {
		if _, there := slices.BinarySearch(numbers, n); !there {
			missing = append(missing, n)
		}
	}
	return missing
}
