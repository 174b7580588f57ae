package udp

import (
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// meminfoDrops is the place of SK_MEMINFO_DROPS among the SK_MEMINFO_VARS numbers that SO_MEMINFO gives
// (include/uapi/linux/sock_diag.h).
const (
	meminfoDrops = 8
	meminfoVars  = 9
)

// addressOf is where memory begins. It stays there: neither mmap'd memory nor an object on Go's heap ever
// moves.
func addressOf(memory []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(memory))) }

// misalignment is how many bytes of memory lie before its first cache line.
func misalignment(memory []byte) int { return int(-addressOf(memory) & (lineSize - 1)) }

// receiveMessages fills messages, which begin at the start of memory, without waiting, and returns how
// many.
func receiveMessages(fd int, memory []byte, limit int) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(memory))), uintptr(limit), unix.MSG_DONTWAIT, 0, 0)
	runtime.KeepAlive(memory)
	return int(n), errno
}

// dropCounter is the kernel's count of what it dropped for this socket; it wraps at 2³².
func dropCounter(fd int) (uint32, error) {
	var numbers [meminfoVars]uint32
	size := uint32(unsafe.Sizeof(numbers))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_MEMINFO,
		uintptr(unsafe.Pointer(&numbers)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, errno
	}
	return numbers[meminfoDrops], nil
}
