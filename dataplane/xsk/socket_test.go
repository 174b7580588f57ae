package xsk

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The layouts of net/xdp/xsk.c and include/uapi/linux/if_xdp.h.
func TestKernelLayouts(t *testing.T) {
	if n := unsafe.Sizeof(Desc{}); n != descSize {
		t.Fatalf("Desc has %d bytes", n)
	}
	if unsafe.Offsetof(Desc{}.Len) != 8 || unsafe.Offsetof(Desc{}.Options) != 12 {
		t.Fatal("Desc is not laid out like struct xdp_desc")
	}
	if n := unsafe.Sizeof(umemReg{}); n != 24 {
		t.Fatalf("umemReg has %d bytes", n)
	}
	if unsafe.Offsetof(umemReg{}.chunkSize) != 16 || unsafe.Offsetof(umemReg{}.headroom) != 20 {
		t.Fatal("umemReg is not laid out like struct xdp_umem_reg_v1")
	}
	if n := unsafe.Sizeof(unix.XDPStatistics{}); n != 48 {
		t.Fatalf("struct xdp_statistics has %d bytes", n)
	}
}

// Goal: what the kernel wrote is what Packet and Headroom show, whatever the size of the batch.
func TestReceive(t *testing.T) {
	for _, start := range starts {
		s, k := newPlain(t, plainConfig{frames: 16, fill: 16, rx: 8, tx: 1, completion: 1, start: start})
		into := make([]Desc, 3)
		sent, got := 0, 0
		for range 50 {
			for k.arrive(fmt.Appendf(nil, "m%07d", sent), fmt.Appendf(nil, "packet %d", sent)) {
				sent++
			}
			for {
				n := s.Receive(into)
				if n == 0 {
					break
				}
				for _, d := range into[:n] {
					packet, metadata := s.Packet(d), s.Headroom(d, 8)
					if string(packet) != fmt.Sprintf("packet %d", got) || cap(packet) != len(packet) ||
						string(metadata) != fmt.Sprintf("m%07d", got) || cap(metadata) != len(metadata) {
						t.Fatalf("start %d: received %q behind %q, want number %d",
							start, packet, metadata, got)
					}
					got++
				}
				s.Free(into[:n])
			}
			s.frames.check()
		}
		if sent != got || sent < 50*8 {
			t.Fatalf("start %d: sent %d, received %d", start, sent, got)
		}
	}
}

// Goal: frames that the fill ring has no room for wait on the free list, and go to the ring when there is
// room.
func TestFreeList(t *testing.T) {
	s, k := newPlain(t, plainConfig{frames: 16, fill: 4, rx: 16, tx: 1, completion: 1})
	if f := s.Frames(); f != (Frames{Free: 12, Fill: 4}) {
		t.Fatalf("at first: %+v", f)
	}
	for range 4 {
		if !k.arrive(nil, []byte("x")) {
			t.Fatal("a packet was dropped")
		}
	}
	if k.arrive(nil, []byte("x")) {
		t.Fatal("a packet arrived without a frame in the fill ring")
	}
	into := make([]Desc, 16)
	if n := s.Receive(into); n != 4 {
		t.Fatalf("received %d", n)
	}
	if f := s.Frames(); f != (Frames{Free: 12, Worker: 4}) {
		t.Fatalf("with the worker: %+v", f)
	}
	// One frame freed lets the list fill the rest of the ring.
	s.Free(into[:1])
	if f := s.Frames(); f != (Frames{Free: 9, Fill: 4, Worker: 3}) {
		t.Fatalf("after one was freed: %+v", f)
	}
	s.Free(into[1:4])
	if f := s.Frames(); f != (Frames{Free: 12, Fill: 4}) {
		t.Fatalf("in the end: %+v", f)
	}
	s.Free(nil)
	s.frames.check()
}

