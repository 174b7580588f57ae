package attach

import (
	"fmt"
	"runtime"
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Commands of linux/ethtool.h that x/sys has no call for.
const (
	ethtoolGetRings    = 0x2d // ETHTOOL_GRXRINGS
	ethtoolGetChannels = 0x3c // ETHTOOL_GCHANNELS
)

// ethtoolChannels is struct ethtool_channels of linux/ethtool.h.
type ethtoolChannels struct {
	_                                                 structs.HostLayout
	command                                           uint32
	maxRX, maxTX, maxOther, maxCombined               uint32
	countRX, countTX, countOther, countCombinedQueues uint32
}

// ethtoolRXNFC is the head of struct ethtool_rxnfc of linux/ethtool.h, which ETHTOOL_GRXRINGS fills, followed
// by the room for the rest that the kernel may copy back.
type ethtoolRXNFC struct {
	_        structs.HostLayout
	command  uint32
	flowType uint32
	data     uint64 // the number of rings
	_        [176]byte
}

// ifreqPointer is struct ifreq of linux/if.h with ifr_data as its union's member.
type ifreqPointer struct {
	_    structs.HostLayout
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// receiveQueues is how many receive queues the interface has now, by its driver's word. The socket decides in
// which network namespace the name is looked up.
func receiveQueues(socket int, name string) (int, error) {
	channels := ethtoolChannels{command: ethtoolGetChannels}
	err := ethtool(socket, name, unsafe.Pointer(&channels))
	if count := int(channels.countRX + channels.countCombinedQueues); err == nil && count > 0 {
		return count, nil
	}
	rings := ethtoolRXNFC{command: ethtoolGetRings}
	if err := ethtool(socket, name, unsafe.Pointer(&rings)); err != nil {
		return 0, fmt.Errorf("ask the driver of %q for its queues: %w", name, err)
	}
	return int(rings.data), nil
}

func ethtool(socket int, name string, command unsafe.Pointer) error {
	request := ifreqPointer{data: command}
	if len(name) >= len(request.name) {
		return unix.ENODEV
	}
	copy(request.name[:], name)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL,
		uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(command)
	if errno != 0 {
		return errno
	}
	return nil
}
