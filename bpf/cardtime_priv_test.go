package bpf

import (
	"net/netip"
	"testing"
	"time"

	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"culvert/bpf/abi"
	"culvert/scripts/testenv"
)

// cardAhead is how far the card of the test is ahead of CLOCK_MONOTONIC.
const cardAhead = 77 * time.Second

// answerOf is a driver's answer to the question for the card's time: that time, by a clock that is cardAhead,
// or no time, or an error.
func answerOf(clock bool, code int32) asm.Instructions {
	answer := asm.Instructions{
		btf.WithFuncMetadata(asm.Mov.Reg(asm.R6, asm.R2).WithSymbol("card"), &btf.Func{
			Name: "card", Linkage: btf.StaticFunc,
			Type: &btf.FuncProto{Return: &btf.Int{Name: "int", Size: 4}},
		}),
		asm.FnKtimeGetNs.Call(),
		asm.LoadImm(asm.R1, int64(cardAhead), asm.DWord),
		asm.Add.Reg(asm.R0, asm.R1),
	}
	if !clock {
		answer = append(answer, asm.Mov.Imm(asm.R0, 0))
	}
	return append(answer, asm.StoreMem(asm.R6, 0, asm.R0, asm.DWord), asm.Mov.Imm(asm.R0, code), asm.Return())
}

// loadAnswered loads the program that asks the driver with an answer of the test in the driver's place.
func loadAnswered(t *testing.T, cfg SteerConfig, answer asm.Instructions) (*Steer, error) {
	t.Helper()
	s := &Steer{fanout: 1}
	spec, err := s.specify(&cfg)
	check(t, err)
	program := spec.Programs[ProgramName]
	program.Ifindex, program.Flags = 0, program.Flags&^unix.BPF_F_XDP_DEV_BOUND_ONLY
	asked := 0
	for i := range program.Instructions {
		if program.Instructions[i].IsKfuncCall() {
			call := asm.Instruction{OpCode: asm.Call.Op(asm.ImmSource), Src: asm.PseudoCall, Constant: -1}
			program.Instructions[i] = call.WithReference("card")
			asked++
		}
	}
	if asked != 1 {
		t.Fatalf("the driver is asked at %d places", asked)
	}
	// The verifier wants the line of each function's beginning.
	answer[0] = answer[0].WithSource(program.Instructions[0].Source())
	program.Instructions = append(program.Instructions, answer...)
	if err := s.load(spec, &cfg); err != nil {
		return nil, err
	}
	return s, nil
}

// Goal: what the driver says of the card's time gets into the metadata, its low half, and nothing where it
// says that it has none, or a time of 0. Method: the call of the driver's function is exchanged for one of
// instructions that answer as drivers do; the packets, the program and the socket are real.
func TestPrivCardTime(t *testing.T) {
	for name, c := range map[string]struct {
		answer asm.Instructions
		want   bool
	}{
		"a time":   {answerOf(true, 0), true},
		"time 0":   {answerOf(false, 0), false},
		"none":     {answerOf(true, -int32(unix.ENODATA)), false},
		"no clock": {answerOf(false, -int32(unix.EOPNOTSUPP)), false},
	} {
		t.Run(name, func(t *testing.T) {
			lab := testenv.NewLab(t, 1)
			s, socket := steerOnVeth(t, lab, link.XDPDriverMode, func(cfg SteerConfig) (*Steer, error) {
				return loadAnswered(t, cfg, c.answer)
			})
			v4, _ := netip.AddrFromSlice(lab.GatewayIPv4.To4())
			check(t, s.SetListeners([]Listener{{ID: 3, Port: ourPort, Addresses: []netip.Addr{v4}}}))
			check(t, s.SetRedirect(true))
			s.Heartbeats()[0].Store(nowMonotonic(t))
			for i := range 3 {
				send(t, lab, lab.GatewayIPv4, ourPort, "m v=1")
				area, _ := socket.next(t, i)
				meta, ok := abi.ReadMeta(area)
				if !ok || meta.Listener != 3 {
					t.Fatalf("metadata %+v, %t", meta, ok)
				}
				if !c.want {
					if meta.Flags != 0 || meta.CardTime != 0 {
						t.Errorf("the card told no time, and the metadata is %+v", meta)
					}
					continue
				}
				// Asked after the arrival was noted, on the same CPU.
				late := int32(meta.CardTime - uint32(meta.Arrival+uint64(cardAhead)))
				if meta.Flags != abi.FlagCardTime || late < 0 || time.Duration(late) > time.Second {
					t.Errorf("metadata %+v: the card's time is %d ns after the arrival", meta, late)
				}
			}
		})
	}
}
