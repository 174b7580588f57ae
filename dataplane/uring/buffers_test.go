package uring

import (
	"errors"
	"io"
	"testing"

	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// Goal: memory can be registered while sends from what was registered before are under way, and is sent from
// like that. Method: a peer that reads only afterwards, so that the first send waits for it.
func TestBuffersAreRegisteredLater(t *testing.T) {
	r := newRing(t, 8)
	if !r.ZeroCopy() {
		testenv.Skip(t, "the kernel knows no SEND_ZC, which registered memory is for")
	}
	fd, peer := pair(t)
	first, second := memory(t, 4<<20), memory(t, 1<<16)
	if err := r.RegisterBuffers(first); err != nil {
		t.Fatal(err)
	}
	if r.Registered(second) {
		t.Fatal("what was not registered is")
	}
	r.SendZC(r.Reserve(), fd, first, unix.MSG_WAITALL, 1)
	if err := r.Enter(); err != nil {
		t.Fatal(err)
	}
	if err := r.RegisterBuffers(second); err != nil {
		t.Fatal(err)
	}
	for place, m := range [][]byte{first, second} {
		if at, ok := r.buffer(m[1:]); !ok || at != place {
			t.Fatalf("memory %d is at place %d, %t", place, at, ok)
		}
	}
	go io.Copy(io.Discard, peer)
	sent := map[uint64]int32{}
	notified := map[uint64]bool{}
	for len(notified) < 2 {
		switch cqe := wait(t, r); {
		case cqe.Flags&Notification != 0:
			notified[cqe.Token] = true
		case cqe.Token == 1:
			sent[1] = cqe.Result
			r.SendZC(r.Reserve(), fd, second, unix.MSG_WAITALL, 2)
		default:
			sent[2] = cqe.Result
		}
	}
	if sent[1] != int32(len(first)) || sent[2] != int32(len(second)) {
		t.Fatalf("%v bytes were sent, want %d and %d", sent, len(first), len(second))
	}
}

// Goal: a table that is full refuses more with a reason, and what it has stays registered.
func TestBuffersAreBounded(t *testing.T) {
	r := newRing(t, 8)
	if !r.ZeroCopy() {
		testenv.Skip(t, "the kernel knows no SEND_ZC, which registered memory is for")
	}
	const page = 4096
	m := memory(t, (buffersMax+1)*page)
	for i := range buffersMax {
		if err := r.RegisterBuffers(m[i*page : (i+1)*page : (i+1)*page]); err != nil {
			t.Fatalf("buffer %d: %v", i, err)
		}
	}
	for range 2 {
		if err := r.RegisterBuffers(m[buffersMax*page:]); !errors.Is(err, errNoPlace) {
			t.Fatalf("buffer %d of %d: %v", buffersMax+1, buffersMax, err)
		}
	}
	if !r.Registered(m[:page]) || r.Registered(m[buffersMax*page:]) {
		t.Fatal("Registered names the wrong memory")
	}
}
