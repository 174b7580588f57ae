package influx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// discard answers 204 to every request of one size without looking at it and without allocating.
func discard(t testing.TB, size int) net.Addr {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	answer := []byte("HTTP/1.1 204 No Content\r\n\r\n")
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				memory := make([]byte, 256<<10)
				for left := size; ; {
					n, err := conn.Read(memory[:min(left, len(memory))])
					if err != nil {
						return
					}
					if left -= n; left == 0 {
						left = size
						if _, err := conn.Write(answer); err != nil {
							return
						}
					}
				}
			}()
		}
	}()
	return listener.Addr()
}

// requestSize is how long a request with a body of so many bytes is.
func requestSize(config Config, body int) int {
	return len(fixedHead(&config)) + len(fmt.Sprint(body)) + 4 + body
}

// put sends one batch with this body as one point, without allocating.
func (r *rig) put(body []byte) {
	b := r.pool.Take()
	b.Extend(append(b.Body(), body...), 1, 1)
	now := r.now()
	b.Seal(now)
	r.writer.Submit(b, now)
}

// round puts one batch and waits for its outcome, without allocating.
func (r *rig) round(body []byte) {
	r.put(body)
	r.outcomes = r.outcomes[:0]
	for len(r.outcomes) == 0 {
		r.turn()
		runtime.Gosched()
	}
	if o := &r.outcomes[0]; o.Written != 1 {
		r.t.Fatalf("outcome %+v, last error %q", *o, r.writer.LastError())
	}
	r.pool.Release(r.outcomes[0].Batch)
}

// Goal: from Submit to Outcome nothing is allocated, by whichever way the bytes leave.
func TestSteadyStateDoesNotAllocate(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		for _, zeroCopyMin := range []int{-1, 1} {
			body := []byte("m v=\"" + strings.Repeat("x", 50_000) + "\" 1\n")
			config := testConfig(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
			config = testConfig(discard(t, requestSize(config, len(body))))
			config.ZeroCopyMin = zeroCopyMin
			r := newRig(t, ring, 1<<16, config)
			// The first rounds let slices grow; fewer than what ends the trial of zero copy.
			for range 3 {
				r.round(body)
			}
			if n := testing.AllocsPerRun(50, func() { r.round(body) }); n != 0 {
				t.Errorf("zero copy from %d bytes: %v allocations a batch", zeroCopyMin, n)
			}
		}
	})
}

// Goal: a batch's bytes are what the server gets, however soon the batch is used again. Method: bodies of
// random sizes carry their own checksum; all go in place; the pool is kept exhausted.
func TestBodiesStayWhole(t *testing.T) {
	overBoth(t, func(t *testing.T, ring bool) {
		var broken atomic.Int64
		s := newServer(t, func(q *request) bool {
			body := []byte(q.body)
			if len(body) < 8 || crc32.ChecksumIEEE(body[4:]) != binary.BigEndian.Uint32(body) {
				broken.Add(1)
			}
			q.ok()
			return true
		})
		config := testConfig(s.listener.Addr())
		config.ZeroCopyMin, config.Connections = 1, 4
		r := newRig(t, ring, 1<<18, config)
		seed := rand.Uint64()
		random := rand.New(rand.NewPCG(seed, 0))
		const batches = 600
		for sent, done := 0, 0; done < batches; {
			for sent < batches {
				b := r.pool.Take()
				if b == nil {
					break
				}
				body := b.Body()[:8+random.IntN(1<<18-8)]
				fill := byte(random.Uint32())
				for i := range body {
					body[i] = fill + byte(i)
				}
				binary.BigEndian.PutUint32(body, crc32.ChecksumIEEE(body[4:]))
				b.Extend(body, 1, 1)
				b.Seal(r.now())
				r.writer.Submit(b, r.now())
				sent++
			}
			for i := range r.writer.connections {
				// The path always copies: without this the trial would end.
				r.writer.connections[i].skip, r.writer.connections[i].copiedRow = 0, 0
			}
			r.turn()
			for _, o := range r.outcomes {
				if o.Written != 1 {
					t.Fatalf("seed %d: outcome %+v", seed, o)
				}
				done++
				r.pool.Release(o.Batch)
			}
			if len(r.outcomes) == 0 {
				r.sleep()
			}
			r.outcomes = r.outcomes[:0]
		}
		if broken.Load() != 0 {
			t.Fatalf("seed %d: %d of %d bodies arrived broken", seed, broken.Load(), batches)
		}
		stats := r.writer.Stats()
		if ring && r.ring.ReportsUsage() && stats.ZeroCopyCopied+stats.ZeroCopySent < batches/2 {
			t.Fatalf("only %+v went in place", stats)
		}
	})
}

