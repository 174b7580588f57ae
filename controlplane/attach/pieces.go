package attach

import (
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	// linkHeader is an Ethernet header with two VLAN tags, which MTUs do not count.
	linkHeader = 14 + 2*4
	// frameUsual is what a frame of 2048 bytes holds of a packet, beside XDP_PACKET_HEADROOM
	// (include/uapi/linux/bpf.h).
	frameUsual = 2048 - 256
	// framePage is the same of one of 4096.
	framePage = 4096 - 256
)

// Jumbo tells whether packets of an interface may be longer than a frame, of which packetMax bytes are a
// packet's.
func Jumbo(mtu, packetMax int) bool { return mtu+linkHeader > packetMax }

// piecesFrom tells whether packets are to be taken in several pieces: where they may be longer than a frame,
// and the kernel redirects such packets to sockets, which it does since 6.6. It is for native mode: in
// generic mode a long packet may be many datagrams that a local sender gave to its card to cut (UDP_SEGMENT),
// and the kernel's socket takes them apart.
func piecesFrom(mtu, packetMax int) bool {
	if packetMax == 0 {
		packetMax = frameUsual
	}
	return Jumbo(mtu, packetMax) && TakesPieces()
}

// TakesPieces tells whether this kernel gives packets longer than a frame to AF_XDP sockets.
func TakesPieces() bool {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return false
	}
	return since(unix.ByteSliceToString(name.Release[:]), 6, 6)
}

// since tells whether a release such as "6.12.9-amd64" is at least a version.
func since(release string, major, minor int) bool {
	var haveMajor, haveMinor int
	if _, err := fmt.Sscanf(release, "%d.%d", &haveMajor, &haveMinor); err != nil {
		return false
	}
	return haveMajor > major || haveMajor == major && haveMinor >= minor
}
