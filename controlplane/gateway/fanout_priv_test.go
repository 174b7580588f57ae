package gateway

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"culvert/controlplane/telemetry"
	"culvert/scripts/testenv"
)

// inNamespace tells whether this process is the one that inOwnNamespace has started.
const inNamespace = "CULVERT_TEST_IN_NAMESPACE"

// inOwnNamespace runs the test once more, in a process of its own whose threads are all in a network
// namespace of their own, and is true there. A worker opens its sockets on its own thread, and Go gives a
// thread's namespace to no other.
func inOwnNamespace(t *testing.T) bool {
	t.Helper()
	testenv.Need(t, unix.CAP_NET_ADMIN, unix.CAP_NET_RAW, unix.CAP_BPF, unix.CAP_SYS_ADMIN)
	if os.Getenv(inNamespace) != "" {
		return true
	}
	command := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	command.Env = append(os.Environ(), inNamespace+"=1")
	command.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	out, err := command.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
	return false
}

// bench is a gateway in this process's namespace, with a sender and a sink.
type bench struct {
	t       *testing.T
	sender  *testenv.Namespace
	gateway *Gateway
	log     *strings.Builder

	mutex sync.Mutex
	lines []string // at the sink
}

const benchPort = 8089

// newBench starts a gateway on one end of a veth with one queue, whose plan has this many workers, none of
// them pinned: the machine may have fewer CPUs. With 0 the plan is this machine's.
func newBench(t *testing.T, workers int, text string) *bench {
	t.Helper()
	b := &bench{t: t, sender: testenv.NewNamespace(t), log: &strings.Builder{}}
	b.connect()
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		b.mutex.Lock()
		b.lines = append(b.lines, strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")...)
		b.mutex.Unlock()
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(sink.Close)
	dir := t.TempDir()
	file := filepath.Join(dir, "culvert.yaml")
	text += fmt.Sprintf(`
listeners: [{name: plant, port: %d}]
sinks: [{name: main, urls: [%s], database: telemetry}]
spool: {dir: ""}
state_dir: %s
probes: {enabled: false}
`, benchPort, sink.URL, dir)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	rules := `groups:
  - name: motors
    rules:
      - {alert: Hot, on: motor, expr: temperature > 95.0, by: [machine]}
`
	if err := os.WriteFile(filepath.Join(dir, "rules.yaml"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	setup, mistakes := Load(file)
	if len(mistakes) > 0 {
		t.Fatal(mistakes)
	}
	plan, err := MakePlan(setup.Config)
	if err != nil {
		t.Fatal(err)
	}
	if workers > 0 {
		plan.Workers, plan.Seats = nil, nil
	}
	for i := range workers {
		plan.Workers = append(plan.Workers, WorkerSeat{CPU: -1, Node: -1})
		plan.Seats = append(plan.Seats, Seat{Interface: "gw0", Member: i, Worker: i})
	}
	log := slog.New(slog.NewTextHandler(b.log, &slog.HandlerOptions{Level: slog.LevelError}))
	b.gateway, err = startOn(context.Background(), Options{
		Config: setup.Config, Rules: setup.Rules, Log: log,
	}, plan)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.gateway.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Log(b.log)
		}
	})
	return b
}

// connect makes the veth: gw0 here, tx0 with the sender.
func (b *bench) connect() {
	b.t.Helper()
	up := func(name, address string) error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		a, err := netlink.ParseAddr(address)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
		return netlink.LinkSetUp(l)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		if l, err := netlink.LinkByName("gw0"); err == nil {
			netlink.LinkDel(l)
		}
	})
	var tx0 netlink.Link
	steps := []func() error{
		func() error { return netlink.LinkSetUp(lo) },
		func() error {
			return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "gw0"}, PeerName: "tx0"})
		},
		func() (err error) { tx0, err = netlink.LinkByName("tx0"); return err },
		func() error { return netlink.LinkSetNsFd(tx0, b.sender.FD()) },
		func() error { return up("gw0", "10.88.0.1/24") },
		func() error { return b.sender.Do(func() error { return up("tx0", "10.88.0.2/24") }) },
	}
	for i, step := range steps {
		if err := step(); err != nil {
			b.t.Fatalf("step %d of the veth: %v", i, err)
		}
	}
}

// dial opens a flow: a socket with a port of its own.
func (b *bench) dial() (conn net.Conn) {
	b.t.Helper()
	err := b.sender.Do(func() (err error) {
		conn, err = net.Dial("udp", fmt.Sprintf("10.88.0.1:%d", benchPort))
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { conn.Close() })
	return conn
}

func (b *bench) send(conn net.Conn, format string, arguments ...any) {
	b.t.Helper()
	if _, err := fmt.Fprintf(conn, format, arguments...); err != nil {
		b.t.Fatal(err)
	}
}

// until waits for a condition on the gateway's status.
func (b *bench) until(what string, condition func(*telemetry.Status) bool) *telemetry.Status {
	b.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		status := telemetry.NewStatus(b.gateway.Snapshot())
		if condition(status) {
			return status
		}
		if time.Now().After(deadline) {
			b.t.Fatalf("not within 20 s: %s: %+v, %+v, %+v", what, status.Ledger, status.Packets,
				status.Interfaces)
		}
		time.Sleep(time.Millisecond)
	}
}

