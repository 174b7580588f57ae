package xsk

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// receiving is a socket that only receives.
var receiving = Config{FillSize: 64, RXSize: 64}

// both is one that sends too.
var both = Config{FillSize: 64, RXSize: 64, TXSize: 64, CompletionSize: 64, TXFrames: 16}

// Goal: packets sent reach the peer whole and in order, more of them than one system call sends in copy mode,
// and every frame comes back. A received frame can be sent on.
func TestPrivTransmit(t *testing.T) {
	r := newRig(t, link.XDPDriverMode)
	config := both
	config.TXFrames = 64
	s := r.openGateway(0, 128, config)
	peer := r.listen()
	into := make([]Desc, 64)
	if n := s.Allocate(into); n != 64 {
		t.Fatalf("allocated %d", n)
	}
	for i := range into {
		into[i].Len = uint32(copy(s.Packet(into[i]), testPacket(i)))
	}
	if n := s.Transmit(into); n != 64 {
		t.Fatalf("transmitted %d", n)
	}
	sent := 0
	eventually(t, "64 packets are sent", func() bool {
		if err := s.Wakeup(); err != nil {
			t.Fatal(err)
		}
		sent += s.ReapCompletions()
		return sent == 64
	})
	for i := range 64 {
		if got := peer(); got != string(testPacket(i)) {
			t.Fatalf("the peer received %q, want number %d", got, i)
		}
	}
	if f := s.Frames(); f.Sum() != 128 || f.Free != 64 || f.Transmit != 0 {
		t.Fatalf("%+v", f)
	}
	r.send(0, 500, 501)
	eventually(t, "a packet comes", func() bool { return s.Receive(into[:1]) == 1 })
	if s.Transmit(into[:1]) != 1 {
		t.Fatal("a received frame is not sent")
	}
	eventually(t, "a received packet is sent", func() bool {
		if err := s.Wakeup(); err != nil {
			t.Fatal(err)
		}
		return s.ReapCompletions() == 1
	})
	if got := peer(); got != string(testPacket(500)) {
		t.Fatalf("the peer received %q", got)
	}
	if statistics, err := s.Statistics(); err != nil || statistics.TXInvalidDescs != 0 {
		t.Fatalf("%+v, %v", statistics, err)
	}
}

// listen opens a packet socket at the sender's end and returns what takes one of the tests' packets from it.
func (r *rig) listen() func() string {
	r.t.Helper()
	var fd int
	err := r.Sender.Do(func() (err error) {
		var protocol [2]byte
		binary.BigEndian.PutUint16(protocol[:], testEtherType)
		number := binary.NativeEndian.Uint16(protocol[:])
		if fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(number)); err != nil {
			return err
		}
		return unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO,
			&unix.Timeval{Sec: int64(testTimeout.Seconds())})
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { unix.Close(fd) })
	return func() string {
		r.t.Helper()
		packet := make([]byte, 2048)
		for {
			n, from, err := unix.Recvfrom(fd, packet, 0)
			if err != nil {
				r.t.Fatal(err)
			}
			// The socket sees what its own end sends, too.
			if from.(*unix.SockaddrLinklayer).Pkttype != unix.PACKET_OUTGOING {
				return string(packet[:n])
			}
		}
	}
}

// Goal: a queue can be taken again right after it was given up, though the kernel releases it later.
func TestPrivReopen(t *testing.T) {
	r := newRig(t, link.XDPDriverMode)
	for round := range 20 {
		s := r.openGateway(0, 64, receiving)
		r.send(0, round*10, round*10+10)
		r.receive(s, 0, round*10, round*10+10)
		for range 2 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Statistics(); !errors.Is(err, os.ErrClosed) {
			t.Fatalf("statistics of a closed socket: %v", err)
		}
	}
}

