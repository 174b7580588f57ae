package xsk

import "structs"

// Desc names the bytes of one packet in the UMEM. It is the kernel's struct xdp_desc
// (include/uapi/linux/if_xdp.h).
type Desc struct {
	_ structs.HostLayout

	Addr    uint64 // offset of the first byte in the UMEM
	Len     uint32 // bytes
	Options uint32 // flags; 0 in a socket without Segments
}

// Continues tells whether the packet goes on in the next descriptor: XDP_PKT_CONTD.
func (d *Desc) Continues() bool { return d.Options&pktContd != 0 }

// pktContd is XDP_PKT_CONTD of the same header.
const pktContd = 1

// Sizes of the slots of the rings, from the same header.
const (
	descSize = 16 // RX and TX: struct xdp_desc
	addrSize = 8  // fill and completion: a __u64 offset
)
