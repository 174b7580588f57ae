package bpf

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"culvert/dataplane/uring"
	"culvert/scripts/testenv"
)

// newProbes opens all probes but these, and they measure everything that happens. On every kernel that is
// supported all of the others must be on.
func newProbes(t testing.TB, except ...string) *Probes {
	t.Helper()
	return sampling(t, 0, except...)
}

// sampling is the same, and they measure one in 2^bits where there are many.
func sampling(t testing.TB, bits uint32, except ...string) *Probes {
	t.Helper()
	testenv.Need(t, unix.CAP_BPF, unix.CAP_PERFMON)
	spec, err := loadProbe()
	check(t, err)
	check(t, spec.Variables["sample_bits"].Set(bits))
	p, err := openProbes(spec, except)
	if err != nil {
		t.Fatalf("%+v", err)
	}
	t.Cleanup(func() {
		if err := errors.Join(p.Close(), p.Close()); err != nil {
			t.Error(err)
		}
	})
	for _, s := range p.Status() {
		if s.Err != nil {
			t.Errorf("probe %s: %+v", s.Name, s.Err)
		}
	}
	return p
}

func measured(t testing.TB, p *Probes) *Measured {
	t.Helper()
	m, err := p.Read()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// soon polls for what the kernel does after the call that caused it has returned.
func soon(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !condition(); {
		if time.Now().After(end) {
			t.Fatalf("%s did not come", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// Goal: a value falls into the same bucket in C as in Go, bounds included. Method: the C function runs on
// each bound and its neighbours.
func TestPrivHistogramSlots(t *testing.T) {
	testenv.Need(t, unix.CAP_BPF, unix.CAP_PERFMON)
	spec, err := loadProbe()
	check(t, err)
	loaded, err := ebpf.NewCollection(alone(spec, "try_hist_slot"))
	check(t, err)
	defer loaded.Close()
	slot := func(v uint64) int {
		got, err := loaded.Programs["try_hist_slot"].Run(&ebpf.RunOptions{Context: [1]uint64{v}})
		check(t, err)
		return int(got)
	}
	var h Histogram
	f := func(v uint64, want int) {
		t.Helper()
		if got := slot(v); got != want {
			t.Errorf("%d is in bucket %d, want %d", v, got, want)
		}
	}
	f(0, 0)
	for i := range HistogramBuckets - 1 {
		low, high := h.Bounds(i)
		f(low+1, i)
		f(high-1, i)
		f(high, i)
		f(high+1, i+1)
	}
	f(^uint64(0), HistogramBuckets-1)
}

// nap lets the calling thread wait in the kernel, which Go's own sleep does not.
func nap(t testing.TB) {
	t.Helper()
	pause := unix.NsecToTimespec(int64(time.Millisecond))
	if err := unix.Nanosleep(&pause, nil); err != nil && err != unix.EINTR {
		t.Fatal(err)
	}
}

// schedstat is what the kernel says of the calling thread: how long it waited for a CPU, and how often it got
// one.
func schedstat(t testing.TB) (waited, turns uint64) {
	t.Helper()
	text, err := os.ReadFile("/proc/thread-self/schedstat")
	check(t, err)
	var ran uint64
	if _, err := fmt.Sscan(string(text), &ran, &waited, &turns); err != nil {
		t.Fatalf("read %q: %v", text, err)
	}
	return waited, turns
}

// contend lets the calling thread share one CPU with another that never sleeps, until it has waited for it. A
// thread of an idle machine waits for next to nothing, which an emulated one counts as nothing.
func contend(t testing.TB) {
	t.Helper()
	var all, one unix.CPUSet
	check(t, unix.SchedGetaffinity(0, &all))
	cpu := 0
	for !all.IsSet(cpu) {
		cpu++
	}
	one.Set(cpu)
	check(t, unix.SchedSetaffinity(0, &one))
	defer unix.SchedSetaffinity(0, &all)
	var stop atomic.Bool
	ended := make(chan error)
	go func() {
		runtime.LockOSThread() // Never unlocked: the thread ends with its place.
		err := unix.SchedSetaffinity(0, &one)
		for err == nil && !stop.Load() {
		}
		ended <- err
	}()
	before, _ := schedstat(t)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if waited, _ := schedstat(t); waited-before > uint64(time.Millisecond) {
			break
		}
	}
	stop.Store(true)
	check(t, <-ended)
}

// Goal: each time a watched thread gets a CPU its wait is measured, no other thread's is, and the waits
// are what the kernel adds up. Method: a thread sleeps before and after it is watched, and has a rival. Its
// last turn has not ended when the waits are read.
func TestPrivProbeRunqueue(t *testing.T) {
	p := newProbes(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const naps = 20
	for range naps {
		nap(t)
	}
	if n := measured(t, p).Runqueue.Count(); n != 0 {
		t.Errorf("%d waits of threads that are not watched", n)
	}
	waitedBefore, turnsBefore := schedstat(t)
	check(t, p.WatchThread())
	for range naps {
		nap(t)
	}
	contend(t)
	nap(t)
	h := measured(t, p).Runqueue
	waited, turns := schedstat(t)
	waited, turns = waited-waitedBefore, turns-turnsBefore
	if n := h.Count(); n < naps || n > turns || h.Sum == 0 || h.Sum > waited {
		t.Errorf("%d waits of %d ns, want at least %d; the kernel counts %d of %d ns", n, h.Sum, naps,
			turns, waited)
	}
}

// Goal: requests of a watched thread are measured by opcode, others are not.
func TestPrivProbeIOUring(t *testing.T) {
	p := newProbes(t)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	ring, err := uring.New(uring.Config{Entries: 8})
	if errors.Is(err, uring.ErrUnavailable) {
		testenv.Skip(t, err.Error())
	}
	check(t, err)
	defer ring.Close()
	nops := func(n int) {
		t.Helper()
		for range n {
			ring.Reserve().Nop(1)
		}
		check(t, ring.Enter())
		var cqe uring.CQE
		for done := 0; done < n; {
			if ring.Next(&cqe) {
				done++
			} else {
				check(t, ring.EnterWait(int64(time.Second)))
			}
		}
	}
	nops(3)
	if all := measured(t, p).IOUring; len(all) != 0 {
		t.Errorf("requests of a thread that is not watched: %v", all)
	}
	check(t, p.WatchThread())
	nops(5)
	all := measured(t, p).IOUring
	if len(all) != 1 || all[0] == nil || all[0].Count() != 5 || OpcodeName(0) != "nop" {
		t.Errorf("requests %v, want 5 of opcode 0 alone", all)
	}
	var key uint32
	var value probeRequest
	for all := p.maps.Requests.Iterate(); all.Next(&key, &value); {
		if value.Address != 0 {
			t.Errorf("a request is still under way: %+v", value)
		}
	}
}

// acceptor listens in the gateway's namespace and echoes what comes.
func acceptor(t *testing.T, lab *testenv.Lab, at net.IP) (address netip.AddrPort) {
	t.Helper()
	check(t, lab.Gateway.Do(func() error {
		listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: at})
		if err != nil {
			return err
		}
		t.Cleanup(func() { listener.Close() })
		address = listener.Addr().(*net.TCPAddr).AddrPort()
		go func() {
			for conn, err := listener.Accept(); err == nil; conn, err = listener.Accept() {
				go func() {
					defer conn.Close()
					one := make([]byte, 1)
					for n, err := conn.Read(one); err == nil && n == 1; n, err = conn.Read(one) {
						conn.Write(one)
					}
				}()
			}
		}()
		return nil
	}))
	return netip.AddrPortFrom(address.Addr().Unmap(), address.Port())
}

// Goal: connections to a sink are measured from the first segment to retransmissions, in both families; those
// to another port, or to the same address from another namespace, are not. Method: through the lab's veth; a
// retransmission is made by taking the peer's address away.
func TestPrivProbeTCP(t *testing.T) {
	lab := testenv.NewLab(t, 1)
	for name, at := range map[string]net.IP{"IPv4": lab.GatewayIPv4, "IPv6": lab.GatewayIPv6} {
		t.Run(name, func(t *testing.T) {
			p := newProbes(t)
			watched, other := acceptor(t, lab, at), acceptor(t, lab, at)
			check(t, lab.Sender.Do(func() error { return p.WatchSink(watched) }))
			dial := func(from *testenv.Namespace, to netip.AddrPort) (conn net.Conn) {
				t.Helper()
				check(t, from.Do(func() (err error) {
					conn, err = net.DialTimeout("tcp", to.String(), 10*time.Second)
					return err
				}))
				t.Cleanup(func() { conn.Close() })
				one := make([]byte, 1)
				for range 10 {
					if _, err := conn.Write(one); err != nil {
						t.Fatal(err)
					}
					if _, err := conn.Read(one); err != nil {
						t.Fatal(err)
					}
				}
				return conn
			}
			dial(lab.Sender, other)
			dial(lab.Gateway, watched)
			if m := measured(t, p); m.TCPConnect.Count()+m.TCPRTT.Count() != 0 {
				t.Errorf("%d connections and %d segments that are not to the sink",
					m.TCPConnect.Count(), m.TCPRTT.Count())
			}
			conn := dial(lab.Sender, watched)
			m := measured(t, p)
			if m.TCPConnect.Count() != 1 || m.TCPConnect.Sum == 0 || m.TCPRTT.Count() < 10 ||
				m.TCPRetransmits != 0 {
				t.Errorf("%d connections of %d ns, %d round trips, %d retransmissions, want 1, 10 or more, 0",
					m.TCPConnect.Count(), m.TCPConnect.Sum, m.TCPRTT.Count(), m.TCPRetransmits)
			}
			changeAddress(t, lab, at, netlink.AddrDel)
			conn.Write([]byte{1})
			soon(t, "a retransmission", func() bool { return measured(t, p).TCPRetransmits > 0 })
			changeAddress(t, lab, at, netlink.AddrAdd)
		})
	}
}

// changeAddress takes an address from the gateway's interface, or gives it back.
func changeAddress(t *testing.T, lab *testenv.Lab, address net.IP,
	change func(netlink.Link, *netlink.Addr) error) {
	t.Helper()
	bits := 64
	if address.To4() != nil {
		address, bits = address.To4(), 24
	}
	check(t, lab.Gateway.Do(func() error {
		on, err := netlink.LinkByName(lab.GatewayInterface)
		if err != nil {
			return err
		}
		return change(on, &netlink.Addr{Flags: unix.IFA_F_NODAD,
			IPNet: &net.IPNet{IP: address, Mask: net.CIDRMask(bits, len(address)*8)}})
	}))
}

// Goal: polls, softirqs, drops and failed redirects of our interface are counted with their reasons, and
// those of another one are not. Method: the gateway's end of the veth is watched; to its other end nothing is
// attached. A redirect fails since the socket of the queue is bound to no interface.
func TestPrivProbeInterface(t *testing.T) {
	lab := testenv.NewLab(t, 1)
	p := newProbes(t)
	s, err := LoadSteer(SteerConfig{QueuesMax: 1})
	check(t, err)
	defer s.Close()
	check(t, lab.Gateway.Do(func() error {
		on, err := netlink.LinkByName(lab.GatewayInterface)
		if err != nil {
			return err
		}
		attached, err := link.AttachXDP(link.XDPOptions{
			Program: s.Program(), Interface: on.Attrs().Index, Flags: link.XDPDriverMode,
		})
		if err != nil {
			return err
		}
		t.Cleanup(func() { attached.Close() })
		unbound := newTestSocket(t)
		// An index of nobody first, as before an interface is made anew.
		return errors.Join(s.SetMAC([6]byte(on.Attrs().HardwareAddr)), s.SetXSK(0, unbound.fd),
			p.WatchInterface("gw0", 9999), p.WatchInterface("gw0", on.Attrs().Index))
	}))
	v4, _ := netip.AddrFromSlice(lab.GatewayIPv4.To4())
	check(t, s.SetListeners([]Listener{{ID: 3, Port: ourPort, Addresses: []netip.Addr{v4}}}))
	check(t, s.SetRedirect(true))
	s.Heartbeats()[0].Store(nowMonotonic(t))

	const packets = 20
	for range packets {
		send(t, lab, lab.GatewayIPv4, ourPort, "x v=1")
		send(t, lab, lab.GatewayIPv4, ourPort+1, "nobody listens")
	}
	want := InterfaceEvent{"gw0", "no_socket"}
	soon(t, "drops for want of a socket", func() bool { return measured(t, p).PacketDrops[want] >= packets })
	m := measured(t, p)
	napi := m.NAPI["gw0"]
	if napi.Packets < 2*packets || napi.Polls == 0 || napi.Polls > napi.Packets {
		t.Errorf("NAPI counts %+v, want %d packets or more", napi, 2*packets)
	}
	if m.NAPIPoll.Count() == 0 || m.Softirq.Count() == 0 || m.Softirq.Sum < m.NAPIPoll.Sum/2 {
		t.Errorf("%d polls of %d ns in %d softirqs of %d ns", m.NAPIPoll.Count(), m.NAPIPoll.Sum,
			m.Softirq.Count(), m.Softirq.Sum)
	}
	if seen := happened(m.RedirectErrors); len(seen) != 1 || seen[InterfaceEvent{"gw0", "ENXIO"}] != packets {
		t.Errorf("redirect errors %v, want %d ENXIO", seen, packets)
	}
	for event := range m.PacketDrops {
		if event.Interface != "gw0" || strings.Contains(event.What, "consumed") {
			t.Errorf("a drop of %+v", event)
		}
	}
	if entries := p.maps.Interfaces.Iterate(); true {
		var key probeInterfaceKey
		var value uint32
		for n := 0; entries.Next(&key, &value); n++ {
			if n > 0 || key.Ifindex == 9999 {
				t.Errorf("an old interface is still watched: %+v", key)
			}
		}
	}
}

// Goal: what is sampled counts for all that happened: it comes in whole steps, and about as much of it as
// there was. Method: segments, of which nothing else is counted; chance is given room for seven deviations.
func TestPrivProbesSample(t *testing.T) {
	lab := testenv.NewLab(t, 1)
	const bits, echoes = 3, 4000
	exact, p := newProbes(t), sampling(t, bits)
	sink := acceptor(t, lab, lab.GatewayIPv4)
	var conn net.Conn
	check(t, lab.Sender.Do(func() (err error) {
		if err := errors.Join(exact.WatchSink(sink), p.WatchSink(sink)); err != nil {
			return err
		}
		conn, err = net.DialTimeout("tcp", sink.String(), 10*time.Second)
		return err
	}))
	defer conn.Close()
	one := make([]byte, 1)
	for range echoes {
		if _, err := conn.Write(one); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(one); err != nil {
			t.Fatal(err)
		}
	}
	all, some := measured(t, exact).TCPRTT.Count(), measured(t, p).TCPRTT.Count()
	// Each sample stands for 2^bits. Gaps that have a most deviate less than a binomial number.
	deviation := math.Sqrt(float64(all) * (1<<bits - 1))
	if all < echoes || some%(1<<bits) != 0 || math.Abs(float64(some)-float64(all)) > 7*deviation {
		t.Errorf("%d samples of %d segments, with a deviation of %.0f", some, all, deviation)
	}
}

// Goal: what an XDP program does wrong on our interface is counted by its action, and on another one it is
// not. Method: programs that give up, and that return what is no action.
func TestPrivProbeXDPException(t *testing.T) {
	lab := testenv.NewLab(t, 1)
	p := newProbes(t)
	attach := func(in *testenv.Namespace, name string, action int32) (index int, detach func() error) {
		t.Helper()
		program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "GPL",
			Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, action), asm.Return()}})
		check(t, err)
		defer program.Close()
		check(t, in.Do(func() error {
			on, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			index = on.Attrs().Index
			attached, err := link.AttachXDP(link.XDPOptions{Program: program, Interface: index,
				Flags: link.XDPDriverMode})
			if err == nil {
				detach = attached.Close
			}
			return err
		}))
		return index, detach
	}
	index, detach := attach(lab.Gateway, lab.GatewayInterface, 0)
	check(t, lab.Gateway.Do(func() error { return p.WatchInterface("gw0", index) }))
	// The other end: what comes back to it is dropped the same way, and is nobody's.
	_, detachOther := attach(lab.Sender, lab.SenderInterface, 0)
	const packets = 10
	for range packets {
		send(t, lab, lab.GatewayIPv4, ourPort, "x v=1")
	}
	aborted, other := InterfaceEvent{"gw0", "aborted"}, InterfaceEvent{"gw0", otherEvent}
	soon(t, "exceptions", func() bool { return measured(t, p).XDPExceptions[aborted] > 0 })
	check(t, errors.Join(detach(), detachOther()))
	_, detach = attach(lab.Gateway, lab.GatewayInterface, 77)
	soon(t, "exceptions of no action", func() bool {
		send(t, lab, lab.GatewayIPv4, ourPort, "x v=1")
		return measured(t, p).XDPExceptions[other] > 0
	})
	check(t, detach())
	seen := happened(measured(t, p).XDPExceptions)
	if len(seen) != 2 || seen[aborted] == 0 || seen[other] == 0 {
		t.Errorf("exceptions %v, want those of gw0 alone", seen)
	}
}

