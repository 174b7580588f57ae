package attach

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// Mode is where in the receive path the program runs.
type Mode uint8

// The modes. Zero-copy and copy are the sockets' business: both run under Native, copy under Generic too.
const (
	Auto    Mode = iota // native, else generic
	Native              // in the driver
	Generic             // behind the driver, on the kernel's own packet: works everywhere, slower
)

var modeNames = [...]string{"auto", "native", "generic"}

func (m Mode) String() string { return modeNames[m] }

// ParseMode reads a mode as the CLI and the configuration write it. "zerocopy" demands native mode here.
func ParseMode(s string) (Mode, error) {
	switch s {
	case "auto":
		return Auto, nil
	case "native", "zerocopy":
		return Native, nil
	case "generic":
		return Generic, nil
	}
	return Auto, fmt.Errorf("mode %q is none of auto, zerocopy, native, generic", s)
}

// XDP_ATTACHED_… of linux/if_link.h.
const (
	attachedNative  = 1
	attachedGeneric = 2
	attachedOffload = 3
	attachedSeveral = 4
)

// kernelMode is the mode by the kernel's word; false for what we never use.
func kernelMode(attached uint32) (Mode, bool) {
	switch attached {
	case attachedNative:
		return Native, true
	case attachedGeneric:
		return Generic, true
	}
	return Auto, false
}

func (m Mode) flags() link.XDPAttachFlags {
	if m == Generic {
		return link.XDPGenericMode
	}
	return link.XDPDriverMode
}

// refusedByDriver tells an answer that means "not this way on this interface" from one that means "not now"
// or "not you". Drivers differ: EOPNOTSUPP where there is no XDP at all, EINVAL (virtio_net, most NICs) or
// ERANGE (veth) for the MTU, ENOSPC (veth) or ENOMEM (virtio_net) for too few queues, E2BIG on some for frame
// sizes.
func refusedByDriver(err error) bool {
	for _, errno := range []unix.Errno{
		unix.EOPNOTSUPP, unix.EINVAL, unix.ERANGE, unix.ENOSPC, unix.ENOMEM, unix.E2BIG,
	} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// mtuUsual is Ethernet's; every driver with XDP takes it in one page.
const mtuUsual = 1500

// whyNotNative puts the driver's refusal into one sentence with its remedy.
func whyNotNative(err error, name, driver string, mtu int) (problem, remedy string) {
	size := errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ERANGE) || errors.Is(err, unix.E2BIG)
	switch {
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Sprintf("driver %q has no native XDP", driver), "use mode generic or socket"
	case mtu > mtuUsual && size:
		tooLarge := "driver %q refuses native XDP, likely because of MTU %d: packets must fit a page"
		if !TakesPieces() {
			tooLarge += ", since this kernel is older than 6.6"
		}
		return fmt.Sprintf(tooLarge, driver, mtu),
			fmt.Sprintf("`ip link set dev %s mtu %d`, or use mode generic", name, mtuUsual)
	case errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ENOMEM):
		return fmt.Sprintf("driver %q has too few queues for native XDP", driver),
			fmt.Sprintf("change them (`ethtool -l %s`, `ethtool -L %s …`), or use mode generic", name, name)
	}
	return fmt.Sprintf("driver %q refuses native XDP", driver),
		fmt.Sprintf("`dmesg` may say more; look at LRO (`ethtool -K %s lro off`), or use mode generic", name)
}
