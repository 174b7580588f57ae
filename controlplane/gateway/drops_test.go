package gateway

import (
	"testing"

	"culvert/controlplane/telemetry"
	"culvert/dataplane/xsk"
)

// Goal: each lost packet has one reason, the sum is the kernel's, and no reason's count ever falls, although
// the kernel's counters overlap, are shared by a queue's sockets, and are read while they grow. Method: raw
// counters of two queues, one with two sockets, as the kernel would show them one after another.
func TestDropsBySocket(t *testing.T) {
	p := &port{queues: []*served{{number: 0}, {number: 0, member: 1}, {number: 1}}}
	// f takes rx_dropped and the fill ring's misses of the three sockets, and the RX ring's of the last.
	f := func(dropped, empty [3]uint64, ringFull uint64, fillEmpty, noRoom [2]uint64) {
		t.Helper()
		queues := []telemetry.Queue{{Queue: 0}, {Queue: 0, Socket: 1}, {Queue: 1}}
		raw := make([]xsk.Statistics, 3)
		for i := range raw {
			raw[i] = xsk.Statistics{RXDropped: dropped[i], FillRingEmpty: empty[i]}
		}
		raw[2].RXRingFull = ringFull
		p.queueDrops(queues, raw)
		for i, q := range queues {
			want := raw[i].Drops()
			if p.mode == modeZeroCopy {
				want = raw[i].RXRingFull
			}
			var got uint64
			for _, n := range q.Drops {
				got += n
			}
			if got != want {
				t.Fatalf("socket %d has %v, want %d together", i, q.Drops, want)
			}
		}
		for i, at := range [2][]telemetry.Queue{queues[:2], queues[2:]} {
			var gotEmpty, gotNoRoom uint64
			for _, q := range at {
				gotEmpty += q.Drops[dropFillRingEmpty]
				gotNoRoom += q.Drops[dropNoRoom]
			}
			if gotEmpty != fillEmpty[i] || gotNoRoom != noRoom[i] {
				t.Fatalf("queue %d: %v, want %d and %d", i, at, fillEmpty[i], noRoom[i])
			}
		}
		if queues[2].Drops[dropRingFull] != ringFull {
			t.Fatalf("%v, want %d of ring_full", queues[2].Drops, ringFull)
		}
	}
	f([3]uint64{}, [3]uint64{}, 0, [2]uint64{}, [2]uint64{})
	f([3]uint64{3, 4, 5}, [3]uint64{7, 0, 5}, 6, [2]uint64{7, 5}, [2]uint64{})
	f([3]uint64{3, 6, 9}, [3]uint64{7, 0, 5}, 6, [2]uint64{7, 5}, [2]uint64{2, 4})
	// A miss that is counted by now, and whose packet is not yet.
	f([3]uint64{3, 6, 9}, [3]uint64{8, 0, 6}, 6, [2]uint64{7, 5}, [2]uint64{2, 4})
	f([3]uint64{4, 6, 10}, [3]uint64{8, 0, 6}, 6, [2]uint64{8, 6}, [2]uint64{2, 4})
	// In zero-copy mode a packet that finds no frame waits in the card.
	p.mode = modeZeroCopy
	f([3]uint64{}, [3]uint64{1_000_000, 0, 0}, 2, [2]uint64{}, [2]uint64{})
}
