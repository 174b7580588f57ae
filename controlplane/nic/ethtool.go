package nic

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Of the family "ethtool" (linux/ethtool_netlink.h), which kernels have since 5.6.
const (
	ethtoolFamily = "ethtool"

	messageFeatures    = 11 // ETHTOOL_MSG_FEATURES_GET, and …_SET after it
	messageFeaturesSet = 12
	messageRings       = 15
	messageRingsSet    = 16
	messageChannels    = 17
	messageChannelsSet = 18

	// Each message begins with a header, attribute 1, that names the interface by its attribute 2.
	attributeHeader = 1
	headerName      = 2

	channelsRXMax, channelsCombinedMax = 2, 5 // ETHTOOL_A_CHANNELS_…
	channelsRX, channelsTX             = 6, 7
	channelsCombined                   = 9

	ringsRXMax, ringsTXMax = 2, 5 // ETHTOOL_A_RINGS_…
	ringsRX, ringsTX       = 6, 9

	featuresHardware = 2 // ETHTOOL_A_FEATURES_HW: what can be switched
	featuresWanted   = 3
	featuresActive   = 4
	featuresFixed    = 5 // ETHTOOL_A_FEATURES_NOCHANGE

	bitsetBits = 3 // ETHTOOL_A_BITSET_BITS
	bitsBit    = 1
	bitName    = 2
	bitValue   = 3
)

// Channels are an interface's queues: a driver counts them apart or combined, and 0 is what it does not have.
type Channels struct {
	RX, TX, Combined   uint32
	RXMax, CombinedMax uint32
}

// Receive is how many receive queues there are now.
func (c Channels) Receive() int { return int(c.RX + c.Combined) }

// ReceiveMax is how many receive queues the card can have.
func (c Channels) ReceiveMax() int { return int(max(c.RXMax, c.CombinedMax)) }

// Rings are the lengths of each queue's rings, in descriptors.
type Rings struct{ RX, TX, RXMax, TXMax uint32 }

// Feature is one offload by the kernel's name of it, as `ethtool -k` lists them.
type Feature struct {
	Active, Wanted bool
	// Fixed features cannot be changed: the driver always or never has them.
	Fixed bool
}

// genericHeader is struct genlmsghdr of linux/genetlink.h with its two reserved bytes.
type genericHeader [nl.SizeofGenlmsg]byte

// Len is the header's length.
func (genericHeader) Len() int { return nl.SizeofGenlmsg }

// Serialize is the header as it is sent.
func (h genericHeader) Serialize() []byte { return h[:] }

// ErrNotOffered says that a driver does not know the question: it has no channels, or no rings to set.
var ErrNotOffered = errors.New("its driver does not offer that")

// ask sends one message to the family and returns the attributes of the answer, nil where there was none.
func ask(iface string, message uint8, acknowledge bool, attributes ...*nl.RtAttr) (
	map[uint16]syscall.NetlinkRouteAttr, error) {
	family, err := netlink.GenlFamilyGet(ethtoolFamily)
	if err != nil {
		return nil, fmt.Errorf("find the kernel's family %q: %w", ethtoolFamily, err)
	}
	header := nl.NewRtAttr(unix.NLA_F_NESTED|attributeHeader, nil)
	header.AddRtAttr(headerName, nl.ZeroTerminated(iface))
	return exchange(family, message, acknowledge, append([]*nl.RtAttr{header}, attributes...))
}

// exchange sends one message to a family and returns the attributes of the answer, nil where there was none.
// ErrNotOffered: the family, or the driver, does not know the message.
func exchange(family *netlink.GenlFamily, message uint8, acknowledge bool, attributes []*nl.RtAttr) (
	map[uint16]syscall.NetlinkRouteAttr, error) {
	flags := 0
	if acknowledge {
		flags = unix.NLM_F_ACK
	}
	request := nl.NewNetlinkRequest(int(family.ID), flags)
	request.AddData(genericHeader{message, uint8(family.Version)})
	for _, a := range attributes {
		request.AddData(a)
	}
	answers, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, ErrNotOffered
	}
	if err != nil {
		return nil, err
	}
	for _, answer := range answers {
		if len(answer) > nl.SizeofGenlmsg {
			return parse(answer[nl.SizeofGenlmsg:])
		}
	}
	return nil, nil
}

// parse is the attributes by number, without the bits that say how they are stored.
func parse(payload []byte) (map[uint16]syscall.NetlinkRouteAttr, error) {
	list, err := nl.ParseRouteAttr(payload)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's answer: %w", err)
	}
	byType := make(map[uint16]syscall.NetlinkRouteAttr, len(list))
	for _, a := range list {
		byType[a.Attr.Type&nl.NLA_TYPE_MASK] = a
	}
	return byType, nil
}

func number(a map[uint16]syscall.NetlinkRouteAttr, which uint16) uint32 {
	if value := a[which].Value; len(value) >= 4 {
		return binary.NativeEndian.Uint32(value)
	}
	return 0
}

