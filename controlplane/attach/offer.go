package attach

import (
	"encoding/binary"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"culvert/controlplane/nic"
)

// Offer is what an interface's driver says of itself, as it is now: some drivers offer less with few queues.
// That an MTU is too large shows only when the program is attached.
type Offer struct {
	// Known is false on kernels before 6.3, which have no such question; the rest is false then, too.
	Known    bool
	Native   bool // XDP in the driver
	ZeroCopy bool // AF_XDP without a copy
	// Pieces are packets longer than a page to XDP, and from there to AF_XDP sockets with a copy; and
	// ZeroCopyPieces without one.
	Pieces, ZeroCopyPieces bool
	// NoCardTimes says that the driver is known not to tell programs when the card got a packet. Kernels
	// before 6.7 do not know.
	NoCardTimes bool
}

// Of the family "netdev" (include/uapi/linux/netdev.h).
const (
	netdevFamily      = "netdev"
	netdevCmdDevGet   = 1  // NETDEV_CMD_DEV_GET
	netdevIfindex     = 1  // NETDEV_A_DEV_IFINDEX
	netdevXDPFeatures = 3  // NETDEV_A_DEV_XDP_FEATURES
	netdevMaxSegments = 4  // NETDEV_A_DEV_XDP_ZC_MAX_SEGS
	netdevMetadata    = 5  // NETDEV_A_DEV_XDP_RX_METADATA_FEATURES
	featureBasic      = 1  // NETDEV_XDP_ACT_BASIC
	featureZeroCopy   = 8  // NETDEV_XDP_ACT_XSK_ZEROCOPY
	featurePieces     = 32 // NETDEV_XDP_ACT_RX_SG
	metadataTimestamp = 1  // NETDEV_XDP_RX_METADATA_TIMESTAMP
)

// genericHeader is struct genlmsghdr of linux/genetlink.h: command, version, and two bytes that must be 0.
// The library's own type has two bytes and sends four, of which this family refuses the last ones.
type genericHeader [nl.SizeofGenlmsg]byte

// Len is the header's length.
func (genericHeader) Len() int { return nl.SizeofGenlmsg }

// Serialize is the header as it is sent.
func (h genericHeader) Serialize() []byte { return h[:] }

// AskOffer asks the kernel what an interface's driver offers. It needs no privilege and changes nothing. An
// interface that stands on others is said to have no native XDP, whatever its driver says (see Below).
func AskOffer(s State) (Offer, error) {
	if s.Below != Itself {
		return Offer{Known: true}, nil
	}
	family, err := netlink.GenlFamilyGet(netdevFamily)
	if err != nil {
		return Offer{}, nil // The kernel does not know the family.
	}
	request := nl.NewNetlinkRequest(int(family.ID), 0)
	request.AddData(genericHeader{netdevCmdDevGet, uint8(family.Version)})
	request.AddData(nl.NewRtAttr(netdevIfindex, nl.Uint32Attr(uint32(s.Index))))
	messages, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return Offer{}, fmt.Errorf("ask what interface %d offers: %w", s.Index, err)
	}
	for _, message := range messages {
		if len(message) < nl.SizeofGenlmsg {
			continue
		}
		attributes, err := nl.ParseRouteAttr(message[nl.SizeofGenlmsg:])
		if err != nil {
			return Offer{}, fmt.Errorf("read what interface %d offers: %w", s.Index, err)
		}
		if offer := offerOf(attributes); offer.Known {
			return offer, nil
		}
	}
	return Offer{}, nil
}

// offerOf reads the attributes of an interface.
func offerOf(attributes []syscall.NetlinkRouteAttr) (offer Offer) {
	segments, noCardTimes := uint32(1), false
	for _, a := range attributes {
		switch {
		case a.Attr.Type == netdevXDPFeatures && len(a.Value) >= 8:
			bits := binary.NativeEndian.Uint64(a.Value)
			has := func(feature uint64) bool { return bits&feature != 0 }
			offer = Offer{Known: true, Native: has(featureBasic), ZeroCopy: has(featureZeroCopy),
				Pieces: has(featurePieces) && TakesPieces()}
		case a.Attr.Type == netdevMaxSegments && len(a.Value) >= 4:
			segments = binary.NativeEndian.Uint32(a.Value)
		case a.Attr.Type == netdevMetadata && len(a.Value) >= 8:
			noCardTimes = binary.NativeEndian.Uint64(a.Value)&metadataTimestamp == 0
		}
	}
	offer.NoCardTimes = noCardTimes
	offer.ZeroCopyPieces = offer.Pieces && offer.ZeroCopy && segments > 1
	return offer
}

// AskCardTimes asks what an interface's driver says of the times at which its card gets packets. It needs no
// privilege and changes nothing.
func AskCardTimes(s State) (nic.CardTimes, error) {
	times, err := nic.AskCardTimes(s.Name)
	if err != nil || times.Clock == "" {
		return times, err
	}
	offer, err := AskOffer(s)
	times.Untold = offer.NoCardTimes
	return times, err
}

// DemandZeroCopy is the error for an interface whose driver is known to have no zero-copy.
func (o Offer) DemandZeroCopy(name string) error {
	if !o.Known || o.ZeroCopy {
		return nil
	}
	return &Error{Kind: Unsupported, Interface: name, Attempt: "demand zero-copy of",
		Problem: "its driver has none", Remedy: "use mode auto or native"}
}
