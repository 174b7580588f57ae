package loadgen

import (
	"encoding/binary"
	"runtime"
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// message is struct mmsghdr of include/linux/socket.h on a 64-bit machine.
type message struct {
	_ structs.HostLayout
	unix.Msghdr
	length uint32
	_      [4]byte
}

// sendCall is the memory that a system call of a burst needs. It belongs to one thread.
type sendCall struct {
	headers [burstMax]message
	vectors [burstMax]unix.Iovec
	// control is a control message that says the size of segments: struct cmsghdr and a __u16, aligned.
	control [unix.SizeofCmsghdr + 8]byte
}

// messages sends packets one by one with one call and returns how many the kernel took.
func (c *sendCall) messages(fd int, packets [][]byte) (int, unix.Errno) {
	c.point(packets)
	for i := range packets {
		c.headers[i] = message{Msghdr: unix.Msghdr{Iov: &c.vectors[i], Iovlen: 1}}
	}
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&c.headers)),
		uintptr(len(packets)), 0, 0, 0)
	runtime.KeepAlive(packets)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// segments sends packets of one size, of which the last may be shorter, as one.
func (c *sendCall) segments(fd int, packets [][]byte) unix.Errno {
	c.point(packets)
	control := (*unix.Cmsghdr)(unsafe.Pointer(&c.control))
	control.Level, control.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	control.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(c.control[unix.CmsgLen(0):], uint16(len(packets[0])))
	header := &c.headers[0].Msghdr
	*header = unix.Msghdr{Iov: &c.vectors[0], Iovlen: uint64(len(packets)), Control: &c.control[0]}
	header.SetControllen(unix.CmsgSpace(2))
	_, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(header)), 0)
	runtime.KeepAlive(packets)
	return errno
}

func (c *sendCall) point(packets [][]byte) {
	for i, packet := range packets {
		c.vectors[i].Base = unsafe.SliceData(packet)
		c.vectors[i].SetLen(len(packet))
	}
}
