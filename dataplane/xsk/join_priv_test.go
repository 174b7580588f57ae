package xsk

import (
	"strings"
	"testing"

	"github.com/cilium/ebpf/link"
)

// Goal: several sockets on one queue receive out of one memory, whichever the program names; frames come back
// through the first one; they close in any number of rounds, and the queue is free afterwards. Method: more
// packets than frames to each in turn.
func TestPrivJoin(t *testing.T) {
	r := newRig(t, link.XDPDriverMode)
	const frames = 64
	for range 3 {
		config := receiving
		config.Members = 2
		first := r.openGateway(0, frames, config)
		sockets := []*Socket{first}
		for member := range config.Members {
			joined := r.join(first, member)
			if joined.ZeroCopy() != first.ZeroCopy() {
				t.Fatal("the sockets of a queue differ in mode")
			}
			sockets = append(sockets, joined)
		}
		number := 0
		for range 3 {
			for _, s := range sockets {
				r.steer(0, s)
				for range 10 {
					r.send(0, number, number+10)
					r.receive(s, 0, number, number+10)
					number += 10
					first.TakeReturns()
					if err := first.Wakeup(); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
		if f := first.Frames(); f.Sum() != frames || f.Returns != 0 || f.Worker != 0 {
			t.Fatalf("%+v", f)
		}
		for _, s := range sockets {
			if statistics, err := s.Statistics(); err != nil || statistics != (Statistics{}) {
				t.Fatalf("%+v, %v", statistics, err)
			}
		}
		// What lies unread in a joined socket's ring goes with it.
		r.steer(0, sockets[2])
		r.send(0, 0, 5)
		for i := len(sockets) - 1; i >= 0; i-- {
			if err := sockets[i].Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (r *rig) join(first *Socket, member int) (joined *Socket) {
	r.t.Helper()
	err := r.Gateway.Do(func() (err error) {
		joined, err = Join(first, member, 64)
		return err
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		if err := joined.Close(); err != nil {
			r.t.Error(err)
		}
	})
	return joined
}

// Goal: what cannot join says so and leaves nothing behind.
func TestPrivJoinRefused(t *testing.T) {
	r := newRig(t, link.XDPDriverMode)
	config := receiving
	config.Members = 1
	first := r.openGateway(0, 64, config)
	f := func(member, size int, want string) {
		t.Helper()
		if _, err := Join(first, member, size); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("member %d with %d slots: %v", member, size, err)
		}
	}
	f(1, 64, "member 1 of 1")
	f(-1, 64, "member -1 of 1")
	f(0, 48, "RX ring of 48 slots")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	f(0, 64, "bind")
}
