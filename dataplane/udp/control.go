package udp

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// controlHeader is the size of struct cmsghdr of include/linux/socket.h on a 64-bit machine: length (8
// bytes, with the header), level (4), type (4). The next one begins at a multiple of 8.
const controlHeader = 16

// told is what the control messages say about a slot's payload.
type told struct {
	destination [16]byte
	stamp       int64
	segment     int // size of the joined datagrams; 0: it is one
}

// readControl reads the control messages of one slot. What does not belong there is passed over.
func readControl(control []byte, t *told) {
	*t = told{}
	for len(control) >= controlHeader {
		length := binary.NativeEndian.Uint64(control)
		level := int32(binary.NativeEndian.Uint32(control[8:]))
		kind := int32(binary.NativeEndian.Uint32(control[12:]))
		if length < controlHeader || length > uint64(len(control)) {
			return
		}
		body := control[controlHeader:length]
		switch {
		case level == unix.SOL_IPV6 && kind == unix.IPV6_PKTINFO && len(body) >= 16:
			// struct in6_pktinfo: the address first; of a packet over IPv4 in the mapped form.
			copy(t.destination[:], body)
		case level == unix.SOL_IP && kind == unix.IP_PKTINFO && len(body) >= 12:
			// struct in_pktinfo: interface, our address, then the address in the packet.
			t.destination = mapped(body[8:12])
		case level == unix.SOL_SOCKET && kind == unix.SO_TIMESTAMPNS && len(body) >= 16:
			seconds := int64(binary.NativeEndian.Uint64(body))
			t.stamp = seconds*1e9 + int64(binary.NativeEndian.Uint64(body[8:]))
		case level == unix.SOL_UDP && kind == unix.UDP_GRO && len(body) >= 4:
			t.segment = int(int32(binary.NativeEndian.Uint32(body)))
		}
		next := (length + 7) &^ 7
		if next > uint64(len(control)) {
			return
		}
		control = control[next:]
	}
}

// readName is the sender in a struct sockaddr_in6 or sockaddr_in.
func readName(name []byte) (address [16]byte, port uint16) {
	port = binary.BigEndian.Uint16(name[2:])
	switch binary.NativeEndian.Uint16(name) {
	case unix.AF_INET6:
		copy(address[:], name[8:24])
	case unix.AF_INET:
		address = mapped(name[4:8])
	}
	return address, port
}

// mapped is an IPv4 address in 16 bytes.
func mapped(v4 []byte) (address [16]byte) {
	address[10], address[11] = 0xff, 0xff
	copy(address[12:], v4)
	return address
}