func TestTransmit(t *testing.T) {
	for _, start := range starts {
		s, k := newPlain(t, plainConfig{
			frames: 16, fill: 16, rx: 4, tx: 4, completion: 4, txFrames: 6, start: start,
		})
		if f := s.Frames(); f != (Frames{Free: 6, Fill: 10}) {
			t.Fatalf("at first: %+v", f)
		}
		into := make([]Desc, 16)
		for round := range 10 {
			if n := s.Allocate(into); n != 6 {
				t.Fatalf("start %d, round %d: allocated %d of 6", start, round, n)
			}
			for i := range into[:6] {
				if uint64(into[i].Len) != s.frames.size {
					t.Fatalf("an allocated frame has %d bytes", into[i].Len)
				}
				into[i].Len = uint32(copy(s.Packet(into[i]), fmt.Sprint("packet ", i)))
			}
			if n := s.Transmit(into[:6]); n != 4 {
				t.Fatalf("%d of 6 packets fit into a ring of 4", n)
			}
			if f := s.Frames(); f != (Frames{Fill: 10, Worker: 2, Transmit: 4}) {
				t.Fatalf("after Transmit: %+v", f)
			}
			// Frames allocated and not needed are freed; those kept for sending do not go to the fill ring.
			s.Free(into[4:6])
			if f := s.Frames(); f != (Frames{Free: 2, Fill: 10, Transmit: 4}) {
				t.Fatalf("after Free: %+v", f)
			}
			if n := s.ReapCompletions(); n != 0 {
				t.Fatalf("%d completions before anything was sent", n)
			}
			for i := range 4 {
				if got := k.send(); string(got) != fmt.Sprint("packet ", i) {
					t.Fatalf("sent %q", got)
				}
			}
			if n := s.ReapCompletions(); n != 4 {
				t.Fatalf("%d of 4 completions", n)
			}
			if f := s.Frames(); f != (Frames{Free: 6, Fill: 10}) {
				t.Fatalf("in the end: %+v", f)
			}
			s.frames.check()
		}
	}
}

// Goal: a received frame can be sent as it is, and comes back into the circle of receiving.
func TestReflect(t *testing.T) {
	s, k := newPlain(t, plainConfig{frames: 8, fill: 8, rx: 8, tx: 8, completion: 8})
	into := make([]Desc, 8)
	for round := range 20 {
		want := fmt.Sprint("packet ", round)
		for k.arrive(nil, []byte(want)) {
		}
		n := s.Receive(into)
		if n != 8 || s.Transmit(into[:n]) != 8 {
			t.Fatalf("round %d: received %d", round, n)
		}
		for range n {
			if got := k.send(); string(got) != want {
				t.Fatalf("sent %q, want %q", got, want)
			}
		}
		if n := s.ReapCompletions(); n != 8 {
			t.Fatalf("%d completions", n)
		}
		if f := s.Frames(); f != (Frames{Fill: 8}) {
			t.Fatalf("round %d: %+v", round, f)
		}
		s.frames.check()
	}
}

