package xsk

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

const (
	// testEtherType is the one for local experiments (IEEE 802): nothing else in the lab uses it.
	testEtherType  = 0x88b5
	ethernetHeader = 14
	// testMagic begins the metadata that the tests' program writes: magic u32, queue u32, time u64.
	testMagic    = 0x7e57da7a
	testMetaSize = 16
	// testTimeout bounds every wait for the kernel. No test expects anything to take time.
	testTimeout = 10 * time.Second
)

// rig is a lab whose gateway end redirects the tests' packets into AF_XDP sockets.
type rig struct {
	*testenv.Lab
	t       *testing.T
	sockets *ebpf.Map // XSKMAP by queue
	senders []*Socket // of the sender's end, by queue
	index   int       // ifindex of the gateway's end
}

// newRig makes a lab with two queues and attaches the redirecting program in a mode.
func newRig(t *testing.T, flags link.XDPAttachFlags) *rig {
	t.Helper()
	testenv.Need(t, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_BPF, unix.CAP_NET_RAW)
	const queues = 2
	r := &rig{Lab: testenv.NewLab(t, queues), t: t}
	r.index = indexOf(t, r.Gateway, r.GatewayInterface)
	var err error
	r.sockets, err = ebpf.NewMap(&ebpf.MapSpec{
		Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: queues,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.sockets.Close() })
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.XDP, License: "Dual BSD/GPL", Instructions: redirecting(r.sockets),
	})
	if err != nil {
		t.Fatalf("load: %+v", err)
	}
	t.Cleanup(func() { program.Close() })
	var attached link.Link
	err = r.Gateway.Do(func() (err error) {
		attached, err = link.AttachXDP(link.XDPOptions{Program: program, Interface: r.index, Flags: flags})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { attached.Close() })
	// An AF_XDP socket sends on the queue that it is bound to, and a veth passes the queue on to its peer.
	index := indexOf(t, r.Sender, r.SenderInterface)
	for queue := range queues {
		r.senders = append(r.senders, r.open(r.Sender, Config{
			Interface: index, Queue: queue, Mode: Copy, FrameSize: 2048, TXSize: 64, CompletionSize: 64,
		}, 64))
	}
	return r
}

// redirecting is the program: it writes metadata in front of the tests' packets and redirects them to the
// socket of their queue; everything else passes.
func redirecting(sockets *ebpf.Map) asm.Instructions {
	const passes = 2 // XDP_PASS
	var swapped [2]byte
	binary.BigEndian.PutUint16(swapped[:], testEtherType)
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMem(asm.R2, asm.R6, 0, asm.Word), // data
		asm.LoadMem(asm.R3, asm.R6, 4, asm.Word), // data_end
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, ethernetHeader),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R5, asm.R2, 12, asm.Half),
		asm.JNE.Imm(asm.R5, int32(binary.NativeEndian.Uint16(swapped[:])), "pass"),
		asm.FnKtimeGetNs.Call(),
		asm.Mov.Reg(asm.R8, asm.R0),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, -testMetaSize),
		asm.FnXdpAdjustMeta.Call(),
		asm.JNE.Imm(asm.R0, 0, "pass"),
		asm.LoadMem(asm.R2, asm.R6, 8, asm.Word), // data_meta
		asm.LoadMem(asm.R3, asm.R6, 0, asm.Word), // data
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, testMetaSize),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.StoreImm(asm.R2, 0, testMagic, asm.Word),
		asm.LoadMem(asm.R5, asm.R6, 16, asm.Word), // rx_queue_index
		asm.StoreMem(asm.R2, 4, asm.R5, asm.Word),
		asm.StoreMem(asm.R2, 8, asm.R8, asm.DWord),
		asm.Mov.Reg(asm.R2, asm.R5),
		asm.LoadMapPtr(asm.R1, sockets.FD()),
		asm.Mov.Imm(asm.R3, passes),
		asm.FnRedirectMap.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, passes).WithSymbol("pass"),
		asm.Return(),
	}
}

