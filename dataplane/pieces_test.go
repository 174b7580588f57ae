package dataplane

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"culvert/bpf/abi"
	"culvert/dataplane/xsk"
)

// cut lays packets out in frames of a UMEM as the kernel does: the metadata in front of the first part, and
// every part but the last marked. parts[i] is the length of the i-th frame's part of each packet.
func cut(umem []byte, descs []xsk.Desc, packet, metadata []byte, part int) []xsk.Desc {
	const headroom, continues = 256, 1
	at := (len(descs)) * slabFrameSize
	for first := true; first || len(packet) > 0; first = false {
		n := min(part, len(packet))
		if first {
			copy(umem[at+headroom-len(metadata):], metadata)
		}
		copy(umem[at+headroom:], packet[:n])
		d := xsk.Desc{Addr: uint64(at + headroom), Len: uint32(n)}
		if packet = packet[n:]; len(packet) > 0 {
			d.Options = continues
		}
		descs = append(descs, d)
		at += slabFrameSize
	}
	return descs
}

// Goal: packets that lie in several frames are eaten whole, each once, whatever else comes between turns, and
// what is wrong with one is rejected like in a short one. Method: packets of 1 to 300 points in parts of
// random sizes, in batches of random sizes; some with a wrong sum, without metadata, or with a length that
// lies.
func TestEatPieces(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	w := openWorker(t, nil)
	q := &Queue{config: QueueConfig{Segments: true}, assembly: newAssembly()}
	umem := make([]byte, 4096*slabFrameSize)
	var descs []xsk.Desc
	var packets, points, assembled, sums, without, lengths uint64
	for n := range 300 {
		var text strings.Builder
		lines := 1 + random.IntN(300)
		for line := range lines {
			fmt.Fprintf(&text, "m,n=%d v=%d %d\n", n, line, 1700000000000000000+line)
		}
		packet, metadata := frame(text.String(), 1)
		part := 64 + random.IntN(1792-64)
		packets++
		if len(packet) > part {
			assembled++
		}
		switch random.IntN(8) {
		case 0:
			packet[len(packet)-1] ^= 1
			sums++
		case 1:
			clear(metadata)
			without++
		case 2:
			packet = append(packet, 0)
			lengths++
			if len(packet) == part+1 {
				assembled++
			}
		default:
			points += uint64(lines)
		}
		descs = cut(umem, descs, packet, metadata, part)
	}
	var ended uint64
	for rest := descs; len(rest) > 0; {
		n := min(1+random.IntN(64), len(rest))
		ended += uint64(w.eatPieces(q, umem, rest[:n], 2))
		rest = rest[n:]
	}
	c := &w.counters
	if ended != packets || c.PacketsAssembled != assembled ||
		c.FramesDecoded != packets-sums-without-lengths ||
		total(c.PointsReceived[:]) != points {
		t.Fatalf("%d packets of %d ended, %d assembled of %d, %d decoded, %d points of %d", ended, packets,
			c.PacketsAssembled, assembled, c.FramesDecoded, total(c.PointsReceived[:]), points)
	}
	if c.FramesRejected[FrameChecksum] != sums || c.FramesRejected[FrameNoMetadata] != without ||
		c.FramesRejected[FrameLength] != lengths {
		t.Fatalf("rejected %v, want %d sums, %d without metadata, %d lengths", c.FramesRejected, sums,
			without, lengths)
	}
}

// Goal: more parts than a packet can have take no more memory, and the next packet is eaten.
func TestEatPiecesWithoutEnd(t *testing.T) {
	w := openWorker(t, nil)
	q := &Queue{config: QueueConfig{Segments: true}, assembly: newAssembly()}
	umem := make([]byte, 80*slabFrameSize)
	_, metadata := frame("m v=1 1\n", 1)
	descs := cut(umem, nil, make([]byte, abi.PacketMax+1), metadata, 1792)
	packet, metadata := frame("m v=1 1\n", 1)
	descs = cut(umem, descs, packet, metadata, 1792)
	ended := w.eatPieces(q, umem, descs, 2)
	c := &w.counters
	if ended != 2 || c.FramesRejected[FrameLength] != 1 || c.FramesDecoded != 1 {
		t.Fatalf("%d packets ended, %d decoded, rejected %v", ended, c.FramesDecoded, c.FramesRejected)
	}
}

// Goal: eating packets of several frames allocates nothing.
func TestEatPiecesAllocatesNothing(t *testing.T) {
	w := openWorker(t, nil)
	q := &Queue{config: QueueConfig{Segments: true}, assembly: newAssembly()}
	umem := make([]byte, 8*slabFrameSize)
	packet, metadata := frame(strings.Repeat("m v=1 1\n", 500), 1)
	descs := cut(umem, nil, packet, metadata, 1792)
	stamped := descs[0].Addr - abi.MetaSize
	if n := testing.AllocsPerRun(100, func() {
		copy(umem[stamped:], metadata)
		w.eatPieces(q, umem, descs, 2)
	}); n != 0 {
		t.Fatalf("%v allocations a packet", n)
	}
	if w.counters.FramesDecoded == 0 || w.counters.PacketsAssembled != w.counters.FramesDecoded {
		t.Fatalf("%d decoded, %d assembled", w.counters.FramesDecoded, w.counters.PacketsAssembled)
	}
}