// Goal: Open waits for a queue that is given up meanwhile, and says who may hold one that is not.
func TestPrivQueueBusy(t *testing.T) {
	r := newRig(t, link.XDPDriverMode)
	first := r.openGateway(0, 64, receiving)
	config := receiving
	config.Interface, config.FrameSize = r.index, 2048
	_, err := r.tryOpen(r.Gateway, config, 64)
	if !errors.Is(err, unix.EBUSY) || !strings.Contains(err.Error(), "ss --xdp -p") {
		t.Fatalf("a queue in use: %v", err)
	}
	config.UMEM = umem(t, 64)
	opened := make(chan error)
	done := r.Gateway.Go(func() error {
		opened <- nil
		s, err := Open(config)
		if err == nil {
			err = s.Close()
		}
		return err
	})
	<-opened
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func (r *rig) setLink(up bool) {
	r.t.Helper()
	err := r.Gateway.Do(func() error {
		found, err := netlink.LinkByName(r.GatewayInterface)
		if err != nil {
			return err
		}
		if up {
			return netlink.LinkSetUp(found)
		}
		return netlink.LinkSetDown(found)
	})
	if err != nil {
		r.t.Fatal(err)
	}
}

// Goal: a socket outlives its interface going down and up; a wake-up meanwhile is no error. Method: a packet
// is waiting to be sent while the link is down.
func TestPrivLinkDownAndUp(t *testing.T) {
	r := newRig(t, link.XDPDriverMode)
	s := r.openGateway(0, 64, both)
	r.send(0, 0, 10)
	r.receive(s, 0, 0, 10)
	r.setLink(false)

	// A queue can be taken while the link is down, too.
	other := r.openGateway(1, 64, receiving)
	if err := s.Check(); !errors.Is(err, unix.ENETDOWN) {
		t.Fatalf("while the link is down: %v", err)
	}
	var frame [1]Desc
	s.Allocate(frame[:])
	frame[0].Len = uint32(copy(s.Packet(frame[0]), testPacket(1)))
	if s.Transmit(frame[:]) != 1 {
		t.Fatal("the TX ring is full")
	}
	for range 3 {
		if err := s.Wakeup(); err != nil {
			t.Fatalf("the link is down: %v", err)
		}
	}
	if s.ReapCompletions() != 0 || s.Frames().Transmit != 1 {
		t.Fatalf("sent while the link is down: %+v", s.Frames())
	}

	r.setLink(true)
	eventually(t, "the waiting packet is sent", func() bool {
		if err := s.Wakeup(); err != nil {
			t.Fatal(err)
		}
		return s.ReapCompletions() == 1
	})
	r.send(0, 10, 20)
	r.receive(s, 0, 10, 20)
	r.send(1, 10, 20)
	r.receive(other, 1, 10, 20)
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	if s.Frames().Sum() != 64 {
		t.Fatalf("%+v", s.Frames())
	}
}

// Goal: when the interface is gone the worker learns of it from Check and from Wakeup, and can close the
// socket.
func TestPrivInterfaceGone(t *testing.T) {
	r := newRig(t, link.XDPDriverMode)
	s := r.openGateway(0, 64, both)
	if err := s.Check(); err != nil {
		t.Fatal(err)
	}
	err := r.Gateway.Do(func() error {
		found, err := netlink.LinkByName(r.GatewayInterface)
		if err != nil {
			return err
		}
		return netlink.LinkDel(found)
	})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "Check says that the interface is gone", func() bool {
		return errors.Is(s.Check(), unix.ENXIO)
	})
	var frame [1]Desc
	s.Allocate(frame[:])
	frame[0].Len = uint32(copy(s.Packet(frame[0]), testPacket(1)))
	s.Transmit(frame[:])
	eventually(t, "Wakeup says that the interface is gone", func() bool {
		err := s.Wakeup()
		return errors.Is(err, unix.ENXIO)
	})
	if s.Frames().Sum() != 64 {
		t.Fatalf("%+v", s.Frames())
	}
}

// Goal: each refusal names its reason and the remedy, and leaves nothing behind (TestMain looks for
// descriptors).
func TestPrivOpenFailure(t *testing.T) {
	r := newRig(t, link.XDPDriverMode)
	f := func(want string, errno unix.Errno, change func(*Config)) {
		t.Helper()
		for range 2 {
			config := receiving
			config.Interface, config.FrameSize = r.index, 2048
			change(&config)
			_, err := r.tryOpen(r.Gateway, config, 64)
			if !errors.Is(err, errno) || !strings.Contains(err.Error(), want) {
				t.Fatalf("%v; want %q, %v", err, want, errno)
			}
		}
	}
	f("no such interface", unix.ENODEV, func(c *Config) { c.Interface = 9999 })
	f("no such queue", unix.EINVAL, func(c *Config) { c.Queue = 99 })
	f("the driver has no zero copy", unix.EOPNOTSUPP, func(c *Config) { c.Mode = ZeroCopy })
}

// Goal: the real wake-up allocates nothing either.
func TestPrivWakeupAllocatesNothing(t *testing.T) {
	r := newRig(t, link.XDPDriverMode)
	s := r.openGateway(0, 64, both)
	packet := testPacket(7)
	var frame [1]Desc
	sent := 0
	allocs := testing.AllocsPerRun(100, func() {
		if s.Allocate(frame[:]) == 1 {
			frame[0].Len = uint32(copy(s.Packet(frame[0]), packet))
			s.Transmit(frame[:])
		}
		if s.Wakeup() != nil {
			t.Fatal("Wakeup")
		}
		sent += s.ReapCompletions()
	})
	if allocs != 0 || sent == 0 {
		t.Fatalf("%g allocations a turn, %d packets sent", allocs, sent)
	}
}
