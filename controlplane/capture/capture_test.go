package capture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket/layers"
)

// ethernet builds a frame with a UDP datagram, and padding behind it.
func ethernet(vlan, six bool, payload string) []byte {
	frame := make([]byte, 12)
	if vlan {
		frame = append(frame, 0x81, 0, 0, 7)
	}
	udp := binary.BigEndian.AppendUint16([]byte{1, 2, 3, 4}, uint16(8+len(payload)))
	udp = append(append(udp, 0, 0), payload...)
	if six {
		frame = append(frame, 0x86, 0xdd, 0x60, 0, 0, 0)
		frame = binary.BigEndian.AppendUint16(frame, uint16(len(udp)))
		return append(append(append(frame, 17, 64), make([]byte, 32)...), udp...)
	}
	frame = append(frame, 8, 0, 0x45, 0)
	frame = binary.BigEndian.AppendUint16(frame, uint16(20+len(udp)))
	return append(append(frame, 0, 0, 0, 0, 64, 17, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2), append(udp, "pad"...)...)
}

// without is what a frame holds below its Ethernet header.
func without(frame []byte) []byte { return frame[14:] }

type order = binary.AppendByteOrder

// pcapOf builds a pcap file of frames, one a second and 500 units behind it.
func pcapOf(o order, magic uint32, link uint16, frames ...[]byte) []byte {
	file := o.AppendUint16(o.AppendUint16(o.AppendUint32(nil, magic), 2), 4)
	file = append(file, make([]byte, 12)...)
	file = o.AppendUint32(file, uint32(link))
	for i, frame := range frames {
		file = o.AppendUint32(o.AppendUint32(file, uint32(i+1)), 500)
		file = o.AppendUint32(o.AppendUint32(file, uint32(len(frame))), uint32(len(frame)))
		file = append(file, frame...)
	}
	return file
}

// block builds a block of pcapng: its type, its length, what it holds on whole words, its length.
func block(o order, kind uint32, body []byte) []byte {
	padded := append(slices.Clone(body), make([]byte, -len(body)&3)...)
	b := o.AppendUint32(o.AppendUint32(nil, kind), uint32(len(padded)+12))
	return o.AppendUint32(append(b, padded...), uint32(len(padded)+12))
}

