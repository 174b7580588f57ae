package uring

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// newRing makes a ring on this test's thread or skips where io_uring is refused.
func newRing(t testing.TB, entries int) *Ring {
	t.Helper()
	// Never unlocked: the ring belongs to this thread, which ends with the test.
	runtime.LockOSThread()
	r, err := New(Config{Entries: entries})
	if errors.Is(err, ErrUnavailable) {
		testenv.Skip(t, err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Errorf("closing again: %v", err)
		}
	})
	return r
}

// wait takes the next completion; none for ten seconds is a failure.
func wait(t testing.TB, r *Ring) CQE {
	t.Helper()
	var cqe CQE
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if r.Next(&cqe) {
			return cqe
		}
		if err := r.EnterWait(int64(time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	t.Fatal("no completion came")
	return cqe
}

// memory is outside of the Go heap, as everything is that the kernel is shown.
func memory(t testing.TB, size int) []byte {
	t.Helper()
	m, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(m) })
	return m
}

// pair is a connected pair of sockets: a raw descriptor for the ring and a connection for the test.
func pair(t testing.TB) (int, net.Conn) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	address := &unix.SockaddrInet4{Port: listener.Addr().(*net.TCPAddr).Port, Addr: [4]byte{127, 0, 0, 1}}
	if err := unix.Connect(fd, address); err != nil {
		t.Fatal(err)
	}
	peer, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	return fd, peer
}

// Goal: more operations than the ring holds all complete. Method: Room enters the kernel when the ring is
// full.
func TestManyOperations(t *testing.T) {
	r := newRing(t, 8)
	const count = 1000
	var seen uint64
	var cqe CQE
	for i := range uint64(count) {
		if !r.Room(1) {
			t.Fatalf("no room for operation %d", i)
		}
		r.Reserve().Nop(i)
		for r.Next(&cqe) {
			if cqe.Token != seen {
				t.Fatalf("completion %d, want %d", cqe.Token, seen)
			}
			seen++
		}
	}
	for ; seen < count; seen++ {
		if cqe := wait(t, r); cqe.Token != seen {
			t.Fatalf("completion %d, want %d", cqe.Token, seen)
		}
	}
	if r.NeedsEnter() {
		t.Fatal("an idle ring asks to be entered")
	}
}

// Goal: completions that do not fit into the ring come nevertheless. Method: more are submitted than the
// completion ring holds before one is taken.
func TestCompletionOverflow(t *testing.T) {
	r := newRing(t, 8)
	const count = 200
	for i := range uint64(count) {
		for !r.Room(1) {
			t.Fatalf("no room for operation %d", i)
		}
		r.Reserve().Nop(i)
	}
	seen := map[uint64]bool{}
	for len(seen) < count {
		cqe := wait(t, r)
		if seen[cqe.Token] {
			t.Fatalf("completion %d came twice", cqe.Token)
		}
		seen[cqe.Token] = true
	}
}

func TestSendAndReceive(t *testing.T) {
	r := newRing(t, 8)
	fd, peer := pair(t)
	m := memory(t, 1<<16)
	into, head, body := m[:4096], m[4096:4106], m[8192:8192+40000]
	copy(head, "the head: ")
	for i := range body {
		body[i] = byte(i * 7)
	}
	r.Reserve().Recv(fd, into, 1)
	e := r.Reserve()
	e.Send(fd, head, unix.MSG_MORE|unix.MSG_WAITALL, 2)
	e.Link()
	r.Reserve().Send(fd, body, unix.MSG_WAITALL, 3)
	if cqe := wait(t, r); cqe.Token != 2 || cqe.Result != 10 {
		t.Fatalf("sending the head: %+v", cqe)
	}
	if cqe := wait(t, r); cqe.Token != 3 || cqe.Result != int32(len(body)) {
		t.Fatalf("sending the body: %+v", cqe)
	}
	got := make([]byte, len(head)+len(body))
	if _, err := io.ReadFull(peer, got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[:10], head) || !bytes.Equal(got[10:], body) {
		t.Fatal("the peer read something else")
	}
	if _, err := peer.Write([]byte("answer")); err != nil {
		t.Fatal(err)
	}
	if cqe := wait(t, r); cqe.Token != 1 || string(into[:cqe.Result]) != "answer" {
		t.Fatalf("receiving: %+v", cqe)
	}
}

