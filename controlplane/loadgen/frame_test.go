package loadgen

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

var (
	testFrom4 = netip.MustParseAddrPort("10.88.0.2:49152")
	testTo4   = netip.MustParseAddrPort("10.88.0.1:8089")
	testFrom6 = netip.MustParseAddrPort("[fd00:88::2]:53247")
	testTo6   = netip.MustParseAddrPort("[fd00:88::1]:8089")
)

func testEnds(from, to netip.AddrPort) endpoints {
	return endpoints{
		fromMAC: net.HardwareAddr{2, 0, 0, 0, 0, 2}, toMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1},
		from: from, to: to,
	}
}

// slowSum is RFC 1071 word by word, in network order.
func slowSum(parts ...[]byte) uint16 {
	total := uint32(0)
	for _, b := range parts {
		for i, c := range b {
			total += uint32(c) << (8 * (1 - i&1))
		}
	}
	for total>>16 > 0 {
		total = total&0xffff + total>>16
	}
	return uint16(total)
}

// Goal: every field of every header is right, for every length, and the sums are. Method: a library takes the
// frames apart; the sums are made anew, word by word.
func TestFrames(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, ends := range []endpoints{testEnds(testFrom4, testTo4), testEnds(testFrom6, testTo6)} {
		h := newHeaders(ends, true)
		frame := make([]byte, 2048)
		for size := range 1473 {
			payload := make([]byte, size)
			for i := range payload {
				payload[i] = byte(random.Uint32())
			}
			length := h.put(frame, payload)
			checkFrame(t, frame[:length], ends, payload)
		}
	}
}

func checkFrame(t *testing.T, frame []byte, ends endpoints, payload []byte) {
	t.Helper()
	packet := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.DecodeOptions{
		DecodeStreamsAsDatagrams: true,
	})
	ethernet, _ := packet.LinkLayer().(*layers.Ethernet)
	if ethernet == nil || !bytes.Equal(ethernet.SrcMAC, ends.fromMAC) ||
		!bytes.Equal(ethernet.DstMAC, ends.toMAC) {
		t.Fatalf("Ethernet header %+v", ethernet)
	}
	var addresses []byte
	switch ip := packet.NetworkLayer().(type) {
	case *layers.IPv4:
		addresses = append(append(addresses, ip.SrcIP...), ip.DstIP...)
		if ip.Version != 4 || ip.IHL != 5 || ip.TTL != 64 || ip.Protocol != layers.IPProtocolUDP ||
			ip.Flags != layers.IPv4DontFragment || int(ip.Length) != len(frame)-14 || ip.TOS != 0 {
			t.Fatalf("IPv4 header %+v", ip)
		}
		if slowSum(ip.Contents) != 0xffff {
			t.Fatalf("IPv4 sum %#x", ip.Checksum)
		}
	case *layers.IPv6:
		addresses = append(append(addresses, ip.SrcIP...), ip.DstIP...)
		if ip.Version != 6 || ip.HopLimit != 64 || ip.NextHeader != layers.IPProtocolUDP ||
			int(ip.Length) != len(frame)-54 || ip.FlowLabel != 0 {
			t.Fatalf("IPv6 header %+v", ip)
		}
	default:
		t.Fatalf("no IP header: % x", frame)
	}
	want := append(ends.from.Addr().AsSlice(), ends.to.Addr().AsSlice()...)
	udp, _ := packet.TransportLayer().(*layers.UDP)
	if udp == nil || uint16(udp.SrcPort) != ends.from.Port() || uint16(udp.DstPort) != ends.to.Port() ||
		int(udp.Length) != 8+len(payload) || !bytes.Equal(addresses, want) {
		t.Fatalf("UDP header %+v between % x", udp, addresses)
	}
	segment := frame[len(frame)-8-len(payload):]
	if !bytes.Equal(segment[8:], payload) || udp.Checksum == 0 {
		t.Fatalf("payload of %d bytes, sum %#x", len(payload), udp.Checksum)
	}
	pseudo := binary.BigEndian.AppendUint16([]byte{0, 17}, udp.Length)
	if slowSum(addresses, pseudo, segment) != 0xffff {
		t.Fatalf("wrong UDP sum %#x over %d bytes", udp.Checksum, len(payload))
	}
}

// Goal: a sum that comes out as zero is sent as its other form, since zero stands for none. Method: choose
// the payload so that it does.
func TestZeroSum(t *testing.T) {
	for _, ends := range []endpoints{testEnds(testFrom4, testTo4), testEnds(testFrom6, testTo6)} {
		h := newHeaders(ends, true)
		frame := make([]byte, 128)
		h.put(frame, []byte{0, 0})
		sum := binary.BigEndian.Uint16(frame[h.size-2:])
		// The sum of what is there is ^sum; a word of sum more makes it all ones, whose complement is zero.
		length := h.put(frame, binary.BigEndian.AppendUint16(nil, sum))
		if got := binary.BigEndian.Uint16(frame[h.size-2:]); got != 0xffff {
			t.Fatalf("sum %#x, want 0xffff", got)
		}
		checkFrame(t, frame[:length], ends, binary.BigEndian.AppendUint16(nil, sum))
	}
}

// Goal: over IPv4 the sum may be left out, over IPv6 not.
func TestNoSum(t *testing.T) {
	frame := make([]byte, 128)
	h := newHeaders(testEnds(testFrom4, testTo4), false)
	h.put(frame, []byte("m v=1\n"))
	if sum := binary.BigEndian.Uint16(frame[h.size-2:]); sum != 0 {
		t.Fatalf("sum %#x", sum)
	}
	h = newHeaders(testEnds(testFrom6, testTo6), false)
	checkFrame(t, frame[:h.put(frame, []byte("m v=1\n"))], testEnds(testFrom6, testTo6), []byte("m v=1\n"))
}
