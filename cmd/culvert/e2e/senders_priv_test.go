package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// port is the listener's in every test.
const port = 8089

// udpSender is an ordinary UDP socket in the sender's namespace, as any program has one.
func udpSender(t *testing.T, lab *testenv.Lab, to net.IP) *net.UDPConn {
	t.Helper()
	return udpSenderTo(t, lab, to, port)
}

// udpSenderTo is udpSender to another port.
func udpSenderTo(t *testing.T, lab *testenv.Lab, to net.IP, port int) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	err := lab.Sender.Do(func() (err error) {
		conn, err = net.DialUDP("udp", nil, &net.UDPAddr{IP: to, Port: port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// rawSender writes whole Ethernet frames out of the sender's end of the veth.
type rawSender struct {
	t       *testing.T
	fd      int
	to      unix.SockaddrLinklayer
	from    net.HardwareAddr
	gateway net.HardwareAddr
	lab     *testenv.Lab
}

func newRawSender(t *testing.T, lab *testenv.Lab) *rawSender {
	t.Helper()
	s := &rawSender{t: t, lab: lab}
	err := lab.Sender.Do(func() error {
		link, err := netlink.LinkByName(lab.SenderInterface)
		if err != nil {
			return err
		}
		s.from = link.Attrs().HardwareAddr
		s.to = unix.SockaddrLinklayer{Ifindex: link.Attrs().Index}
		s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err == nil {
		err = lab.Gateway.Do(func() error {
			link, err := netlink.LinkByName(lab.GatewayInterface)
			if err == nil {
				s.gateway = link.Attrs().HardwareAddr
			}
			return err
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(s.fd) })
	return s
}

func (s *rawSender) send(frame []byte) {
	s.t.Helper()
	if err := unix.Sendto(s.fd, frame, 0, &s.to); err != nil {
		s.t.Fatal(fmt.Errorf("send a frame of %d bytes: %w", len(frame), err))
	}
}

// frame builds Ethernet, IPv4 and UDP around a payload, all sums final. Tests spoil what they want to.
func (s *rawSender) frame(destination net.IP, payload []byte) []byte {
	b := append([]byte(nil), s.gateway...)
	b = append(b, s.from...)
	b = binary.BigEndian.AppendUint16(b, 0x0800)
	ip := make([]byte, 20)
	ip[0], ip[8], ip[9] = 0x45, 64, 17
	binary.BigEndian.PutUint16(ip[2:], uint16(20+8+len(payload)))
	copy(ip[12:], s.lab.SenderIPv4.To4())
	copy(ip[16:], destination.To4())
	binary.BigEndian.PutUint16(ip[10:], ^wordSum(ip))
	udp := make([]byte, 8)
	binary.BigEndian.PutUint16(udp, 40000)
	binary.BigEndian.PutUint16(udp[2:], port)
	binary.BigEndian.PutUint16(udp[4:], uint16(8+len(payload)))
	pseudo := append(append([]byte(nil), ip[12:20]...), 0, 17, udp[4], udp[5])
	sum := ^wordSum(append(append(pseudo, udp...), payload...))
	if sum == 0 {
		sum = 0xffff
	}
	binary.BigEndian.PutUint16(udp[6:], sum)
	return append(append(append(b, ip...), udp...), payload...)
}

// wordSum is RFC 1071's sum in network order.
func wordSum(b []byte) uint16 {
	var total uint32
	for i := 0; i < len(b); i += 2 {
		word := uint32(b[i]) << 8
		if i+1 < len(b) {
			word |= uint32(b[i+1])
		}
		total += word
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}

// Where the parts of a frame built above begin, in bytes.
const (
	ipAt      = 14
	udpAt     = ipAt + 20
	payloadAt = udpAt + 8
)