// Goal: a zero-copy send completes, notifies, and says that loopback copies. Method: from a registered buffer
// and from another one.
func TestSendZC(t *testing.T) {
	r := newRing(t, 8)
	if !r.ZeroCopy() {
		t.Fatal("the kernel knows no SEND_ZC although 6.1 is required")
	}
	fd, peer := pair(t)
	registered, other := memory(t, 1<<16), memory(t, 1<<16)
	if err := r.RegisterBuffers(registered); err != nil {
		t.Fatal(err)
	}
	if !r.Registered(registered[100:]) || r.Registered(other) {
		t.Fatal("Registered names the wrong memory")
	}
	go io.Copy(io.Discard, peer)
	for user, body := range [][]byte{registered[4096:], other} {
		r.SendZC(r.Reserve(), fd, body, unix.MSG_WAITALL, uint64(user))
		cqe := wait(t, r)
		if cqe.Token != uint64(user) || cqe.Result != int32(len(body)) || cqe.Flags&More == 0 {
			t.Fatalf("sending: %+v", cqe)
		}
		cqe = wait(t, r)
		if cqe.Token != uint64(user) || cqe.Flags&Notification == 0 || cqe.Errno() != 0 {
			t.Fatalf("notification: %+v", cqe)
		}
		if testenv.AtLeast(6, 2) && !cqe.Copied() {
			t.Fatalf("loopback did not copy: %+v", cqe)
		}
	}
}

func TestCancel(t *testing.T) {
	r := newRing(t, 8)
	fd, _ := pair(t)
	m := memory(t, 4096)
	r.Reserve().Recv(fd, m, 1)
	if err := r.Enter(); err != nil {
		t.Fatal(err)
	}
	r.Reserve().CancelFD(fd, 2)
	results := map[uint64]int32{}
	for range 2 {
		cqe := wait(t, r)
		results[cqe.Token] = cqe.Result
	}
	if results[1] != -int32(unix.ECANCELED) || results[2] != 1 {
		t.Fatalf("results %v: want the receive cancelled and one found", results)
	}
}

// Goal: EnterWait gives up in time when nothing comes, and an empty wait is no error.
func TestWaitEnds(t *testing.T) {
	r := newRing(t, 8)
	if err := r.EnterWait(int64(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var cqe CQE
	if r.Next(&cqe) {
		t.Fatalf("a completion out of nowhere: %+v", cqe)
	}
}

func TestOtherThreadIsRefused(t *testing.T) {
	r := newRing(t, 8)
	if r.flags&setupSingleIssuer == 0 {
		t.Fatal("the kernel has no SINGLE_ISSUER although 6.1 is required")
	}
	failed := make(chan error)
	go func() {
		runtime.LockOSThread()
		failed <- r.Enter()
	}()
	if err := <-failed; !errors.Is(err, unix.EEXIST) {
		t.Fatalf("another thread's Enter: %v, want EEXIST", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	for _, c := range []Config{{}, {Entries: -1}, {Entries: 8, CompletionEntries: -1}, {Entries: 1 << 20}} {
		if r, err := New(c); err == nil {
			r.Close()
			t.Errorf("%+v is accepted", c)
		}
	}
}

func TestLoopDoesNotAllocate(t *testing.T) {
	r := newRing(t, 8)
	var cqe CQE
	n := testing.AllocsPerRun(100, func() {
		r.Reserve().Nop(1)
		if r.NeedsEnter() {
			_ = r.Enter()
		}
		for r.Next(&cqe) {
		}
	})
	if n != 0 {
		t.Fatalf("%v allocations a turn", n)
	}
}
