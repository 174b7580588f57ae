package xsk

// Statistics is the kernel's struct xdp_statistics (include/uapi/linux/if_xdp.h). The counters overlap and
// are never summed: Drops says what they mean.
type Statistics struct {
	RXDropped      uint64 // copy mode: packets for which there was no frame, or which were longer than one
	RXInvalidDescs uint64 // fill ring slots that named no frame: a bug of ours
	TXInvalidDescs uint64 // TX ring slots that named no packet: a bug of ours
	RXRingFull     uint64 // packets for which the RX ring had no slot
	// FillRingEmpty counts how often the kernel looked for a frame and found none. In copy mode each is a
	// packet that stands in RXDropped too; in zero-copy mode it is the driver trying again, and no packet at
	// all.
	FillRingEmpty uint64
	TXRingEmpty   uint64 // how often the kernel looked for a packet to send and found none
}

// Drops is the number of packets that were redirected to the socket and did not reach it. In zero-copy mode a
// shortage of frames is not seen here: the packets wait in the NIC, or the NIC drops and counts them.
func (s Statistics) Drops() uint64 { return s.RXRingFull + s.RXDropped }