// Goal: a path that always copies is found out, and tried again now and then.
func TestCopyingPathIsFoundOut(t *testing.T) {
	body := []byte("m v=\"" + strings.Repeat("x", zeroCopyDefault) + "\" 1\n")
	config := testConfig(&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1})
	config = testConfig(discard(t, requestSize(config, len(body))))
	config.Connections = 1
	r := newRig(t, true, 1<<16, config)
	for range copiedMax + skipFirst + 1 {
		r.round(body)
	}
	r.until("notifications", func() bool { return r.pool.Free() == r.pool.Size() })
	stats := r.writer.Stats()
	n := stats.ZeroCopyCopied + stats.ZeroCopySent
	if !r.ring.ReportsUsage() {
		if testenv.AtLeast(6, 2) || n != 0 {
			t.Fatalf("%d notifications say what the kernel did, which it does since 6.2", n)
		}
		return
	}
	if n < copiedMax || n > copiedMax+3 {
		t.Fatalf("%d of %d went in place", n, copiedMax+skipFirst+1)
	}
}

func TestRecord(t *testing.T) {
	var c connection
	for range copiedMax - 1 {
		c.record(true)
	}
	if !c.mayZeroCopy() {
		t.Fatal("the trial ends too soon")
	}
	c.record(false)
	for range copiedMax {
		c.record(true)
	}
	for i, want := 0, skipFirst; i < 12; i++ {
		for n := range want {
			if c.mayZeroCopy() {
				t.Fatalf("round %d: tried again after %d requests, want %d", i, n, want)
			}
		}
		if !c.mayZeroCopy() {
			t.Fatalf("round %d: not tried again after %d requests", i, want)
		}
		c.record(true)
		want = min(2*want, skipMax)
	}
	c.record(false)
	if c.skipNext != 0 || c.copiedRow != 0 {
		t.Fatal("one send in place does not clear the record")
	}
}

func TestForeignCompletionsAreLeftAlone(t *testing.T) {
	s := newServer(t, func(q *request) bool { q.ok(); return true })
	config := testConfig(s.listener.Addr())
	config.Tag = 7
	r := newRig(t, true, 1<<16, config)
	r.ring.Reserve().Nop(9<<56 | 5<<48 | 0xFFFF<<32)
	r.submit("m v=1 1")
	r.expect(1, 0, 0, ReasonNone, 204)
}

func TestBackoff(t *testing.T) {
	w := &Writer{random: 1, config: Config{Retry: Retry{Attempts: 9, First: 100, Max: 1000, Jitter: 0.1}}}
	for range 1000 {
		for failures, middle := range map[int]int64{1: 100, 2: 200, 3: 400, 4: 800, 5: 1000, 60: 1000} {
			wait := w.backoff(failures)
			if wait < middle*9/10-1 || wait > min(middle*11/10, 1000) {
				t.Fatalf("after %d failures the wait is %d, want about %d", failures, wait, middle)
			}
		}
	}
}

func TestAddresses(t *testing.T) {
	for _, network := range []string{"127.0.0.1:0", "[::1]:0"} {
		listener, err := net.Listen("tcp", network)
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		go func() {
			conn, err := listener.Accept()
			if err == nil {
				io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
				io.Copy(io.Discard, conn)
			}
		}()
		config := testConfig(listener.Addr())
		config.Connections = 1
		r := newRig(t, false, 1<<16, config)
		r.until("connection", func() bool { return r.writer.Stats().Connects > 0 })
	}
	if _, err := scopeOf("no-such-interface"); err == nil || errors.Is(err, unix.EINVAL) {
		t.Fatalf("a zone that is no interface: %v", err)
	}
	if n, err := scopeOf("lo"); err != nil || n == 0 {
		t.Fatalf("zone lo is %d, %v", n, err)
	}
}

// The layouts are those of struct msghdr and struct iovec.
func TestMessageLayout(t *testing.T) {
	var m message
	f := func(name string, got, want uintptr) {
		t.Helper()
		if got != want {
			t.Errorf("%s is %d, want %d", name, got, want)
		}
	}
	f("offset of vectors", unsafe.Offsetof(m.vectors), unsafe.Offsetof(unix.Msghdr{}.Iov))
	f("offset of vectorCount", unsafe.Offsetof(m.vectorCount), unsafe.Offsetof(unix.Msghdr{}.Iovlen))
	f("offset of control", unsafe.Offsetof(m.control), unsafe.Offsetof(unix.Msghdr{}.Control))
	f("offset of flags", unsafe.Offsetof(m.flags), unsafe.Offsetof(unix.Msghdr{}.Flags))
	f("offset of ranges", unsafe.Offsetof(m.ranges), unsafe.Sizeof(unix.Msghdr{}))
	f("size of a range", unsafe.Sizeof(m.ranges[0]), unsafe.Sizeof(unix.Iovec{}))
	if unsafe.Sizeof(m) > messageSize {
		t.Errorf("a message takes %d bytes, more than %d", unsafe.Sizeof(m), messageSize)
	}
}