// settled waits until so many points are in the sink, and checks both balances.
func (b *bench) settled(points uint64) *telemetry.Status {
	b.t.Helper()
	s := b.until(fmt.Sprintf("%d points are written", points), func(s *telemetry.Status) bool {
		return s.Ledger.Written == points && s.Ledger.InFlight == 0
	})
	if s.Ledger.Received != points || s.Ledger.Residue != 0 || s.Packets.ResidueRedirect != 0 ||
		s.Packets.ResidueDecode != 0 {
		b.t.Fatalf("%+v, %+v", s.Ledger, s.Packets)
	}
	return s
}

// spread is how many of an interface's sockets received something.
func spread(s *telemetry.Status) (sockets int) {
	for _, q := range s.Interfaces[0].Queues {
		if q.Received > 0 {
			sockets++
		}
	}
	return sockets
}

const fanoutConfig = `
interfaces: [{name: gw0, mode: native, queues_fanout: %s}]
workers: {frames: 512}
rules: {files: [rules.yaml]}`

// Goal: with several sockets on one queue nothing is lost or counted twice, one key is one state, a link that
// goes down and comes up is bound anew, and the stop gives every frame back. Method: three workers on one
// queue; points of one key come by ever new flows, one at a time, and each changes the state; then many more
// packets than there are frames. Verify builds look at each frame's holder.
func TestPrivFanout(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	for _, way := range []string{"flow", "packet"} {
		t.Run(way, func(t *testing.T) {
			b := newBench(t, 3, fmt.Sprintf(fanoutConfig, way))
			status := telemetry.NewStatus(b.gateway.Snapshot())
			if in := status.Interfaces[0]; in.Fanout != way || len(in.Queues) != 3 || in.Mode != "native" {
				t.Fatalf("%+v", in)
			}
			const steps = 61 // The last one leaves it firing.
			sent := uint64(0)
			for n := range uint64(steps) {
				b.send(b.dial(), "motor,machine=m1 temperature=%d %d", 90+10*((n+1)%2), n+1)
				sent++
				b.until("the state changes", func(s *telemetry.Status) bool {
					return s.Rules[0].Transitions == n+1
				})
			}
			s := b.settled(sent)
			if s.Rules[0].Firing != 1 || spread(s) != 3 {
				t.Fatalf("%d fire, %d sockets had packets: %+v", s.Rules[0].Firing, spread(s),
					s.Interfaces[0])
			}
			sent = b.flood(sent, 4, 1500)
			b.flap()
			sent = b.flood(sent, 16, 500)
			if way == "packet" {
				sent = b.flood(sent, 1, 1500)
			}
			if err := b.gateway.Stop(); err != nil {
				t.Fatal(err)
			}
			b.mutex.Lock()
			defer b.mutex.Unlock()
			slices.Sort(b.lines)
			if n := uint64(len(slices.Compact(b.lines))); n != sent {
				t.Fatalf("the sink has %d lines, %d were sent", n, sent)
			}
		})
	}
}

// flood sends packets by some flows, no more at once than half of the frames, and waits for all points.
func (b *bench) flood(sent uint64, flows, packets int) uint64 {
	b.t.Helper()
	conns := make([]net.Conn, flows)
	for i := range conns {
		conns[i] = b.dial()
	}
	// A veth holds 256 packets that its other end, which may put off looking at them, has not taken.
	for n := range packets {
		b.send(conns[n%flows], "load,n=%d v=1 %d\nload,n=%d v=2 %d", sent, sent+1, sent+1, sent+2)
		sent += 2
		if n%64 == 63 {
			b.until("the workers keep up", func(s *telemetry.Status) bool {
				return s.Ledger.Received == sent
			})
		}
	}
	b.settled(sent)
	return sent
}

// flap takes the link down and up, and waits for the sockets to be bound anew.
func (b *bench) flap() {
	b.t.Helper()
	l, err := netlink.LinkByName("gw0")
	if err != nil {
		b.t.Fatal(err)
	}
	if err := netlink.LinkSetDown(l); err != nil {
		b.t.Fatal(err)
	}
	b.until("the link is down", func(s *telemetry.Status) bool { return !s.Ready })
	if err := netlink.LinkSetUp(l); err != nil {
		b.t.Fatal(err)
	}
	b.until("the link is up", func(s *telemetry.Status) bool { return s.Ready })
}

// Goal: a flow whose worker is not the one that gives the kernel frames does not run out of them while that
// one sleeps. Method: each of three sockets gets a flow of its own that sends four times the frames.
func TestPrivFanoutWakesTheFirst(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	b := newBench(t, 3, fmt.Sprintf(fanoutConfig, "flow"))
	sent := uint64(0)
	flows := map[int]net.Conn{}
	for len(flows) < 3 {
		conn := b.dial()
		before := telemetry.NewStatus(b.gateway.Snapshot()).Interfaces[0].Queues
		b.send(conn, "load,n=%d v=1 %d", sent, sent+1)
		sent++
		after := b.settled(sent).Interfaces[0].Queues
		for i := range after {
			if after[i].Received > before[i].Received {
				flows[i] = conn
			}
		}
	}
	for _, conn := range flows {
		for n := range 2048 {
			b.send(conn, "load,n=%d v=1 %d", sent, sent+1)
			sent++
			if n%128 == 127 {
				b.until("the worker keeps up", func(s *telemetry.Status) bool {
					return s.Ledger.Received == sent
				})
			}
		}
	}
	s := b.settled(sent)
	for _, q := range s.Interfaces[0].Queues {
		if q.Received < 2048 || len(q.Drops) != 0 {
			t.Fatalf("%+v", q)
		}
	}
}
