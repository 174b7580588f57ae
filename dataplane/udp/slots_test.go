package udp

import (
	"encoding/binary"
	"errors"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Goal: the offsets are the kernel's. Method: x/sys has the same structures, generated from its headers.
func TestMessageLayoutIsTheKernels(t *testing.T) {
	var m struct {
		unix.Msghdr
		Length uint32
	}
	f := func(name string, got int, want uintptr) {
		t.Helper()
		if got != int(want) {
			t.Errorf("%s is at %d, the kernel's at %d", name, got, want)
		}
	}
	f("size", messageSize, unsafe.Sizeof(m))
	f("msg_name", messageName, unsafe.Offsetof(m.Name))
	f("msg_namelen", messageNameLength, unsafe.Offsetof(m.Namelen))
	f("msg_iov", messageVector, unsafe.Offsetof(m.Iov))
	f("msg_iovlen", messageVectorLength, unsafe.Offsetof(m.Iovlen))
	f("msg_control", messageControl, unsafe.Offsetof(m.Control))
	f("msg_controllen", messageControlLength, unsafe.Offsetof(m.Controllen))
	f("msg_flags", messageFlags, unsafe.Offsetof(m.Flags))
	f("msg_len", messageLength, unsafe.Offsetof(m.Length))
	f("iovec", vectorSize, unsafe.Sizeof(unix.Iovec{}))
	f("cmsghdr", controlHeader, unsafe.Sizeof(unix.Cmsghdr{}))
	f("sockaddr_in6 and its end", nameSize, unsafe.Sizeof(unix.RawSockaddrInet6{})+4)
}

// Goal: no slot reaches into another or past the memory, wherever the memory begins. Method: every
// alignment.
func TestSlotsLieApart(t *testing.T) {
	for skip := range lineSize + 1 {
		memory := make([]byte, MemorySize(3)+skip)[skip:]
		s, err := layOut(memory, payloadMax)
		if err != nil {
			t.Fatal(err)
		}
		if s.count != 3 {
			t.Fatalf("skip %d: %d slots, want 3", skip, s.count)
		}
		if s.first < s.vectors+s.count*vectorSize || s.slot(s.count) > len(s.memory) {
			t.Fatalf("skip %d: slots at %d to %d of %d", skip, s.first, s.slot(s.count), len(s.memory))
		}
		if addressOf(s.memory)%lineSize != 0 || s.stride/lineSize%2 == 0 {
			t.Fatalf("skip %d: begins at %x, stride %d", skip, addressOf(s.memory), s.stride)
		}
	}
}

func TestSlotsRefuseWhatHoldsNone(t *testing.T) {
	for _, memory := range [][]byte{nil, {}, make([]byte, 63), make([]byte, MemorySize(1)/2)} {
		for range 2 {
			if _, err := layOut(memory, payloadMax); err == nil {
				t.Fatalf("%d bytes are taken", len(memory))
			}
		}
	}
	if _, err := layOut(make([]byte, MemorySize(1)), payloadMax+1); err == nil {
		t.Fatal("a payload longer than UDP's is taken")
	}
	if _, err := Open(Config{Memory: make([]byte, 10)}); err == nil {
		t.Fatal("a socket without memory opens")
	}
}

// Goal: control messages that lie about their length end the reading, and nothing is read past them.
func TestControlThatLies(t *testing.T) {
	f := func(length uint64, body int, want int) {
		t.Helper()
		b := make([]byte, controlHeader+body)
		binary.NativeEndian.PutUint64(b, length)
		binary.NativeEndian.PutUint32(b[8:], unix.SOL_UDP)
		binary.NativeEndian.PutUint32(b[12:], unix.UDP_GRO)
		if body >= 4 {
			binary.NativeEndian.PutUint32(b[16:], 1200)
		}
		var got told
		readControl(b, &got)
		if got.segment != want {
			t.Fatalf("length %d over %d bytes: segment %d, want %d", length, body, got.segment, want)
		}
	}
	f(20, 8, 1200)
	f(20, 4, 1200)
	f(20, 3, 0)
	f(16, 8, 0)
	f(15, 8, 0)
	f(0, 8, 0)
	f(25, 8, 0)
	f(1<<63, 8, 0)
	f(^uint64(0), 8, 0)
}

func TestNameOfBothFamilies(t *testing.T) {
	name := make([]byte, nameSize)
	binary.NativeEndian.PutUint16(name, unix.AF_INET)
	copy(name[2:], []byte{0x1f, 0x99, 10, 1, 2, 3})
	if a, port := readName(name); a != mapped([]byte{10, 1, 2, 3}) || port != 8089 {
		t.Fatalf("IPv4: %v %d", a, port)
	}
	binary.NativeEndian.PutUint16(name, unix.AF_INET6)
	name[8], name[23] = 0xfd, 9
	if a, port := readName(name); a != [16]byte{0: 0xfd, 15: 9} || port != 8089 {
		t.Fatalf("IPv6: %v %d", a, port)
	}
	binary.NativeEndian.PutUint16(name, unix.AF_UNIX)
	if a, _ := readName(name); a != [16]byte{} {
		t.Fatalf("another family: %v", a)
	}
}

func TestPortErrorNamesTheRemedy(t *testing.T) {
	var err error = &PortError{Port: 8089, Err: unix.EADDRINUSE}
	if !errors.Is(err, unix.EADDRINUSE) {
		t.Fatal("the system's error is lost")
	}
	want := "bind UDP port 8089: address already in use; `ss -ulnp sport = :8089` names its owner: " +
		"stop that or choose another port"
	if err.Error() != want {
		t.Fatalf("got  %s\nwant %s", err, want)
	}
}
