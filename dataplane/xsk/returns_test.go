package xsk

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
)

// joinPlain makes a socket that joined one over plain memory, with a ring of its own that the test fills.
func joinPlain(t testing.TB, first *Socket, slots int, start uint32) (*Socket, *plainRing[Desc]) {
	t.Helper()
	first.returns = append(first.returns, newReturnRing(first.frames.count))
	back := first.returns[len(first.returns)-1]
	back.produced.Store(start)
	back.consumed.Store(start)
	s := &Socket{fd: -1, back: back, frames: frames{
		umem: first.frames.umem, size: first.frames.size, count: first.frames.count,
		holders: first.frames.holders,
	}}
	ring := newPlainRing[Desc](slots, start)
	var err error
	if s.rx, err = newRXRing(ring.memory, plainOffset, slots); err != nil {
		t.Fatal(err)
	}
	return s, &ring
}

// Goal: frames that joined sockets free come back to the fill ring, each once, and every frame has a holder
// at each step. Method: the test plays the kernel, which deals packets out to three sockets in turn; the
// return rings wrap at 2³².
func TestReturns(t *testing.T) {
	const frames = 16
	for _, start := range starts {
		s, k := newPlain(t, plainConfig{frames: frames, fill: 16, rx: 16, tx: 1, completion: 1, start: start})
		one, oneRing := joinPlain(t, s, 16, start)
		two, twoRing := joinPlain(t, s, 16, start)
		own, into := k.rx, make([]Desc, 5)
		for n := range 500 {
			socket := []*Socket{s, one, two}[n%3]
			k.rx = []plainRing[Desc]{own, *oneRing, *twoRing}[n%3]
			text := fmt.Sprintf("packet %d", n)
			if !k.arrive(nil, []byte(text)) {
				t.Fatalf("start %d: no frame for packet %d: %+v", start, n, s.Frames())
			}
			if got := socket.Receive(into); got != 1 || string(socket.Packet(into[0])) != text {
				t.Fatalf("start %d: received %d packets, want %q", start, got, text)
			}
			if f := s.Frames(); f.Sum() != frames || one.Frames().Worker+two.Frames().Worker+f.Worker != 1 {
				t.Fatalf("start %d: %+v", start, f)
			}
			socket.Free(into[:1])
			if socket != s && socket.Owed() == 0 {
				t.Fatalf("start %d: a freed frame is not on its way back", start)
			}
			if n%7 != 0 {
				continue
			}
			owed := one.Owed() + two.Owed()
			if s.Frames().Returns != owed || s.Returned() != max(one.Owed(), two.Owed()) {
				t.Fatalf("start %d: %+v, %d owed", start, s.Frames(), owed)
			}
			if got := s.TakeReturns(); got != owed || s.Returned() != 0 {
				t.Fatalf("start %d: %d frames came back, want %d", start, got, owed)
			}
		}
		s.TakeReturns()
		s.frames.check()
		if f := s.Frames(); f.Fill+f.Kernel != frames {
			t.Fatalf("start %d: %+v", start, f)
		}
	}
}

// Goal: two threads need no lock. Method: one frees what the other takes back, as fast as both can; verify
// builds check each frame's holder, and the race detector the slots.
func TestReturnsByTwoThreads(t *testing.T) {
	const frames, packets = 64, 20000
	s, k := newPlain(t, plainConfig{frames: frames, fill: 64, rx: 64, tx: 1, completion: 1})
	member, ring := joinPlain(t, s, 64, 0)
	k.rx = *ring
	var received atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		into := make([]Desc, 16)
		for received.Load() < packets {
			n := member.Receive(into)
			member.Free(into[:n])
			received.Add(int64(n))
			if n == 0 {
				runtime.Gosched()
			}
		}
	}()
	for sent := 0; sent < packets; {
		if k.arrive(nil, []byte("packet")) {
			sent++
			continue
		}
		s.TakeReturns()
		runtime.Gosched()
	}
	<-done
	s.TakeReturns()
	s.frames.check()
	if f := s.Frames(); f.Fill+f.Kernel != frames || member.Frames().Worker != 0 {
		t.Fatalf("%+v, %+v", f, member.Frames())
	}
}