// Goal: no frame is lost or doubled, whatever the two sides do in whatever order. Method: random steps of
// both; the seed is logged, and CULVERT_TEST_SEED repeats a run.
func TestRandomSteps(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("CULVERT_TEST_SEED"); text != "" {
		if _, err := fmt.Sscan(text, &seed); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("CULVERT_TEST_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 20 {
		power := func(max int) int { return 1 << random.IntN(max) }
		config := plainConfig{
			frames: 8 + random.IntN(30), fill: power(6), rx: power(6), tx: power(6), completion: power(6),
			txFrames: random.IntN(8), start: random.Uint32(),
		}
		randomSteps(t, random, config)
	}
}

func randomSteps(t *testing.T, random *rand.Rand, config plainConfig) {
	t.Helper()
	s, k := newPlain(t, config)
	var mine []Desc
	into := make([]Desc, 9)
	for range 2000 {
		switch random.IntN(6) {
		case 0:
			k.arrive(nil, []byte("packet"))
		case 1:
			n := s.Receive(into[:random.IntN(len(into))])
			mine = append(mine, into[:n]...)
		case 2:
			n := random.IntN(len(mine) + 1)
			s.Free(mine[:n])
			mine = append(mine[:0], mine[n:]...)
		case 3:
			n := s.Allocate(into[:random.IntN(len(into))])
			mine = append(mine, into[:n]...)
		case 4:
			n := s.Transmit(mine[:random.IntN(len(mine)+1)])
			mine = append(mine[:0], mine[n:]...)
		case 5:
			k.send()
			if random.IntN(2) == 0 {
				s.ReapCompletions()
			}
		}
		s.frames.check()
		f := s.Frames()
		if f.Sum() != config.frames || f.Worker != len(mine) || f.Kernel != len(k.held) ||
			f.Fill < 0 || f.RX < 0 {
			t.Fatalf("%+v: frames %+v, the worker has %d, the kernel %d", config, f, len(mine), len(k.held))
		}
	}
}

func TestWrongUse(t *testing.T) {
	s, k := newPlain(t, plainConfig{frames: 8, fill: 8, rx: 8, tx: 8, completion: 8, txFrames: 2})
	into := make([]Desc, 8)
	mustPanic(t, "BUG: 1 frames are freed, the worker holds 0", func() { s.Free(into[:1]) })
	mustPanic(t, "BUG: 1 frames are transmitted, the worker holds 0", func() { s.Transmit(into[:1]) })
	k.completion.push(0)
	mustPanic(t, "BUG: 1 frames were sent, 0 were transmitted", func() { s.ReapCompletions() })
	if s.Allocate(into) != 2 {
		t.Fatal("the frames for sending are not there")
	}
	f := func(d Desc) {
		t.Helper()
		mustPanic(t, "is no packet in one frame", func() { s.Transmit([]Desc{d}) })
	}
	f(Desc{Addr: into[0].Addr})
	f(Desc{Addr: into[0].Addr, Len: 2049})
	f(Desc{Addr: into[0].Addr + 1, Len: 2048})
	f(Desc{Addr: into[0].Addr, Len: 1, Options: unix.XDP_PKT_CONTD})
	s.frames.working++
	mustPanic(t, "= 9 of 8 frames", func() { s.frames.check() })
}

// Goal: the kernel is told only when it asks.
func TestNeedWakeup(t *testing.T) {
	s, k := newPlain(t, plainConfig{frames: 8, fill: 8, rx: 8, tx: 8, completion: 8, txFrames: 2})
	// Without a descriptor each system call fails with EBADF, which is not passed over.
	if err := s.Wakeup(); err != nil || s.NeedsWakeup() {
		t.Fatalf("told without being asked: %v", err)
	}
	k.fill.flags.Store(unix.XDP_RING_NEED_WAKEUP)
	if err := s.Wakeup(); !errors.Is(err, unix.EBADF) || !s.NeedsWakeup() {
		t.Fatalf("not told of frames: %v", err)
	}
	k.fill.flags.Store(0)
	k.tx.flags.Store(unix.XDP_RING_NEED_WAKEUP)
	if err := s.Wakeup(); err != nil {
		t.Fatalf("told of packets when there are none: %v", err)
	}
	into := make([]Desc, 1)
	s.Allocate(into)
	s.Transmit(into)
	if err := s.Wakeup(); !errors.Is(err, unix.EBADF) {
		t.Fatalf("not told of a packet: %v", err)
	}
	k.send()
	if err := s.Wakeup(); err != nil {
		t.Fatalf("told of a packet that is sent: %v", err)
	}
	s.zeroCopy = true
	if err := s.Wakeup(); !errors.Is(err, unix.EBADF) {
		t.Fatalf("a driver is not told to look for completions: %v", err)
	}
}

func TestNothingAllocates(t *testing.T) {
	s, k := newPlain(t, plainConfig{frames: 64, fill: 32, rx: 32, tx: 16, completion: 16, txFrames: 8})
	into := make([]Desc, 16)
	packet := []byte("packet")
	total := 0
	allocs := testing.AllocsPerRun(1000, func() {
		for k.rx.producer.Load()-k.rx.consumer.Load() < 8 {
			addr, _ := k.fill.pop()
			k.rx.push(Desc{Addr: addr + unix.XDP_PACKET_HEADROOM, Len: uint32(len(packet))})
		}
		n := s.Receive(into)
		for _, d := range into[:n] {
			total += len(s.Packet(d)) + len(s.Headroom(d, 32))
		}
		s.Free(into[:n])
		n = s.Allocate(into[:4])
		s.Transmit(into[:n])
		for range n {
			d, _ := k.tx.pop()
			k.completion.push(d.Addr)
		}
		s.ReapCompletions()
		if s.Wakeup() != nil {
			t.Fatal("Wakeup")
		}
	})
	if allocs != 0 {
		t.Fatalf("%g allocations a turn", allocs)
	}
	if total != 1001*8*(len(packet)+32) {
		t.Fatalf("saw %d bytes", total)
	}
	if f := s.Frames(); f.Sum() != 64 {
		t.Fatalf("%+v", f)
	}
}

func TestConfigFailure(t *testing.T) {
	page, err := unix.Mmap(-1, 0, 8*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(page)
	good := Config{
		Interface: 1, UMEM: page, FrameSize: 2048, FillSize: 16, RXSize: 8,
		TXSize: 8, CompletionSize: 8, TXFrames: 4,
	}
	if err := good.validate(); err != nil {
		t.Fatal(err)
	}
	f := func(want string, change func(*Config)) {
		t.Helper()
		for range 2 {
			config := good
			change(&config)
			if s, err := Open(config); err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("%v, %v; want %q", s, err, want)
			}
		}
	}
	f("interface 0", func(c *Config) { c.Interface = 0 })
	f("queue -1", func(c *Config) { c.Queue = -1 })
	f("frame size 0", func(c *Config) { c.FrameSize = 0 })
	f("frame size 1024", func(c *Config) { c.FrameSize = 1024 })
	f("frame size 3000", func(c *Config) { c.FrameSize = 3000 })
	f("frame size 65536", func(c *Config) { c.FrameSize = 65536 })
	f("UMEM of 0 bytes", func(c *Config) { c.UMEM = nil })
	f("UMEM of 30720 bytes", func(c *Config) { c.UMEM = page[2048:] })
	f("UMEM of 2050 bytes", func(c *Config) { c.UMEM = page[:2050] })
	f("neither an RX nor a TX ring", func(c *Config) { c.RXSize, c.TXSize = 0, 0 })
	f("without a fill ring", func(c *Config) { c.FillSize = 0 })
	f("-1 of 16 frames", func(c *Config) { c.TXFrames = -1 })
	f("16 of 16 frames", func(c *Config) { c.TXFrames = 16 })
	f("fill ring of 15 slots", func(c *Config) { c.FillSize = 15 })
	f("RX ring of -8 slots", func(c *Config) { c.RXSize = -8 })
	f("TX ring of 8388608 slots", func(c *Config) { c.TXSize = 8 << 20 })
	f("completion ring of 0 slots", func(c *Config) { c.CompletionSize = 0 })
}

func TestModeString(t *testing.T) {
	if got := fmt.Sprint(Auto, ZeroCopy, Copy); got != "auto zero-copy copy" {
		t.Fatal(got)
	}
}

func TestDrops(t *testing.T) {
	s := Statistics{RXDropped: 3, RXRingFull: 4, FillRingEmpty: 3}
	if n := s.Drops(); n != 7 {
		t.Fatalf("a packet without a frame is counted twice: %d", n)
	}
}
