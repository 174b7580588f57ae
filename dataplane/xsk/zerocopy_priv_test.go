package xsk

import (
	"os/exec"
	"strconv"
	"testing"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// nicPair is testenv.NICPair where it has zero copy: virtio_net since 6.13, and no virtual interface. The
// gateway's end has one queue during the test, so that all packets come by it.
func nicPair(t *testing.T) (gateway, sender string, ok bool) {
	t.Helper()
	gateway, sender, queues, ok := testenv.NICPair(t)
	if ok && !testenv.AtLeast(6, 13) {
		t.Log("not run: zero copy over virtio_net came with Linux 6.13")
		ok = false
	}
	if !ok || queues == 1 {
		return gateway, sender, ok
	}
	channels := func(n int) {
		t.Helper()
		output, err := exec.Command("ethtool", "-L", gateway, "combined", strconv.Itoa(n)).CombinedOutput()
		if err != nil {
			t.Fatalf("ethtool -L: %v: %s", err, output)
		}
	}
	channels(1)
	t.Cleanup(func() { channels(queues) })
	return gateway, sender, true
}

// hostRig is a rig over a pair of real interfaces.
func hostRig(t *testing.T, gateway, peer string) (r *rig, sender int) {
	t.Helper()
	r = &rig{t: t}
	var indices [2]int
	for i, name := range []string{gateway, peer} {
		found, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(found)
		}
		if err != nil {
			t.Fatalf("set up %q: %v", name, err)
		}
		indices[i] = found.Attrs().Index
	}
	r.index = indices[0]
	var err error
	r.sockets, err = ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: 1})
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
	attached, err := link.AttachXDP(link.XDPOptions{
		Program: program, Interface: r.index, Flags: link.XDPDriverMode,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { attached.Close() })
	return r, indices[1]
}

// openHost opens a socket in this process's own namespace.
func openHost(t *testing.T, config Config, frames int) *Socket {
	t.Helper()
	config.UMEM, config.FrameSize = umem(t, frames), 2048
	s, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Goal: zero copy receives and sends like copy mode does: in order, with metadata, with every frame accounted
// for, after a shortage of frames too; and auto finds it by itself.
func TestPrivZeroCopyOnNIC(t *testing.T) {
	testenv.Need(t, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN, unix.CAP_BPF, unix.CAP_NET_RAW)
	gateway, sender, ok := nicPair(t)
	if !ok {
		return
	}
	for _, mode := range []Mode{ZeroCopy, Auto} {
		t.Run(mode.String(), func(t *testing.T) {
			r, peer := hostRig(t, gateway, sender)
			config := both
			config.Interface, config.Mode = r.index, mode
			s := openHost(t, config, 64)
			if !s.ZeroCopy() {
				t.Fatal("bound in copy mode")
			}
			r.steer(0, s)
			r.senders = []*Socket{openHost(t, Config{
				Interface: peer, Mode: Copy, TXSize: 64, CompletionSize: 64,
			}, 64)}
			for from := 0; from < 300; from += 30 {
				r.send(0, from, from+30)
				r.receive(s, 0, from, from+30)
			}
			starve(t, s, r.senders[0])
			for next := 400; next < 410; next++ {
				transmit(t, s, testPacket(next))
			}
			f := s.Frames()
			t.Logf("%+v", f)
			if f.Sum() != 64 || f.Worker != 0 || f.Transmit != 0 || f.Free > config.TXFrames || f.Kernel < 0 {
				t.Fatalf("%+v", f)
			}
		})
	}
}

// starve sends more packets than the receiver has frames, and gives those back only when all of them are
// used. The NIC holds the other packets back or drops them: either will do, as long as it goes on afterwards.
func starve(t *testing.T, receiver, sender *Socket) {
	t.Helper()
	const packets = 60
	into := make([]Desc, 64)
	if sender.Allocate(into[:packets]) != packets {
		t.Fatal("no frames are free")
	}
	for i := range into[:packets] {
		into[i].Len = uint32(copy(sender.Packet(into[i]), testPacket(i)))
	}
	if sender.Transmit(into[:packets]) != packets {
		t.Fatal("the TX ring is full")
	}
	all := receiver.Frames().Sum() - both.TXFrames
	got, sent := 0, 0
	step := func() {
		if err := sender.Wakeup(); err != nil {
			t.Fatal(err)
		}
		sent += sender.ReapCompletions()
		got += receiver.Receive(into[got:])
	}
	eventually(t, "all frames are used", func() bool { step(); return got == all })
	receiver.Free(into[:got])
	eventually(t, "the sender gets its frames back", func() bool {
		if err := receiver.Wakeup(); err != nil {
			t.Fatal(err)
		}
		got = 0
		step()
		receiver.Free(into[:got])
		return sent == packets
	})
}
