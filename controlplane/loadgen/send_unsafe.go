package loadgen

import (
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

// burst is the packets that one system call sends. They lie in one piece of memory, each in a place of its
// own.
type burst struct {
	messages []message
	vectors  []unix.Iovec
	packets  [][]byte
}

func newBurst(packets [][]byte) *burst {
	b := &burst{
		messages: make([]message, len(packets)), vectors: make([]unix.Iovec, len(packets)), packets: packets,
	}
	for i, packet := range packets {
		b.vectors[i].Base = unsafe.SliceData(packet)
		b.vectors[i].SetLen(len(packet))
		b.messages[i].Iov = &b.vectors[i]
		b.messages[i].SetIovlen(1)
	}
	return b
}

// resize sets how many bytes of a packet are sent.
func (b *burst) resize(packet, size int) { b.vectors[packet].SetLen(size) }

func (b *burst) size(packet int) int { return int(b.vectors[packet].Len) }

// send sends the packets first … last-1 on a connected socket and returns how many the kernel took.
func (b *burst) send(fd, first, last int) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.messages[first])),
		uintptr(last-first), 0, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
