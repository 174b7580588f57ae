package attach

import (
	"strings"
	"testing"
)

// Goal: with zero-copy by igb and igc packets are whole up to the KiB that a frame has, by all others up to
// what it has; what does not fit is an error with what mends it.
func TestZeroCopyFits(t *testing.T) {
	f := func(driver string, mtu, packetMax int, remedy string) {
		t.Helper()
		fits := remedy == ""
		if got := ZeroCopyFits(driver, mtu, packetMax); got != fits {
			t.Errorf("%s, MTU %d, frames for %d bytes: fits %t, want %t", driver, mtu, packetMax, got, fits)
		}
		err := DemandWhole("eth1", driver, mtu, packetMax)
		if (err == nil) != fits || !fits && !strings.Contains(err.Error(), remedy) {
			t.Errorf("%s, MTU %d, frames for %d bytes: %v", driver, mtu, packetMax, err)
		}
	}
	f("igb", 1002, 1792, "")
	f("igb", 1003, 1792, "`workers: {frame_size: 4096}`")
	f("igc", 1500, 1792, "`workers: {frame_size: 4096}`")
	f("igb", 1500, 3840, "")
	f("igb", 3050, 3840, "")
	f("igb", 3051, 3840, "`ip link set dev eth1 mtu 3050`")
	f("igc", 3051, 1792, "`ip link set dev eth1 mtu 1002`")
	f("i40e", 1500, 1792, "")
	// It is taken in several frames, or refused by the kernel.
	f("mlx5_core", 9000, 3840, "")
}
