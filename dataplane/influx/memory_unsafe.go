package influx

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"structs"
	"unsafe"

	"golang.org/x/sys/unix"
)

// putAddress writes the raw socket address into memory and returns the part that it takes.
func putAddress(memory []byte, address netip.AddrPort) ([]byte, error) {
	clear(memory)
	ip := address.Addr().Unmap()
	if ip.Is4() {
		// struct sockaddr_in: family, port in network order, address.
		binary.NativeEndian.PutUint16(memory, unix.AF_INET)
		binary.BigEndian.PutUint16(memory[2:], address.Port())
		v4 := ip.As4()
		copy(memory[4:], v4[:])
		return memory[:unix.SizeofSockaddrInet4], nil
	}
	// struct sockaddr_in6: family, port in network order, flow, address, scope.
	scope, err := scopeOf(ip.Zone())
	if err != nil {
		return nil, err
	}
	binary.NativeEndian.PutUint16(memory, unix.AF_INET6)
	binary.BigEndian.PutUint16(memory[2:], address.Port())
	v6 := ip.As16()
	copy(memory[8:], v6[:])
	binary.NativeEndian.PutUint32(memory[24:], scope)
	return memory[:unix.SizeofSockaddrInet6], nil
}

// scopeOf is the index of the interface that a link-local address is on.
func scopeOf(zone string) (uint32, error) {
	if zone == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n), nil
	}
	link, err := net.InterfaceByName(zone)
	if err != nil {
		return 0, fmt.Errorf("find interface %q: %w", zone, err)
	}
	return uint32(link.Index), nil
}

// message is what sendmsg reads: struct msghdr and two struct iovec. Addresses stand in it as numbers: what
// they name lies outside of the Go heap.
type message struct {
	_             structs.HostLayout
	name          uintptr
	nameLength    uint32
	vectors       uintptr
	vectorCount   uintptr
	control       uintptr
	controlLength uintptr
	flags         int32
	ranges        [2]struct{ base, length uintptr }
}

// putMessage writes into memory, which is aligned, what sends head and then body; head may be empty, body
// not.
func putMessage(memory, head, body []byte) {
	m := (*message)(unsafe.Pointer(unsafe.SliceData(memory[:unsafe.Sizeof(message{})])))
	n := 0
	for _, part := range [2][]byte{head, body} {
		if len(part) > 0 {
			m.ranges[n].base = uintptr(unsafe.Pointer(unsafe.SliceData(part)))
			m.ranges[n].length = uintptr(len(part))
			n++
		}
	}
	m.vectors = uintptr(unsafe.Pointer(&m.ranges))
	m.vectorCount = uintptr(n)
}

// sendMessage sends what putMessage wrote as far as it goes without waiting. It is a raw system call, since
// it never blocks.
func sendMessage(fd int, memory []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(memory))), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}

// connectTo starts a connect to what putAddress wrote.
func connectTo(fd int, address []byte) unix.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(address))), uintptr(len(address)))
	return errno
}

// receive takes what has come without waiting.
func receive(fd int, into []byte) (int, unix.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd),
		uintptr(unsafe.Pointer(unsafe.SliceData(into))), uintptr(len(into)), unix.MSG_DONTWAIT, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(n), 0
}
