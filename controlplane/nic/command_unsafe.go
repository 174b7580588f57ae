package nic

import (
	"runtime"
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ifreq is struct ifreq of linux/if.h with ifr_data as its union's member.
type ifreq struct {
	_    structs.HostLayout
	name [unix.IFNAMSIZ]byte
	data unsafe.Pointer
	_    [24 - unsafe.Sizeof(uintptr(0))]byte
}

// Command gives a driver one request of linux/ethtool.h, which begins with the command's number; the kernel
// writes the answer over it. The request must be as long as the command's structure. The socket, of any kind,
// decides in which network namespace the interface is looked up. Errors are the kernel's: EOPNOTSUPP where
// the driver does not know the command.
func Command(socket int, iface string, request []byte) error {
	if len(iface) >= unix.IFNAMSIZ {
		return unix.ENODEV
	}
	question := ifreq{data: unsafe.Pointer(unsafe.SliceData(request))}
	copy(question.name[:], iface)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL,
		uintptr(unsafe.Pointer(&question)))
	runtime.KeepAlive(request)
	if errno != 0 {
		return errno
	}
	return nil
}