func section(o order) []byte {
	body := o.AppendUint16(o.AppendUint16(o.AppendUint32(nil, 0x1a2b3c4d), 1), 0)
	return block(o, 0x0a0d0d0a, append(body, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
}

// device describes an interface; resolution 0 leaves the option if_tsresol out, for microseconds.
func device(o order, link uint16, resolution byte) []byte {
	body := append(o.AppendUint16(nil, link), make([]byte, 6)...)
	if resolution != 0 {
		body = o.AppendUint16(o.AppendUint16(body, 9), 1)
		body = append(body, resolution, 0, 0, 0, 0, 0, 0, 0)
	}
	return block(o, 1, body)
}

func stamp(o order, body []byte, at uint64, frame []byte) []byte {
	body = o.AppendUint32(o.AppendUint32(body, uint32(at>>32)), uint32(at))
	body = o.AppendUint32(o.AppendUint32(body, uint32(len(frame))), uint32(len(frame)))
	return append(body, frame...)
}

func enhanced(o order, device uint32, at uint64, frame []byte) []byte {
	return block(o, 6, stamp(o, o.AppendUint32(nil, device), at, frame))
}

func simple(o order, frame []byte) []byte {
	return block(o, 3, append(o.AppendUint32(nil, uint32(len(frame))), frame...))
}

// obsolete is a Packet Block, which older programs wrote.
func obsolete(o order, device uint16, at uint64, frame []byte) []byte {
	return block(o, 2, stamp(o, o.AppendUint16(o.AppendUint16(nil, device), 3), at, frame))
}

// ngOf is a pcapng file of all kinds of blocks, in two sections of different byte orders.
func ngOf(o, other order) [][]byte {
	fragment := ethernet(false, false, "fragment")
	fragment[14+6] = 0x20
	names := append(o.AppendUint16(o.AppendUint16(nil, 1), 6), 1, 1, 1, 1, 'a', 0, 0, 0, 0, 0, 0, 0)
	statistics := append(o.AppendUint32(nil, 0), make([]byte, 8)...)
	return [][]byte{
		section(o), device(o, 1, 9), device(o, 101, 0), block(o, 0xbad, []byte("\x00\x00\x00\x01custom")),
		enhanced(o, 0, 1_500_000_007, ethernet(true, false, "one")), block(o, 4, names),
		enhanced(o, 1, 2_000_001, without(ethernet(false, true, "two"))),
		simple(o, ethernet(false, false, "three")), block(o, 0x4711, nil),
		obsolete(o, 1, 3_000_000, without(ethernet(false, false, "four"))), block(o, 5, statistics),
		enhanced(o, 0, 1, fragment), section(other), device(other, 189, 0), device(other, 1, 0x80|9),
		enhanced(other, 0, 1, []byte("of a USB bus")),
		enhanced(other, 1, 4*512+256, ethernet(false, true, "five")),
	}
}

// all are the packets of a recording, as "time payload", and what ends it.
func all(file []byte) (packets []string, skipped int, err error) {
	r, err := New(bytes.NewReader(file))
	if err != nil {
		return nil, 0, err
	}
	for {
		p, err := r.Next()
		if err != nil {
			return packets, r.Skipped, err
		}
		packets = append(packets, fmt.Sprintf("%d %s", p.Time, p.Payload))
	}
}

func TestPCAP(t *testing.T) {
	fragment := ethernet(false, false, "fragment")
	fragment[14+6] = 0x20
	cut := ethernet(false, false, "cut short")
	frames := [][]byte{
		ethernet(false, false, "one"), ethernet(true, false, "two"), ethernet(false, true, "three"), fragment,
		{1, 2, 3}, make([]byte, 60), cut[:len(cut)-4], ethernet(false, false, ""), nil,
	}
	f := func(o order, magic uint32, unit int) {
		t.Helper()
		file := pcapOf(o, magic, 1, frames...)
		got, skipped, err := all(file)
		want := fmt.Sprintf("%d one;%d two;%d three;%d ", int(1e9)+500*unit, int(2e9)+500*unit,
			int(3e9)+500*unit, int(8e9)+500*unit)
		if strings.Join(got, ";") != want || skipped != 5 || !errors.Is(err, io.EOF) || KindOf(file) != PCAP {
			t.Errorf("%q, %d skipped, %v, want %q", got, skipped, err, want)
		}
	}
	f(binary.LittleEndian, 0xa1b2c3d4, 1000)
	f(binary.BigEndian, 0xa1b2c3d4, 1000)
	f(binary.LittleEndian, 0xa1b23c4d, 1)
	f(binary.BigEndian, 0xa1b23c4d, 1)
}

// TestLinks: what tcpdump writes of Linux' "any" interface, before 4.99 and since, of links without a header,
// and of loopback on other systems.
func TestLinks(t *testing.T) {
	packet, six := without(ethernet(false, false, "m v=1")), without(ethernet(false, true, "m v=6"))
	cooked := append([]byte{0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0}, 8, 0)
	cooked2 := append([]byte{8, 0, 0, 0, 0, 0, 0, 2}, make([]byte, 12)...)
	tagged := append([]byte{0x81, 0, 0, 0, 0, 0, 0, 2}, append(make([]byte, 12), 0, 7, 8, 0)...)
	arp := append([]byte{8, 6}, make([]byte, 46)...)
	f := func(link layers.LinkType, want string, skipped int, frames ...[]byte) {
		t.Helper()
		r, err := New(bytes.NewReader(pcapOf(binary.LittleEndian, 0xa1b2c3d4, uint16(link), frames...)))
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for p, err := r.Next(); err == nil; p, err = r.Next() {
			got = append(got, string(p.Payload))
		}
		if s := strings.Join(got, ";"); s != want || r.Skipped != skipped {
			t.Errorf("link %d: payloads are %q, %d skipped", link, s, r.Skipped)
		}
	}
	join := func(a, b []byte) []byte { return append(slices.Clone(a), b...) }
	f(layers.LinkTypeLinuxSLL, "m v=1", 1, join(cooked, packet), cooked[:15])
	f(layers.LinkTypeLinuxSLL2, "m v=1;m v=1", 2, join(cooked2, packet), join(tagged, packet), arp,
		cooked2[:19])
	f(layers.LinkTypeRaw, "m v=1;m v=6", 1, packet, six, nil)
	f(layers.LinkTypeIPv4, "m v=1", 0, packet)
	f(layers.LinkTypeIPv6, "m v=6", 0, six)
	f(layers.LinkTypeNull, "m v=1;m v=6", 0, join([]byte{2, 0, 0, 0}, packet), join([]byte{30, 0, 0, 0}, six))
	f(layers.LinkTypeLoop, "m v=1", 0, join([]byte{0, 0, 0, 2}, packet))
}

// Goal: packets of all kinds of blocks, in both byte orders, with their own links and times. Method: files
// built by hand; a Simple Packet Block has the time of the packet before.
func TestPCAPNG(t *testing.T) {
	const want = "1500000007 one;2000001000 two;2000001000 three;3000000000 four;4500000000 five"
	little, big := order(binary.LittleEndian), order(binary.BigEndian)
	for _, file := range [][]byte{bytes.Join(ngOf(little, big), nil), bytes.Join(ngOf(big, little), nil)} {
		got, skipped, err := all(file)
		if strings.Join(got, ";") != want || skipped != 2 || !errors.Is(err, io.EOF) ||
			KindOf(file) != PCAPNG {
			t.Errorf("%q, %d skipped, %v", got, skipped, err)
		}
	}
	// Of a file that begins with one, nothing is known.
	o, frame := binary.LittleEndian, ethernet(false, false, "x")
	begin := append(section(o), device(o, 1, 0)...)
	got, _, err := all(append(slices.Clone(begin), simple(o, frame)...))
	if !slices.Equal(got, []string{"0 x"}) || !errors.Is(err, io.EOF) {
		t.Errorf("%q, %v", got, err)
	}
	// A clock gone mad is not believed.
	begin = append(begin, enhanced(o, 0, 7e6, frame)...)
	got, _, err = all(append(begin, enhanced(o, 0, 1<<63, frame)...))
	if !slices.Equal(got, []string{"7000000000 x", "7000000000 x"}) || !errors.Is(err, io.EOF) {
		t.Errorf("%q, %v", got, err)
	}
}

// TestCutFiles: a file that ends anywhere but between two packets or blocks is not taken for whole, and what
// stands before is there.
func TestCutFiles(t *testing.T) {
	f := func(file []byte, first int, ends []int) {
		t.Helper()
		whole, _, _ := all(file)
		for n := first; n < len(file); n++ {
			got, _, err := all(file[:n])
			atEnd := slices.Contains(ends, n)
			if atEnd != errors.Is(err, io.EOF) || !atEnd && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("%d of %d bytes: %v", n, len(file), err)
			}
			if len(got) > len(whole) || !slices.Equal(got, whole[:len(got)]) {
				t.Fatalf("%d of %d bytes: %q", n, len(file), got)
			}
		}
	}
	blocks, ends := ngOf(binary.LittleEndian, binary.BigEndian), []int(nil)
	for i := range blocks {
		ends = append(ends, len(bytes.Join(blocks[:i+1], nil)))
	}
	f(bytes.Join(blocks, nil), 4, ends)
	frame := ethernet(false, false, "m v=1")
	f(pcapOf(binary.LittleEndian, 0xa1b2c3d4, 1, frame, frame), 4, []int{24, 24 + 16 + len(frame)})
	_, _, err := all(pcapOf(binary.LittleEndian, 0xa1b2c3d4, 1, frame)[:30])
	if err == nil || err.Error() != "read capture: the file ends within packet 1: unexpected EOF" {
		t.Errorf("the error is %v", err)
	}
}

func TestWrongFiles(t *testing.T) {
	f := func(file []byte, want string) {
		t.Helper()
		if _, _, err := all(file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	o := binary.LittleEndian
	f(nil, "neither pcap nor pcapng")
	f([]byte("m v=1\n"), "neither pcap nor pcapng")
	f([]byte("\xd4\xc3\xb2\xa1"), "read capture's header: unexpected EOF")
	f([]byte("\x0a\x0d\x0d\x0a"), "read capture's header: unexpected EOF")
	f(pcapOf(o, 0xa1b2c3d4, 189), "link type 189, want Ethernet")
	f(append(section(o), enhanced(o, 3, 1, nil)...), "packet 1: Interface id 3 not present")
	f(append(section(o), simple(o, nil)...), "packet 1: At least one Interface")
}

// TestSenders: packets of one address and port have one sender, others have others.
func TestSenders(t *testing.T) {
	frame := func(address, port byte) []byte {
		f := ethernet(false, false, "m v=1")
		f[14+15], f[14+21] = address, port
		return f
	}
	file := pcapOf(binary.LittleEndian, 0xa1b2c3d4, 1, frame(1, 1), frame(1, 1), frame(1, 2), frame(2, 1))
	r, err := New(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var got []uint64
	for p, err := r.Next(); err == nil; p, err = r.Next() {
		got = append(got, p.Sender)
	}
	if len(got) != 4 || got[0] != got[1] || got[0] == got[2] || got[0] == got[3] || got[2] == got[3] {
		t.Errorf("senders are %v", got)
	}
}

// FuzzCapture reads arbitrary files: no panic, and payloads lie within them.
func FuzzCapture(f *testing.F) {
	f.Add(pcapOf(binary.LittleEndian, 0xa1b2c3d4, 1, ethernet(true, false, "x"), ethernet(false, true, "y")))
	f.Add(bytes.Join(ngOf(binary.LittleEndian, binary.BigEndian), nil))
	f.Fuzz(func(t *testing.T, file []byte) {
		r, err := New(bytes.NewReader(file))
		if err != nil {
			return
		}
		total := 0
		for p, err := r.Next(); err == nil; p, err = r.Next() {
			total += len(p.Payload)
			if p.Time < 0 {
				t.Errorf("a packet at %d", p.Time)
			}
		}
		if total > len(file) {
			t.Errorf("%d bytes of payload in a file of %d", total, len(file))
		}
	})
}
