package gateway

import (
	"culvert/controlplane/telemetry"
	"culvert/dataplane/xsk"
)

// The packet balance's reasons for a packet between the XDP program and a worker.
const (
	dropRingFull      = "ring_full"       // the RX ring had no slot
	dropFillRingEmpty = "fill_ring_empty" // the worker had given the kernel no frame for it
	dropNoRoom        = "no_room"         // longer than a frame, or than the frames that were there
)

// queueDrops says why packets were lost, from the raw counters of an interface's sockets, which overlap: in
// copy mode rx_dropped holds the packets that found the fill ring empty, too. In zero-copy mode those wait in
// the card, and the counter of empty fill rings counts retries.
func (p *port) queueDrops(queues []telemetry.Queue, raw []xsk.Statistics) {
	for i := 0; i < len(queues); {
		end := i + 1
		for end < len(queues) && queues[end].Queue == queues[i].Queue {
			end++
		}
		if p.mode == modeZeroCopy {
			for j := i; j < end; j++ {
				queues[j].Drops = map[string]uint64{dropRingFull: raw[j].RXRingFull, dropFillRingEmpty: 0,
					dropNoRoom: 0}
			}
		} else {
			p.queues[i].split(queues[i:end], raw[i:end])
		}
		i = end
	}
}

// split tells the packets of one queue's sockets that found no frame from those that were too long. s is the
// first of these sockets, whose fill ring all share; the kernel counts it once, and rx_dropped of each.
func (s *served) split(queues []telemetry.Queue, raw []xsk.Statistics) {
	var dropped uint64
	for i := range raw {
		dropped += raw[i].RXDropped
	}
	// The counters are not read at one moment, and a packet that came in between must not make what was told
	// before smaller.
	if empty := raw[0].FillRingEmpty; dropped > empty {
		s.noRoom = max(s.noRoom, dropped-empty)
	}
	left := s.noRoom
	for i := range raw {
		noRoom := min(left, raw[i].RXDropped)
		left -= noRoom
		queues[i].Drops = map[string]uint64{dropRingFull: raw[i].RXRingFull, dropNoRoom: noRoom,
			dropFillRingEmpty: raw[i].RXDropped - noRoom}
	}
}
