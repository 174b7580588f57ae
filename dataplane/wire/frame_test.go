package wire

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
)

func ends(source, destination string) Ends {
	return Ends{
		SourceMAC: [6]byte{2, 0, 0, 0, 0, 1}, NextMAC: [6]byte{2, 0, 0, 0, 0, 2},
		Source: netip.MustParseAddrPort(source), Destination: netip.MustParseAddrPort(destination), MTU: 1500,
	}
}

// Goal: a frame is what others make of the same datagram. The bytes are laid out by hand from RFC 791, RFC
// 8200 and RFC 768; their sums come from an implementation in another language.
func TestKnownFrames(t *testing.T) {
	f := func(source, destination, text, want string) {
		t.Helper()
		template, err := NewTemplate(ends(source, destination))
		if err != nil {
			t.Fatal(err)
		}
		frame := bytes.Repeat([]byte{0xee}, 200)
		n := template.Write(frame, []byte(text))
		if got := hex.EncodeToString(frame[:n]); got != strings.ReplaceAll(want, " ", "") {
			t.Errorf("got\n%s\nwant\n%s", got, strings.ReplaceAll(want, " ", ""))
		}
		if n != template.Size()+len(text) || frame[n] != 0xee {
			t.Errorf("%d bytes, the next is %x", n, frame[n])
		}
	}
	f("10.0.0.1:5000", "10.0.0.2:7000", "abc", "020000000002 020000000001 0800 "+
		"4500001f 00004000 401126cc 0a000001 0a000002 1388 1b58 000b f892 616263")
	f("[fd00::1]:5000", "[fd00::2]:7000", "abcd", "020000000002 020000000001 86dd "+
		"60000000 000c 11 40 fd000000000000000000000000000001 fd000000000000000000000000000002 "+
		"1388 1b58 000c 122b 61626364")
}

// slowSum is the sum of RFC 1071 as its text has it.
func slowSum(text []byte) uint16 {
	var sum uint32
	for i := 0; i < len(text); i += 2 {
		word := uint32(text[i]) << 8
		if i+1 < len(text) {
			word |= uint32(text[i+1])
		}
		sum += word
		if sum > 0xffff {
			sum = sum&0xffff + 1
		}
	}
	return uint16(sum)
}

// Goal: both sums are right for any text. Method: a receiver's own check over random texts, in which every
// sum comes out as all ones.
func TestSums(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, e := range []Ends{
		ends("10.255.3.1:50000", "192.168.7.9:7000"), ends("[fe80::1%eth1]:1", "[fd00:ffff::2]:65535"),
	} {
		template, err := NewTemplate(e)
		if err != nil {
			t.Fatal(err)
		}
		frame := make([]byte, 2048)
		for range 3000 {
			text := make([]byte, random.IntN(template.Room()+1))
			for i := range text {
				text[i] = byte(random.Uint32())
			}
			n := template.Write(frame, text)
			ip := frame[ethernetSize:n]
			var pseudo, udp []byte
			if ip[0]>>4 == 4 {
				if got := slowSum(ip[:ipv4Size]); got != 0xffff {
					t.Fatalf("IPv4's sum is %04x", got)
				}
				if got := int(binary.BigEndian.Uint16(ip[2:])); got != len(ip) {
					t.Fatalf("IPv4's length is %d of %d", got, len(ip))
				}
				pseudo, udp = bytes.Clone(ip[12:20]), ip[ipv4Size:]
			} else {
				if got := int(binary.BigEndian.Uint16(ip[4:])); got != len(ip)-ipv6Size {
					t.Fatalf("IPv6's length is %d of %d", got, len(ip)-ipv6Size)
				}
				pseudo, udp = bytes.Clone(ip[8:40]), ip[ipv6Size:]
			}
			pseudo = append(pseudo, 0, 17, udp[4], udp[5])
			if got := slowSum(append(pseudo, udp...)); got != 0xffff {
				t.Fatalf("UDP's sum over %d bytes is %04x", len(text), got)
			}
			if !bytes.Equal(udp[udpSize:], text) || int(binary.BigEndian.Uint16(udp[4:])) != len(udp) {
				t.Fatal("the text or its length is not there")
			}
		}
	}
}

// Goal: a sum that comes out as zero is written as all ones. Method: the text that makes it so.
func TestSumOfZero(t *testing.T) {
	template, err := NewTemplate(ends("10.0.0.1:5000", "10.0.0.2:7000"))
	if err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, 100)
	template.Write(frame, []byte{0, 0})
	missing := binary.BigEndian.Uint16(frame[template.Size()-2:])
	n := template.Write(frame, binary.BigEndian.AppendUint16(nil, missing))
	if got := frame[n-4 : n-2]; !bytes.Equal(got, []byte{0xff, 0xff}) {
		t.Errorf("the sum is %x", got)
	}
}

func TestWhatHasNoRoom(t *testing.T) {
	e := ends("10.0.0.1:5000", "10.0.0.2:7000")
	e.MTU = 128
	template, err := NewTemplate(e)
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 101)
	frame := make([]byte, 2048)
	if template.Room() != 100 || template.Write(frame, text[:100]) != 142 ||
		template.Write(frame, text) != 0 || template.Write(frame[:141], text[:100]) != 0 {
		t.Errorf("room %d", template.Room())
	}
	if n := testing.AllocsPerRun(100, func() { template.Write(frame, text[:100]) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWaysThatAreNone(t *testing.T) {
	for _, e := range []Ends{
		ends("10.0.0.1:5000", "[fd00::2]:7000"), ends("10.0.0.1:5000", "224.0.0.1:7000"),
		ends("10.0.0.1:5000", "127.0.0.1:7000"), ends("0.0.0.0:5000", "10.0.0.2:7000"),
		ends("10.0.0.1:0", "10.0.0.2:7000"), ends("10.0.0.1:5000", "10.0.0.2:0"),
		ends("[fd00::1]:1", "[ff02::1]:1"), ends("[fd00::1]:1", "[::]:1"), {},
		{
			Source: netip.MustParseAddrPort("10.0.0.1:1"), MTU: 28,
			Destination: netip.MustParseAddrPort("10.0.0.2:1"),
		},
	} {
		if template, err := NewTemplate(e); err == nil {
			t.Errorf("%+v gives %+v", e, template)
		}
	}
}
