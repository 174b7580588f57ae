package bpf

import (
	"errors"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// jointWay is a program that gets packets to the steering program.
type jointWay struct {
	name    string
	program *ebpf.Program
}

// BenchmarkJoint is what a frame costs where culvert has joined libxdp's dispatcher and is alone in it: the
// steering program by itself, behind a stand-in, and, where the kernel has freplace, behind the real joint in
// the real dispatcher. The stand-in needs no freplace: it calls a function that tail-calls the steering
// program, and looks at the verdict. That is 33 of the 49 instructions that the real ones take, by
// `scripts/vm/run -bench Joint 6.18 -- culvert/bpf`, which counts them. Each figure is the least of
// interleaved runs, and BenchmarkHarness is in it.
func BenchmarkJoint(b *testing.B) {
	testenv.Need(b, unix.CAP_BPF, unix.CAP_NET_ADMIN)
	s := steerForJoint(b)
	joined, err := NewJoined()
	check(b, err)
	b.Cleanup(func() { joined.Close() })
	check(b, joined.Put(uint32(0), s.Program()))
	ways := []jointWay{{"alone", s.Program()}, {"stand_in", standIn(b, joined)}}
	if dispatcher := joinedDispatcher(b, joined); dispatcher != nil {
		ways = append(ways, jointWay{"joined", dispatcher})
	}
	for _, c := range []struct {
		name   string
		frame  frame
		action uint32
	}{
		{"steered", telemetry4(), xdpRedirect},
		{"passed", telemetry4().with(func(f *frame) { f.protocol = 6 }), xdpPass},
	} {
		packet := c.frame.bytes()
		for _, way := range ways {
			action, err := way.program.Run(&ebpf.RunOptions{Data: packet, Repeat: 1})
			check(b, err)
			// A joint that runs nothing would pass what is to be steered.
			if action != c.action {
				b.Fatalf("%s, %s: action %d, want %d", c.name, way.name, action, c.action)
			}
		}
		b.Run(c.name, func(b *testing.B) {
			least := make([]time.Duration, len(ways))
			for i := range least {
				least[i] = math.MaxInt64
			}
			for b.Loop() {
				for i, way := range ways {
					_, each, err := way.program.Benchmark(packet, 1_000_000, nil)
					check(b, err)
					least[i] = min(least[i], each)
				}
			}
			for i, way := range ways {
				b.ReportMetric(float64(least[i].Nanoseconds()), "ns/"+way.name)
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// steerForJoint loads the steering program for a joint, with a listener, a socket and a living worker.
func steerForJoint(b *testing.B) *Steer {
	b.Helper()
	s, err := LoadSteer(SteerConfig{MAC: ourMAC, QueuesMax: 2, StallAfter: time.Hour, Joined: true})
	check(b, err)
	b.Cleanup(func() { s.Close() })
	check(b, s.SetListeners([]Listener{{ID: 7, Port: ourPort, Addresses: []netip.Addr{ourV4, ourV6}}}))
	check(b, s.SetXSK(0, newTestSocket(b).fd))
	check(b, s.SetRedirect(true))
	s.Heartbeats()[0].Store(nowMonotonic(b))
	return s
}

// standIn does the most of what a dispatcher does with the joint alone.
func standIn(b *testing.B, joined *ebpf.Map) *ebpf.Program {
	b.Helper()
	const main, slot, next = "stand_in", "slot", "next"
	// The kernel allows a jump to another program in functions alone that BTF describes.
	begin := func(name string, first asm.Instruction) asm.Instruction {
		number := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
		context := btf.FuncParam{Name: "ctx", Type: &btf.Pointer{Target: &btf.Void{}}}
		function := &btf.Func{Name: name, Linkage: btf.StaticFunc,
			Type: &btf.FuncProto{Return: number, Params: []btf.FuncParam{context}}}
		return btf.WithFuncMetadata(first.WithSymbol(name), function)
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{Type: ebpf.XDP, License: "Dual BSD/GPL",
		Instructions: asm.Instructions{
			begin(main, asm.Call.Label(slot)),
			asm.JEq.Imm(asm.R0, xdpPass, next),
			asm.Return(),
			asm.Mov.Imm(asm.R0, xdpPass).WithSymbol(next),
			asm.Return(),
			begin(slot, asm.LoadMapPtr(asm.R2, joined.FD())),
			asm.Mov.Imm(asm.R3, 0),
			asm.FnTailCall.Call(),
			asm.Mov.Imm(asm.R0, xdpPass),
			asm.Return(),
		}})
	check(b, err)
	b.Cleanup(func() { program.Close() })
	return program
}

// joinedDispatcher is a dispatcher with the joint in its first slot, or nil where the kernel has no freplace.
func joinedDispatcher(b *testing.B, joined *ebpf.Map) *ebpf.Program {
	b.Helper()
	dispatcher, err := (&Dispatcher{Version: dispatcherOldest, Slots: []DispatcherSlot{JointSlot()}}).Load()
	check(b, err)
	b.Cleanup(func() { dispatcher.Close() })
	joint, err := LoadJoint(dispatcher, 0, joined)
	if err != nil {
		// Some kernels say so by EPERM.
		if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, unix.EPERM) {
			b.Logf("without the real joint: %v", err)
			return nil
		}
		b.Fatal(err)
	}
	b.Cleanup(func() { joint.Close() })
	in, err := link.AttachFreplace(dispatcher, Stub(0), joint)
	check(b, err)
	b.Cleanup(func() { in.Close() })
	return dispatcher
}
