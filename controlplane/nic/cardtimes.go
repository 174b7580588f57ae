package nic

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// CardTimes is what a driver says of the times of arrival that its card tells (hardware timestamps), by a
// clock of the card's own.
type CardTimes struct {
	// Clock is the file of that clock, "" where there is none.
	Clock string
	// Every says that the card can tell of every packet: some can of those of a time protocol alone.
	Every bool
	// Untold says that the driver does not tell them to XDP programs. Kernels before 6.7 cannot be asked.
	Untold bool
	// On says that it does now. It is a setting of the host's, which programs that keep time set, too.
	On bool
}

// AskCardTimes asks the driver of an interface in the network namespace of the calling thread. Without such a
// driver the answer is that the card tells nothing. It needs no privilege and changes nothing.
func AskCardTimes(iface string) (CardTimes, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return CardTimes{}, fmt.Errorf("open a socket to ask drivers: %w", err)
	}
	defer unix.Close(socket)
	offered, err := unix.IoctlGetEthtoolTsInfo(socket, iface)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return CardTimes{}, nil
	}
	if err != nil {
		return CardTimes{}, fmt.Errorf("ask the driver of %q for its timestamps: %w", iface, err)
	}
	times := cardTimesOf(offered)
	if !times.Every {
		return times, nil
	}
	now, err := unix.IoctlGetHwTstamp(socket, iface)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return CardTimes{}, fmt.Errorf("ask the driver of %q what it stamps: %w", iface, err)
	}
	times.On = err == nil && now.Rx_filter == unix.HWTSTAMP_FILTER_ALL
	return times, nil
}

// cardTimesOf reads what a driver offers (struct ethtool_ts_info, linux/ethtool.h).
func cardTimesOf(offered *unix.EthtoolTsInfo) (times CardTimes) {
	if offered.Phc_index < 0 || offered.So_timestamping&unix.SOF_TIMESTAMPING_RX_HARDWARE == 0 {
		return times
	}
	times.Clock = fmt.Sprintf("/dev/ptp%d", offered.Phc_index)
	times.Every = offered.Rx_filters&(1<<unix.HWTSTAMP_FILTER_ALL) != 0
	return times
}
