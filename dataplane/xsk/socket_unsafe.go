package xsk

import (
	"runtime"
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// umemReg is struct xdp_umem_reg_v1 (net/xdp/xsk.c): the part of struct xdp_umem_reg that every kernel takes.
// What was appended since (flags, the length of TX metadata) is zero for us, and the length that a kernel
// accepts beyond this part differs between versions.
type umemReg struct {
	_ structs.HostLayout

	addr      uint64
	length    uint64
	chunkSize uint32
	headroom  uint32 // beyond XDP_PACKET_HEADROOM: none, which has room for our metadata
}

// registerUMEM pins the memory and makes it the socket's UMEM.
func registerUMEM(fd int, umem []byte, frameSize int) error {
	reg := umemReg{addr: umemAddress(umem), length: uint64(len(umem)), chunkSize: uint32(frameSize)}
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_UMEM_REG,
		uintptr(unsafe.Pointer(&reg)), unsafe.Sizeof(reg), 0)
	runtime.KeepAlive(umem)
	if errno != 0 {
		return errno
	}
	return nil
}

// umemAddress is where the memory begins. It does not move: it is outside of the Go heap.
func umemAddress(umem []byte) uint64 { return uint64(uintptr(unsafe.Pointer(unsafe.SliceData(umem)))) }

// mmapOffsets reads struct xdp_mmap_offsets: where in its mapping each part of a ring is.
func mmapOffsets(fd int) (unix.XDPMmapOffsets, error) {
	var offsets unix.XDPMmapOffsets
	err := getsockopt(fd, unix.XDP_MMAP_OFFSETS, unsafe.Pointer(&offsets), unsafe.Sizeof(offsets))
	return offsets, err
}

// readStatistics reads struct xdp_statistics.
func readStatistics(fd int) (unix.XDPStatistics, error) {
	var statistics unix.XDPStatistics
	err := getsockopt(fd, unix.XDP_STATISTICS, unsafe.Pointer(&statistics), unsafe.Sizeof(statistics))
	return statistics, err
}

func getsockopt(fd, option int, value unsafe.Pointer, size uintptr) error {
	length := uint32(size)
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(option),
		uintptr(value), uintptr(unsafe.Pointer(&length)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// wakeReceive lets the driver look at the fill ring, if it asked for that, and otherwise only says how the
// socket is (xsk_recvmsg, net/xdp/xsk.c). It does not wait, so the Go scheduler need not know of it.
func wakeReceive(fd int) unix.Errno {
	_, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return errno
}

// poll lets the kernel run the driver's receive path (xsk_recvmsg, net/xdp/xsk.c), for as long as the
// socket's busy polling allows, which the Go scheduler should know of.
func poll(fd int) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_RECVFROM, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return errno
}

// wakeTransmit lets the kernel send (xsk_sendmsg, net/xdp/xsk.c). In copy mode the packets go through the
// driver before it returns, which the Go scheduler should know of.
func wakeTransmit(fd int) unix.Errno {
	_, _, errno := unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), 0, 0, unix.MSG_DONTWAIT, 0, 0)
	return errno
}
