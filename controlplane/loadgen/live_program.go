package loadgen

import (
	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
)

const (
	// liveHead is what stands before a frame in its slot: its length, a u32, padded.
	liveHead = 8
	// Where the indices stand in the control map's only entry, each in a cache line of its writer. All are
	// u64, and the first three count packets.
	liveProducedAt  = 0   // written by us
	liveConsumedAt  = 64  // written by the program
	liveSeenAt      = 128 // the program's copy of produced
	liveIdleAt      = 136 // 1 once the program has run without anything to send
	liveControlSize = 192

	// idleClocks is how often the program reads the clock when there is nothing to send. It makes a call
	// last, for minutes; more would let the sender, which shares the CPU, wait for the end of an idle batch
	// too long.
	idleClocks = 4
)

// The program's verdicts (enum xdp_action, include/uapi/linux/bpf.h).
const verdictDrop = 1

// liveProgram takes the next packet out of the ring, makes the frame it is run with this packet, and
// redirects it. With nothing to send it wastes a moment and drops the frame. The frame has the length of the
// longest packet each time it is run.
//
// The atomic addition of nothing reads what we have produced; it orders the reads of the packet after it. The
// atomic addition of one to what is consumed comes after them: on other machines than amd64 a plain store
// might not. Their other sides are liveRing.submit and liveRing.room.
func liveProgram(packets, control *ebpf.Map, index, longest int) asm.Instructions {
	program := asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.LoadMapValue(asm.R7, control.FD(), 0),
		asm.LoadMem(asm.R8, asm.R7, liveConsumedAt, asm.DWord),
		asm.LoadMem(asm.R1, asm.R7, liveSeenAt, asm.DWord),
		asm.JNE.Reg(asm.R8, asm.R1, "packet"),
		asm.Mov.Imm(asm.R1, 0),
		fetchAdd(liveProducedAt),
		asm.StoreMem(asm.R7, liveSeenAt, asm.R1, asm.DWord),
		asm.JEq.Reg(asm.R8, asm.R1, "idle"),

		asm.And.Imm(asm.R8, liveSlots-1).WithSymbol("packet"),
		asm.StoreMem(asm.R10, -4, asm.R8, asm.Word),
		asm.LoadMapPtr(asm.R1, packets.FD()),
		asm.Mov.Reg(asm.R2, asm.R10),
		asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "drop"),
		asm.Mov.Reg(asm.R9, asm.R0),

		// The frame's tail is moved by the difference between its length and the packet's.
		asm.LoadMem(asm.R8, asm.R9, 0, asm.Word),
		asm.JGT.Imm(asm.R8, int32(longest), "drop"),
		asm.JLT.Imm(asm.R8, ethernetHeader, "drop"),
		asm.JEq.Imm(asm.R8, int32(longest), "store"),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.R8),
		asm.Sub.Imm(asm.R2, int32(longest)),
		asm.FnXdpAdjustTail.Call(),
		asm.JNE.Imm(asm.R0, 0, "drop"),

		asm.Mov.Reg(asm.R1, asm.R6).WithSymbol("store"),
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Reg(asm.R3, asm.R9),
		asm.Add.Imm(asm.R3, liveHead),
		asm.Mov.Reg(asm.R4, asm.R8),
		asm.FnXdpStoreBytes.Call(),
		asm.JNE.Imm(asm.R0, 0, "drop"),
		asm.Mov.Imm(asm.R1, 1),
		fetchAdd(liveConsumedAt),
		asm.Mov.Imm(asm.R1, int32(index)),
		asm.Mov.Imm(asm.R2, 0),
		asm.FnRedirect.Call(),
		asm.Return(),
	}
	program = append(program,
		asm.Mov.Imm(asm.R1, 1).WithSymbol("idle"),
		asm.StoreMem(asm.R7, liveIdleAt, asm.R1, asm.DWord),
	)
	for range idleClocks {
		program = append(program, asm.FnKtimeGetNs.Call())
	}
	return append(program,
		asm.Mov.Imm(asm.R0, verdictDrop).WithSymbol("drop"),
		asm.Return(),
	)
}

// fetchAdd adds R1 to an index and puts into R1 what was there before. The constant is what the operation is
// encoded by; the library's version 0.22 forgets it, which makes an addition of it that fetches nothing.
func fetchAdd(offset int16) asm.Instruction {
	instruction := asm.FetchAdd.Mem(asm.R7, asm.R1, asm.DWord, offset)
	instruction.Constant = int64(asm.FetchAdd >> 8)
	return instruction
}
