package uring

import (
	"encoding/binary"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Goal: a thread that sleeps on several descriptors is woken by what the ring has for it, each time anew.
// Method: a receive that can only complete while the thread sleeps, over and over.
func TestSleeperIsWoken(t *testing.T) {
	r := newRing(t, 8)
	event, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(event)
	if err := r.Announce(event); err != nil {
		t.Fatal(err)
	}
	fd, conn := pair(t)
	into := memory(t, 64)
	for i := range 20 {
		r.Reserve().Recv(fd, into, uint64(i))
		if !r.Ready() {
			t.Fatal("an operation that is queued needs no Enter")
		}
		if err := r.Enter(); err != nil {
			t.Fatal(err)
		}
		var count [8]byte
		_, _ = unix.Read(event, count[:])
		if r.Ready() {
			t.Fatal("something is ready that nobody sent")
		}
		time.AfterFunc(time.Millisecond, func() { _, _ = conn.Write([]byte("x")) })
		set := []unix.PollFd{{Fd: int32(event), Events: unix.POLLIN}}
		n, err := unix.Poll(set, 10_000)
		for err == unix.EINTR {
			n, err = unix.Poll(set, 10_000)
		}
		if n != 1 || !r.Ready() {
			t.Fatalf("round %d: the sleeper was not woken: %d, %v", i, n, err)
		}
		if n, err := unix.Read(event, count[:]); err != nil || binary.NativeEndian.Uint64(count[:]) == 0 {
			t.Fatalf("read the eventfd: %d, %v", n, err)
		}
		if cqe := wait(t, r); cqe.Token != uint64(i) || cqe.Result != 1 {
			t.Fatalf("%+v", cqe)
		}
	}
}
