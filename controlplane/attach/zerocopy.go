package attach

import "fmt"

// TrustsZeroCopy tells whether mode auto takes a driver's zero-copy, where it is offered. igb's hands over
// frames a second time, which the worker or the card has by then, once frames ran out: refilling the card's
// ring in part, at its end, leaves the length of a packet of the round before in the descriptor that comes
// next (igb_alloc_rx_buffers_zc, drivers/net/ethernet/intel/igb/igb_xsk.c, Linux 6.14 to 7.3). And with
// interrupts apart for receiving and sending (up to half of the queues that the card can have) it never looks
// for frames again (igb_xsk_wakeup there, until 6.18).
func TrustsZeroCopy(driver string) bool { return driver != "igb" }

// wholeUnit is in what igb's and igc's cards count their receive buffers (SRRCTL.BSIZEPKT), in bytes.
const wholeUnit = 1024

// WholeWithZeroCopy is how many bytes a packet may have with a driver's zero-copy, in frames that have room
// for packetMax of them. igb and igc give the card what of a frame is whole KiB, the card deals a longer
// packet out to several frames, and the driver takes each of these for a packet of its own
// (igb_setup_srrctl and igb_clean_rx_irq_zc, igc_configure_rx_ring and igc_clean_rx_irq_zc in
// drivers/net/ethernet/intel, Linux 6.1 to 7.3): not even the kernel gets such a packet.
func WholeWithZeroCopy(driver string, packetMax int) int {
	switch driver {
	case "igb", "igc":
		return packetMax / wholeUnit * wholeUnit
	}
	return packetMax
}

// ZeroCopyFits tells whether the longest packet of an MTU is whole with a driver's zero-copy. One that is
// longer than a frame is for the kernel to judge (XDP_USE_SG).
func ZeroCopyFits(driver string, mtu, packetMax int) bool {
	whole := WholeWithZeroCopy(driver, packetMax)
	return whole == packetMax || !Jumbo(mtu, whole)
}

// WhyTooLong is why an interface is not taken with zero-copy where ZeroCopyFits is false, and what mends it.
func WhyTooLong(name, driver string, mtu, packetMax int) (problem, remedy string) {
	whole := WholeWithZeroCopy(driver, packetMax)
	problem = fmt.Sprintf("zero-copy of %s breaks packets longer than %d bytes into pieces, in frames of "+
		"this size, and MTU %d lets longer ones come", driver, whole, mtu)
	if packetMax < framePage && ZeroCopyFits(driver, mtu, framePage) {
		return problem, "`workers: {frame_size: 4096}`"
	}
	return problem, fmt.Sprintf("`ip link set dev %s mtu %d`", name, whole-linkHeader)
}

// DemandWhole is the error for an interface whose driver has zero-copy, but not for packets of this MTU.
func DemandWhole(name, driver string, mtu, packetMax int) error {
	if ZeroCopyFits(driver, mtu, packetMax) {
		return nil
	}
	problem, remedy := WhyTooLong(name, driver, mtu, packetMax)
	return &Error{Kind: Unsupported, Interface: name, Attempt: "demand zero-copy of", Problem: problem,
		Remedy: remedy + ", or use mode auto or native"}
}
