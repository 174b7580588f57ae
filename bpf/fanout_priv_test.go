package bpf

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"culvert/bpf/abi"
	"culvert/scripts/testenv"
)

// newFanout loads the program with four sockets on each of two queues, of which queue 0 has all workers alive
// and no socket yet.
func newFanout(t *testing.T, inTurn bool) *Steer {
	t.Helper()
	testenv.Need(t, unix.CAP_BPF, unix.CAP_NET_ADMIN)
	s, err := LoadSteer(SteerConfig{
		MAC: ourMAC, QueuesMax: 2, StallAfter: time.Hour, Fanout: 4, InTurn: inTurn,
	})
	check(t, err)
	t.Cleanup(func() { s.Close() })
	if s.QueuesMax() != 2 || s.Fanout() != 4 || len(s.Heartbeats()) != 8 || s.Slot(1, 2) != 6 {
		t.Fatalf("%d queues of %d sockets, %d heartbeats", s.QueuesMax(), s.Fanout(), len(s.Heartbeats()))
	}
	check(t, s.SetListeners([]Listener{{ID: 7, Port: ourPort, Addresses: []netip.Addr{ourV4, ourV6}}}))
	check(t, s.SetRedirect(true))
	for member := range 4 {
		s.Heartbeats()[s.Slot(0, member)].Store(nowMonotonic(t))
	}
	return s
}

// taken runs a packet and tells whether a socket took it.
func taken(t *testing.T, s *Steer, packet []byte) bool {
	t.Helper()
	action, _, _ := run(t, s, packet)
	return action == xdpRedirect
}

// Goal: by flow each sender has one socket of its queue, always the same, and many senders spread evenly, of
// both families. Method: one slot after the other has the only socket, and all senders send.
func TestPrivFanoutByFlow(t *testing.T) {
	s := newFanout(t, false)
	random := rand.New(rand.NewPCG(1, 2))
	const senders = 400
	packets := make([][]byte, senders)
	for i := range packets {
		f := telemetry4()
		switch from := netip.AddrFrom4([4]byte{10, 2, byte(i >> 8), byte(i)}); i % 3 {
		case 0: // One host with many ports, as one program with many connections is.
		case 1:
			f.from = from
		default:
			f = telemetry6()
			last := f.from.As16()
			last[15], last[14] = byte(i), byte(i>>8)
			f.from = netip.AddrFrom16(last)
		}
		packets[i] = f.bytes()
		if i%3 == 0 {
			packets[i][34], packets[i][35] = byte(random.Uint32()), byte(random.Uint32())
		}
	}
	var slots [senders]int
	var shares [4]int
	for member := range 4 {
		check(t, s.SetXSK(s.Slot(0, member), newTestSocket(t).fd))
		for i, packet := range packets {
			first, second := taken(t, s, packet), taken(t, s, packet)
			if first != second {
				t.Fatalf("sender %d: one packet of two went to slot %d", i, member)
			}
			if first {
				slots[i]++
				shares[member]++
			}
		}
		check(t, s.ClearXSK(s.Slot(0, member)))
	}
	for i, n := range slots {
		if n != 1 {
			t.Fatalf("sender %d has %d sockets", i, n)
		}
	}
	// 100 each; four standard deviations are 35.
	for member, n := range shares {
		if n < 65 || n > 135 {
			t.Fatalf("of %d senders slot %d has %d: %v", senders, member, n, shares)
		}
	}
}

// Goal: in turn every socket of the queue gets each fourth packet of one sender, also when one of them takes
// none.
func TestPrivFanoutInTurn(t *testing.T) {
	s := newFanout(t, true)
	for member := range 3 {
		check(t, s.SetXSK(s.Slot(0, member), newTestSocket(t).fd))
	}
	f := telemetry4()
	redirected := 0
	for range 400 {
		if taken(t, s, f.bytes()) {
			redirected++
		}
	}
	// The test may move to another CPU, where the turn is another one.
	if redirected < 290 || redirected > 310 {
		t.Fatalf("%d of 400 packets reached three of four sockets", redirected)
	}
}

// Goal: a socket whose worker is stuck gets nothing, the others go on; without the first one's worker nobody
// gets anything, because nobody would give the kernel frames.
func TestPrivFanoutStalls(t *testing.T) {
	s := newFanout(t, true)
	for member := range 4 {
		check(t, s.SetXSK(s.Slot(0, member), newTestSocket(t).fd))
	}
	f := telemetry4()
	count := func() (redirected, stalled uint64) {
		t.Helper()
		before, err := s.Verdicts()
		check(t, err)
		for range 40 {
			run(t, s, f.bytes())
		}
		after, err := s.Verdicts()
		check(t, err)
		return after[abi.Redirected] - before[abi.Redirected], after[abi.Stalled] - before[abi.Stalled]
	}
	long := uint64(2 * time.Hour) // ago, also where the machine was started since
	s.Heartbeats()[s.Slot(0, 2)].Store(nowMonotonic(t) - long)
	if redirected, stalled := count(); stalled < 8 || stalled > 12 || redirected+stalled != 40 {
		t.Fatalf("%d redirected, %d stalled", redirected, stalled)
	}
	s.Heartbeats()[s.Slot(0, 2)].Store(nowMonotonic(t))
	s.Heartbeats()[s.Slot(0, 0)].Store(nowMonotonic(t) - long)
	if redirected, stalled := count(); redirected != 0 || stalled != 40 {
		t.Fatalf("%d redirected, %d stalled without the first worker", redirected, stalled)
	}
}

// Goal: fan-outs that cannot be are refused.
func TestFanoutOutOfRange(t *testing.T) {
	for _, fanout := range []int{-1, FanoutMax + 1} {
		if _, err := LoadSteer(SteerConfig{QueuesMax: 1, Fanout: fanout}); err == nil {
			t.Errorf("%d sockets on a queue are accepted", fanout)
		}
	}
}
