package attach

import (
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Goal: the mirrored kernel structures have the kernel's sizes (linux/ethtool.h, linux/if.h, 64 bits).
func TestEthtoolLayout(t *testing.T) {
	if got := unsafe.Sizeof(ethtoolChannels{}); got != 36 {
		t.Errorf("struct ethtool_channels has %d bytes, want 36", got)
	}
	if got := unsafe.Sizeof(ethtoolRXNFC{}); got < 192 {
		t.Errorf("struct ethtool_rxnfc has 192 bytes, the room for it %d", got)
	}
	if got := unsafe.Sizeof(ifreqPointer{}); got != 40 {
		t.Errorf("struct ifreq has %d bytes, want 40", got)
	}
}

// setChannels is `ethtool -L name rx RX tx TX`.
func setChannels(name string, rx, tx uint32) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	const ethtoolSetChannels = 0x3d
	channels := ethtoolChannels{command: ethtoolGetChannels}
	if err := ethtool(socket, name, unsafe.Pointer(&channels)); err != nil {
		return err
	}
	channels.command, channels.countRX, channels.countTX = ethtoolSetChannels, rx, tx
	return ethtool(socket, name, unsafe.Pointer(&channels))
}