// happened are the events that came at all: those that may come are counted from the start, with 0.
func happened(events map[InterfaceEvent]uint64) map[InterfaceEvent]uint64 {
	seen := maps.Clone(events)
	maps.DeleteFunc(seen, func(_ InterfaceEvent, n uint64) bool { return n == 0 })
	return seen
}

// Goal: a probe that lacks one tracepoint is off as a whole and says so, and the others measure; what is
// excepted is not attached; a wrong name is an error.
func TestPrivProbesFailAlone(t *testing.T) {
	testenv.Need(t, unix.CAP_BPF, unix.CAP_PERFMON)
	spec, err := loadProbe()
	check(t, err)
	spec.Programs["segment_comes"].AttachTo = "no_such_tracepoint"
	// The other program of this probe would attach.
	spec.Programs["request_ends"].AttachTo = "no_such_tracepoint"
	p, err := openProbes(spec, []string{"softirq"})
	check(t, err)
	defer p.Close()
	for _, s := range p.Status() {
		switch s.Name {
		case "tcp_rtt", "io_uring":
			if s.On || s.Err == nil || !strings.Contains(s.Err.Error(), "no_such_tracepoint") {
				t.Errorf("%+v", s)
			}
		case "softirq":
			if s.On || s.Err != nil {
				t.Errorf("%+v", s)
			}
		default:
			if !s.On || s.Err != nil {
				t.Errorf("%+v", s)
			}
		}
	}
	// Of twelve, without io_uring's two and the one that has no tracepoint; napi_poll needs softirq's, too.
	if len(p.attached) != 9 {
		t.Errorf("%d programs are attached, want 9", len(p.attached))
	}
	if _, err := OpenProbes([]string{"napi"}); err == nil || !strings.Contains(err.Error(), `"napi"`) {
		t.Errorf("a wrong name: %v", err)
	}
	check(t, p.Close())
	_, err = p.Read()
	for _, err := range []error{err, p.WatchThread(), p.WatchInterface("x", 1),
		p.WatchSink(netip.MustParseAddrPort("127.0.0.1:1"))} {
		if !errors.Is(err, os.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
}
