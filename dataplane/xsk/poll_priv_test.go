package xsk

import (
	"testing"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Goal: the kernel is told to poll and told to leave off, and a socket that polls receives everything, before
// and after. Method: the options as the kernel gives them back.
func TestPrivBusyPoll(t *testing.T) {
	r := newRig(t, link.XDPDriverMode)
	s := r.openGateway(0, 64, receiving)
	f := func(prefer, usecs int) {
		t.Helper()
		for option, want := range map[int]int{unix.SO_PREFER_BUSY_POLL: prefer, unix.SO_BUSY_POLL: usecs} {
			if got, err := unix.GetsockoptInt(s.FD(), unix.SOL_SOCKET, option); err != nil || got != want {
				t.Fatalf("option %d is %d, want %d: %v", option, got, want, err)
			}
		}
	}
	f(0, 0)
	if err := s.SetBusyPoll(32, 50); err != nil {
		t.Fatal(err)
	}
	f(1, 50)
	for number := 0; number < 200; number += 20 {
		r.send(0, number, number+20)
		s.Poll()
		if n := s.Waiting(); n < 0 || n > 20 {
			t.Fatalf("%d packets wait", n)
		}
		r.receive(s, 0, number, number+20)
	}
	if err := s.EndBusyPoll(); err != nil {
		t.Fatal(err)
	}
	f(0, 0)
	r.send(0, 200, 220)
	r.receive(s, 0, 200, 220)
	r.expectClean(s)
}
