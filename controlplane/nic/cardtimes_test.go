package nic

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Goal: a card tells times of every packet only where its driver says all that it takes: a clock, stamps by
// the card, and the filter that leaves no packet out. Method: answers as drivers give them.
func TestCardTimesOf(t *testing.T) {
	f := func(what string, flags, filters uint32, clock int32, want CardTimes) {
		t.Helper()
		got := cardTimesOf(&unix.EthtoolTsInfo{So_timestamping: flags, Rx_filters: filters, Phc_index: clock})
		if got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	const software = unix.SOF_TIMESTAMPING_RX_SOFTWARE | unix.SOF_TIMESTAMPING_TX_SOFTWARE |
		unix.SOF_TIMESTAMPING_SOFTWARE
	const hardware = software | unix.SOF_TIMESTAMPING_RX_HARDWARE | unix.SOF_TIMESTAMPING_RAW_HARDWARE
	const none, all = 1 << unix.HWTSTAMP_FILTER_NONE, 1 << unix.HWTSTAMP_FILTER_ALL
	f("veth", software, none, -1, CardTimes{})
	f("ice", hardware, none|all, 2, CardTimes{Clock: "/dev/ptp2", Every: true})
	f("igb with an 82576", hardware, none|1<<unix.HWTSTAMP_FILTER_PTP_V2_EVENT, 0,
		CardTimes{Clock: "/dev/ptp0"})
	f("stamps of what is sent alone", software|unix.SOF_TIMESTAMPING_TX_HARDWARE, all, 0, CardTimes{})
}

// Goal: an interface without such times is no error, and one that is not there is.
func TestAskCardTimes(t *testing.T) {
	if got, err := AskCardTimes("lo"); err != nil || got != (CardTimes{}) {
		t.Errorf("loopback: %+v, %v", got, err)
	}
	if _, err := AskCardTimes("nosuch0"); err == nil {
		t.Error("no error of an interface that is not there")
	}
}
