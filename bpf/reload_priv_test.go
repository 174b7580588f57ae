package bpf

import (
	"net/netip"
	"runtime"
	"sync"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"culvert/bpf/abi"
)

// entries counts what is in a table.
func entries(t *testing.T, m *ebpf.Map) (n int) {
	t.Helper()
	var key []byte
	var value []byte
	all := m.Iterate()
	for all.Next(&key, &value) {
		n++
	}
	if err := all.Err(); err != nil {
		t.Fatal(err)
	}
	return n
}

// Goal: a reload loses no packet of what stays, lets no forbidden sender in, and leaves nothing behind.
// Method: while one goroutine swaps two sets of listeners, which share one listener, packets run whose
// verdict must never change, and one whose verdict may be that of either set only.
func TestPrivReload(t *testing.T) {
	addresses := []netip.Addr{ourV4, ourV6}
	allowed := []netip.Prefix{netip.MustParsePrefix("10.2.0.0/16"), netip.MustParsePrefix("fd00:2::/32")}
	stays := Listener{ID: 1, Port: ourPort, Addresses: addresses, Sources: allowed}
	forbidden := netip.MustParseAddr("192.0.2.1")
	// Listener 2 changes its port, and who may send: at no time may the forbidden one send to port 2000.
	strict := Listener{ID: 2, Port: 2000, Addresses: addresses, Sources: allowed}
	open := Listener{ID: 2, Port: 3000, Addresses: addresses,
		Sources: []netip.Prefix{netip.PrefixFrom(forbidden, 32)}}
	s := newSteer(t, stays, strict)

	to := func(from netip.Addr, port uint16) []byte {
		f := telemetry4().with(func(f *frame) { f.from, f.port = from, port })
		return f.bytes()
	}
	good, bad := to(sendV4, ourPort), to(forbidden, ourPort)
	toStrict, toOpen := to(forbidden, 2000), to(forbidden, 3000)
	stop := make(chan struct{})
	var packets sync.WaitGroup
	packets.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			if action, _, _ := run(t, s, good); action != xdpRedirect {
				t.Errorf("a packet of the listener that stays got action %d", action)
				return
			}
			for _, packet := range [][]byte{bad, toStrict} {
				if action, _, _ := run(t, s, packet); action == xdpRedirect {
					t.Errorf("a forbidden sender was let in: %x", packet)
					return
				}
			}
			if action, _, _ := run(t, s, toOpen); action == xdpDrop {
				t.Error("an allowed sender of a new listener was refused")
				return
			}
		}
	})
	for range 10 {
		check(t, s.SetListeners([]Listener{open, stays}))
		check(t, s.SetListeners([]Listener{stays, strict}))
	}
	close(stop)
	packets.Wait()

	if n := entries(t, s.objects.Endpoints); n != 2*2+2 {
		t.Errorf("%d endpoints, want those of one generation", n)
	}
	if v4, v6 := entries(t, s.objects.SourcesV4), entries(t, s.objects.SourcesV6); v4 != 2 || v6 != 2 {
		t.Errorf("%d and %d sources, want those of one generation", v4, v6)
	}
	check(t, s.SetListeners(nil))
	expect(t, s, good, abi.NotOurs)
	if n := entries(t, s.objects.Endpoints) + entries(t, s.objects.SourcesV4); n != 0 {
		t.Errorf("%d entries of no listener", n)
	}
}

// Goal: what does not fit is refused, says how much fits, and leaves the listeners as they were; the next
// change works.
func TestPrivReloadTooLarge(t *testing.T) {
	s := newSteer(t)
	f := telemetry4()
	many := Listener{ID: 9, Port: ourPort, Addresses: []netip.Addr{ourV4}}
	for i := range uint32(s.objects.SourcesV4.MaxEntries() + 1) {
		address := netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)})
		many.Sources = append(many.Sources, netip.PrefixFrom(address, 32))
	}
	for range 2 {
		if err := s.SetListeners([]Listener{many}); err == nil {
			t.Fatal("more sources than the table takes were accepted")
		} else {
			t.Log(err)
		}
		expect(t, s, f.bytes(), abi.Redirected)
		if n := entries(t, s.objects.SourcesV4); n != 0 {
			t.Errorf("%d sources are left of a change that failed", n)
		}
	}
	many.Sources = many.Sources[:3]
	check(t, s.SetListeners([]Listener{many}))
	expect(t, s, f.bytes(), abi.Source)
}

// Goal: the generation is a byte and comes round.
func TestPrivGenerationsWrap(t *testing.T) {
	s := newSteer(t)
	f := telemetry4()
	packet := f.bytes()
	s.tables.live.generation = 254
	// What is live was written under generation 1 and would be missed: publish it anew.
	listeners := []Listener{{ID: 7, Port: ourPort, Addresses: []netip.Addr{ourV4}}}
	for range 4 {
		check(t, s.SetListeners(listeners))
		expect(t, s, packet, abi.Redirected)
	}
	if got := s.tables.live.generation; got != 2 {
		t.Errorf("generation %d, want 2", got)
	}
}

// Goal: what the program remembers of a CPU's last packet ends with the listeners that it was for.
// Method: packets for two listeners in turn, on one CPU, over so many changes that a generation's number
// comes back, during which no packet runs. The listener of an address and port is another one afterwards.
func TestPrivRecentEndpoint(t *testing.T) {
	runtime.LockOSThread() // Never unlocked: the thread ends with the goroutine, and its affinity with it.
	var first unix.CPUSet
	first.Set(0)
	check(t, unix.SchedSetaffinity(0, &first))
	one := Listener{ID: 1, Port: ourPort, Addresses: []netip.Addr{ourV4, ourV6}}
	two := Listener{ID: 2, Port: ourPort + 1, Addresses: []netip.Addr{ourV4}}
	s := newSteer(t, one, two)
	next := func(f *frame) { f.port = ourPort + 1 }
	listener := func(f frame, want uint16) {
		t.Helper()
		meta, ok := abi.ReadMeta(expect(t, s, f.bytes(), abi.Redirected))
		if !ok || meta.Listener != want {
			t.Fatalf("a packet has metadata %+v, %t; want listener %d", meta, ok, want)
		}
	}
	for range 2 {
		for _, f := range []frame{telemetry4(), telemetry4(), telemetry6()} {
			listener(f, 1)
		}
		listener(telemetry4().with(next), 2)
		listener(telemetry4().with(next), 2)
	}
	one.ID, two.ID = 3, 4
	check(t, s.SetListeners([]Listener{one, two}))
	listener(telemetry4().with(next), 4)
	listener(telemetry4(), 3)
	generation := s.tables.live.generation
	one.ID = 5
	for range 256 {
		check(t, s.SetListeners([]Listener{one}))
	}
	if s.tables.live.generation != generation {
		t.Fatalf("generation %d, want %d again", s.tables.live.generation, generation)
	}
	listener(telemetry4(), 5)
	first4, second4 := telemetry4(), telemetry4().with(next)
	expect(t, s, second4.bytes(), abi.NotOurs)
	check(t, s.SetListeners(nil))
	expect(t, s, first4.bytes(), abi.NotOurs)
}
