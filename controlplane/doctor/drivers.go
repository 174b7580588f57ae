package doctor

// driver is what is known of a driver beside what it says of itself: from the sources of Linux 6.12 and the
// release notes after it.
type driver struct {
	native, zeroCopy bool
	zeroCopySince    string // the kernel that brought it, where that is after 6.1
	metadata         string // the RX metadata that programs may ask it for
	// halfChannels: native XDP takes transmit queues of its own, so at most half of the channels are usable.
	halfChannels bool
	// attachResets: attaching takes the link down for a moment, up to seconds.
	attachResets bool
	// noLRO: with LRO the driver refuses programs, or hands over merged packets.
	noLRO bool
	// forgetsSpread: attaching resets by what the card chooses a packet's queue.
	forgetsSpread bool
	note          string
}

// ChannelsMax is how many of a driver's channels may be in use with native XDP, of those that it can have.
func ChannelsMax(name string, most int) int {
	if drivers()[name].halfChannels {
		return max(most/2, 1)
	}
	return most
}

// ForgetsSpread tells whether a driver forgets hash, table and rules when a program is attached.
func ForgetsSpread(name string) bool { return drivers()[name].forgetsSpread }

// drivers are the makes that gateways are built with. docs/kernels.md has the same table for people, and a
// test compares the two.
func drivers() map[string]driver {
	return map[string]driver{
		"ice": {native: true, zeroCopy: true, metadata: "timestamp, hash, vlan", attachResets: true,
			note: "opening a zero-copy socket resets its queue"},
		"i40e": {native: true, zeroCopy: true, attachResets: true,
			note: "opening a zero-copy socket resets its queue"},
		"ixgbe": {native: true, zeroCopy: true, attachResets: true, noLRO: true,
			note: "its functions for virtual machines (ixgbevf) have no zero-copy"},
		"igb": {native: true, zeroCopy: true, zeroCopySince: "6.14", attachResets: true,
			note: "`mode: auto` takes native: once frames ran out, its zero-copy hands over some twice"},
		"igc": {native: true, zeroCopy: true, metadata: "timestamp, hash", attachResets: true,
			note: "zero-copy of packets longer than 1024 bytes takes `frame_size: 4096`"},
		"mlx5_core": {native: true, zeroCopy: true, metadata: "timestamp, hash, vlan", attachResets: true,
			noLRO: true},
		"bnxt_en": {native: true, halfChannels: true, noLRO: true},
		"ena":     {native: true, halfChannels: true},
		"gve": {native: true, zeroCopy: true, halfChannels: true,
			note: "needs as many transmit as receive queues"},
		"virtio_net": {native: true, zeroCopy: true, zeroCopySince: "6.13", metadata: "hash", noLRO: true,
			forgetsSpread: true,
			note: "zero-copy takes a host that offers iommu_platform; with fewer queues than twice the " +
				"CPUs transmission by XDP takes a lock"},
		"veth": {native: true, metadata: "timestamp, hash, vlan",
			note: "a sender on this host leaves checksums unfinished: `checksum: auto` accepts them"},
		"tun": {native: true},
		"hv_netvsc": {native: true, noLRO: true,
			note: "with a virtual function below it (accelerated networking) it has generic XDP alone"},
		"bonding": {note: "AF_XDP takes packets from its members alone"},
	}
}
