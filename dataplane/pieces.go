package dataplane

import (
	"culvert/bpf/abi"
	"culvert/dataplane/xsk"
)

// assembly puts a packet together that lies in several frames, so that it can be read like every other: the
// metadata, then the packet. It copies, once. The frames may come in two turns.
type assembly struct {
	bytes  []byte // of fixed size; nil in a queue whose packets fit into a frame
	length int    // of the packet so far; 0: none is begun
	over   bool   // it was longer than the program lets through
}

func newAssembly() assembly { return assembly{bytes: make([]byte, abi.MetaSize+abi.PacketMax)} }

// add copies one frame's part.
func (a *assembly) add(umem []byte, d *xsk.Desc) {
	if a.length == 0 {
		copy(a.bytes, umem[d.Addr-abi.MetaSize:d.Addr])
	}
	n := copy(a.bytes[abi.MetaSize+a.length:], umem[d.Addr:d.Addr+uint64(d.Len)])
	a.length += n
	a.over = a.over || n < int(d.Len)
}

// eatPieces eats frames of a queue whose packets may lie in several, and returns how many packets ended.
func (w *Worker) eatPieces(q *Queue, umem []byte, descs []xsk.Desc, now int64) (packets int) {
	a := &q.assembly
	whole := 0 // where the packets of one frame each begin that were not eaten yet
	for i := range descs {
		d := &descs[i]
		if a.length == 0 && !d.Continues() {
			packets++
			continue
		}
		w.eatFrames(umem, descs[whole:i], &q.config, now)
		whole = i + 1
		a.add(umem, d)
		if d.Continues() {
			continue
		}
		packets++
		w.eatAssembled(q, now)
	}
	w.eatFrames(umem, descs[whole:], &q.config, now)
	return packets
}

// eatAssembled eats the packet that is put together.
func (w *Worker) eatAssembled(q *Queue, now int64) {
	a := &q.assembly
	w.counters.PacketsAssembled++
	if a.over {
		w.rejectFrame(FrameLength, &Payload{})
	} else {
		desc := [1]xsk.Desc{{Addr: abi.MetaSize, Len: uint32(a.length)}}
		w.eatFrames(a.bytes, desc[:], &q.config, now)
	}
	a.length, a.over = 0, false
}