// AskChannels reads an interface's channels. The error is ErrNotOffered where the driver has none to tell of.
func AskChannels(iface string) (Channels, error) {
	a, err := ask(iface, messageChannels, false)
	if err != nil {
		return Channels{}, fmt.Errorf("ask for the channels of %q: %w", iface, err)
	}
	return Channels{
		RX: number(a, channelsRX), TX: number(a, channelsTX), Combined: number(a, channelsCombined),
		RXMax: number(a, channelsRXMax), CombinedMax: number(a, channelsCombinedMax),
	}, nil
}

// SetChannels sets the numbers that are not 0; their highest values are the card's and are not looked at.
func SetChannels(iface string, c Channels) error {
	err := setNumbers(iface, messageChannelsSet, map[int]uint32{
		channelsRX: c.RX, channelsTX: c.TX, channelsCombined: c.Combined,
	})
	if errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("set the channels of %q: %w: the driver refuses, or a queue that would go has a "+
			"zero-copy socket: stop the gateway first", iface, err)
	}
	if err != nil {
		return fmt.Errorf("set the channels of %q: %w", iface, err)
	}
	return nil
}

// AskRings reads the lengths of an interface's rings, or ErrNotOffered.
func AskRings(iface string) (Rings, error) {
	a, err := ask(iface, messageRings, false)
	if err != nil {
		return Rings{}, fmt.Errorf("ask for the rings of %q: %w", iface, err)
	}
	return Rings{
		RX: number(a, ringsRX), TX: number(a, ringsTX),
		RXMax: number(a, ringsRXMax), TXMax: number(a, ringsTXMax),
	}, nil
}

// SetRings sets the lengths that are not 0. Most drivers take the link down and up for it.
func SetRings(iface string, r Rings) error {
	err := setNumbers(iface, messageRingsSet, map[int]uint32{ringsRX: r.RX, ringsTX: r.TX})
	if err != nil {
		return fmt.Errorf("set the rings of %q: %w", iface, err)
	}
	return nil
}

func setNumbers(iface string, message uint8, values map[int]uint32) error {
	var attributes []*nl.RtAttr
	for which, value := range values {
		if value > 0 {
			attributes = append(attributes, nl.NewRtAttr(which, nl.Uint32Attr(value)))
		}
	}
	_, err := ask(iface, message, true, attributes...)
	return err
}

// AskFeatures reads an interface's offloads by name. One that the driver does not have is not among them.
func AskFeatures(iface string) (map[string]Feature, error) {
	a, err := ask(iface, messageFeatures, false)
	if err != nil {
		return nil, fmt.Errorf("ask for the features of %q: %w", iface, err)
	}
	sets := map[uint16]map[string]bool{}
	for _, which := range []uint16{featuresHardware, featuresWanted, featuresActive, featuresFixed} {
		if sets[which], err = bits(a[which].Value); err != nil {
			return nil, fmt.Errorf("ask for the features of %q: %w", iface, err)
		}
	}
	features := map[string]Feature{}
	for _, set := range sets {
		for name := range set {
			features[name] = Feature{
				Active: sets[featuresActive][name], Wanted: sets[featuresWanted][name],
				Fixed: sets[featuresFixed][name] || !sets[featuresHardware][name],
			}
		}
	}
	return features, nil
}

// bits are the names that are set in a bitset written as a list. In one without a mask, being named is being
// set; in one with a mask each bit says so.
func bits(bitset []byte) (map[string]bool, error) {
	const noMask = 1 // ETHTOOL_A_BITSET_NOMASK
	a, err := parse(bitset)
	if err != nil {
		return nil, err
	}
	_, plain := a[noMask]
	list, err := nl.ParseRouteAttr(a[bitsetBits].Value)
	if err != nil {
		return nil, fmt.Errorf("read a bitset: %w", err)
	}
	set := map[string]bool{}
	for _, entry := range list {
		bit, err := parse(entry.Value)
		if err != nil {
			return nil, err
		}
		if _, on := bit[bitValue]; on || plain {
			set[unix.ByteSliceToString(bit[bitName].Value)] = true
		}
	}
	return set, nil
}

// SetFeatures switches offloads on and off and reports the first that did not become as wanted: a driver may
// accept a wish and not follow it.
func SetFeatures(iface string, wanted map[string]bool) error {
	list := nl.NewRtAttr(unix.NLA_F_NESTED|bitsetBits, nil)
	for name, on := range wanted {
		bit := list.AddRtAttr(unix.NLA_F_NESTED|bitsBit, nil)
		bit.AddRtAttr(bitName, nl.ZeroTerminated(name))
		if on {
			bit.AddRtAttr(bitValue, nil)
		}
	}
	bitset := nl.NewRtAttr(unix.NLA_F_NESTED|featuresWanted, nil)
	bitset.AddChild(list)
	if _, err := ask(iface, messageFeaturesSet, true, bitset); err != nil {
		return fmt.Errorf("set the features of %q: %w", iface, err)
	}
	now, err := AskFeatures(iface)
	if err != nil {
		return err
	}
	for name, on := range wanted {
		if now[name].Active != on {
			return fmt.Errorf("set the features of %q: %s stays %s, though the driver took the wish",
				iface, name, onOff(now[name].Active))
		}
	}
	return nil
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}
