package xsk

import (
	"testing"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Goal: packets of two queues reach the socket of their queue, in order, with the metadata that the program
// wrote.
func TestPrivReceiveOnTwoQueues(t *testing.T) {
	for _, mode := range []Mode{Auto, Copy} {
		t.Run(mode.String(), func(t *testing.T) {
			r := newRig(t, link.XDPDriverMode)
			config := receiving
			config.Mode = mode
			var sockets []*Socket
			for queue := range 2 {
				sockets = append(sockets, r.openGateway(queue, 64, config))
			}
			// More packets than frames: each frame goes round several times.
			for from := 0; from < 300; from += 30 {
				for queue, s := range sockets {
					r.send(queue, from, from+30)
					r.receive(s, queue, from, from+30)
				}
			}
			for _, s := range sockets {
				r.expectClean(s)
			}
		})
	}
}

// Goal: a program in generic mode feeds the same sockets. Method: one queue, since a veth without a program
// of its driver does not record the queue in what it passes on, and generic mode then takes queue 0.
func TestPrivReceiveGeneric(t *testing.T) {
	r := newRig(t, link.XDPGenericMode)
	config := receiving
	config.Mode = Copy
	s := r.openGateway(0, 64, config)
	for from := 0; from < 300; from += 30 {
		r.send(from/30%2, from, from+30)
		r.receive(s, 0, from, from+30)
	}
	r.expectClean(s)
}

// expectClean fails unless all frames of a socket are where they belong and the kernel dropped nothing.
func (r *rig) expectClean(s *Socket) {
	r.t.Helper()
	if s.ZeroCopy() {
		r.t.Fatal("a veth has no zero copy")
	}
	if f := s.Frames(); f.Sum() != 64 || f.Worker != 0 || f.RX != 0 {
		r.t.Fatalf("%+v", f)
	}
	if statistics, err := s.Statistics(); err != nil || statistics != (Statistics{}) {
		r.t.Fatalf("%+v, %v", statistics, err)
	}
}

// Goal: the socket becomes readable when a packet comes, and is not before.
func TestPrivPoll(t *testing.T) {
	r := newRig(t, link.XDPDriverMode)
	s := r.openGateway(0, 64, receiving)
	poll := func(timeout int) int {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(s.FD()), Events: unix.POLLIN}}, timeout)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if poll(0) != 0 {
		t.Fatal("readable without a packet")
	}
	r.send(0, 0, 1)
	if poll(int(testTimeout.Milliseconds())) != 1 {
		t.Fatal("not readable with a packet")
	}
	r.receive(s, 0, 0, 1)
	if poll(0) != 0 {
		t.Fatal("readable after the packet was taken")
	}
}

// Goal: without frames the kernel drops and counts, once per packet, and goes on when frames come back.
func TestPrivFillStarvation(t *testing.T) {
	r := newRig(t, link.XDPDriverMode)
	s := r.openGateway(0, 8, receiving)
	r.send(0, 0, 20)
	var statistics Statistics
	eventually(t, "12 of 20 packets are dropped", func() (done bool) {
		var err error
		if statistics, err = s.Statistics(); err != nil {
			t.Fatal(err)
		}
		return statistics.Drops() >= 12
	})
	if statistics.Drops() != 12 || statistics.RXDropped != 12 || statistics.RXRingFull != 0 {
		t.Fatalf("%+v", statistics)
	}
	if f := s.Frames(); f != (Frames{RX: 8}) {
		t.Fatalf("starved: %+v", f)
	}
	r.receive(s, 0, 0, 8)
	r.send(0, 100, 105)
	r.receive(s, 0, 100, 105)
	if statistics, err := s.Statistics(); err != nil || statistics.Drops() != 12 {
		t.Fatalf("afterwards: %+v, %v", statistics, err)
	}
	if f := s.Frames(); f.Sum() != 8 || f.Fill+f.Kernel != 8 {
		t.Fatalf("afterwards: %+v", f)
	}
}

// Goal: packets for which the RX ring has no slot are counted as such, and their frames are not lost.
func TestPrivRXRingFull(t *testing.T) {
	r := newRig(t, link.XDPDriverMode)
	s := r.openGateway(0, 16, Config{FillSize: 16, RXSize: 4})
	r.send(0, 0, 20)
	eventually(t, "16 of 20 packets are dropped", func() bool {
		statistics, err := s.Statistics()
		if err != nil {
			t.Fatal(err)
		}
		return statistics.RXRingFull == 16 && statistics.Drops() == 16
	})
	r.receive(s, 0, 0, 4)
	for from := 100; from < 140; from += 4 {
		r.send(0, from, from+4)
		r.receive(s, 0, from, from+4)
	}
	if f := s.Frames(); f.Sum() != 16 || f.RX != 0 || f.Worker != 0 {
		t.Fatalf("%+v", f)
	}
}