func indexOf(t *testing.T, ns *testenv.Namespace, name string) (index int) {
	t.Helper()
	err := ns.Do(func() error {
		found, err := net.InterfaceByName(name)
		if err == nil {
			index = found.Index
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// umem maps memory for frames; it is given back when the test ends, after the socket.
func umem(t *testing.T, frames int) []byte {
	t.Helper()
	memory, err := unix.Mmap(-1, 0, frames*2048, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(memory) })
	return memory
}

// open opens a socket in a namespace and closes it when the test ends.
func (r *rig) open(ns *testenv.Namespace, config Config, frames int) *Socket {
	r.t.Helper()
	socket, err := r.tryOpen(ns, config, frames)
	if err != nil {
		r.t.Fatal(err)
	}
	return socket
}

func (r *rig) tryOpen(ns *testenv.Namespace, config Config, frames int) (socket *Socket, err error) {
	r.t.Helper()
	config.UMEM = umem(r.t, frames)
	err = ns.Do(func() (err error) {
		socket, err = Open(config)
		return err
	})
	if err == nil {
		r.t.Cleanup(func() {
			if err := socket.Close(); err != nil {
				r.t.Error(err)
			}
		})
	}
	return socket, err
}

// openGateway opens a socket on a queue of the gateway's end and puts it into the XSKMAP.
func (r *rig) openGateway(queue, frames int, config Config) *Socket {
	r.t.Helper()
	config.Interface, config.Queue, config.FrameSize = r.index, queue, 2048
	socket := r.open(r.Gateway, config, frames)
	r.steer(queue, socket)
	return socket
}

func (r *rig) steer(queue int, socket *Socket) {
	r.t.Helper()
	if err := r.sockets.Put(uint32(queue), uint32(socket.FD())); err != nil {
		r.t.Fatal(err)
	}
}

// send sends packets on a queue, one at a time, each with its number as text.
func (r *rig) send(queue, from, to int) {
	r.t.Helper()
	for n := from; n < to; n++ {
		transmit(r.t, r.senders[queue], testPacket(n))
	}
}

// transmit sends one packet and waits until its frame is back.
func transmit(t *testing.T, s *Socket, packet []byte) {
	t.Helper()
	var frame [1]Desc
	if s.Allocate(frame[:]) != 1 {
		t.Fatal("no frame is free")
	}
	frame[0].Len = uint32(copy(s.Packet(frame[0]), packet))
	if s.Transmit(frame[:]) != 1 {
		t.Fatal("the TX ring is full")
	}
	eventually(t, "a packet is sent", func() bool {
		if err := s.Wakeup(); err != nil {
			t.Fatal(err)
		}
		return s.ReapCompletions() == 1
	})
}

func testPacket(number int) []byte {
	packet := []byte{0: 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 6: 0x02, 11: 1, ethernetHeader - 1: 0}
	binary.BigEndian.PutUint16(packet[12:], testEtherType)
	return fmt.Appendf(packet, "packet %d", number)
}

// receive waits until count packets came, checks them and the metadata, and frees them.
func (r *rig) receive(s *Socket, queue, from, to int) {
	r.t.Helper()
	into := make([]Desc, 16)
	next := from
	eventually(r.t, fmt.Sprintf("packets %d to %d arrive on queue %d", from, to, queue), func() bool {
		n := s.Receive(into)
		for _, d := range into[:n] {
			if got, want := string(s.Packet(d)), string(testPacket(next)); got != want {
				r.t.Fatalf("queue %d: received %q, want %q", queue, got, want)
			}
			metadata := s.Headroom(d, testMetaSize)
			magic, on := binary.NativeEndian.Uint32(metadata), binary.NativeEndian.Uint32(metadata[4:])
			if magic != testMagic || on != uint32(queue) {
				r.t.Fatalf("queue %d: metadata % x", queue, metadata)
			}
			next++
		}
		s.Free(into[:n])
		if err := s.Wakeup(); err != nil {
			r.t.Fatal(err)
		}
		return next >= to
	})
	if next != to {
		r.t.Fatalf("queue %d: %d packets more than were sent", queue, next-to)
	}
}

// eventually waits until something is true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(testTimeout); !f(); {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", testTimeout, what)
		}
		time.Sleep(100 * time.Microsecond)
	}
}
