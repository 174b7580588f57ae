package bpf

import (
	"encoding/binary"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// testSocket is the least AF_XDP socket that an XSKMAP accepts: 64 frames of 2 KiB, all in the fill ring.
type testSocket struct {
	fd   int
	umem []byte
	rx   []byte
	at   unix.XDPMmapOffsets
}

const (
	testFrames    = 64
	testFrameSize = 2048
)

func newTestSocket(t testing.TB) *testSocket {
	t.Helper()
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	fd, err := unix.Socket(unix.AF_XDP, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	check("open AF_XDP socket", err)
	s := &testSocket{fd: fd}
	t.Cleanup(func() { unix.Close(fd) })
	s.umem, err = unix.Mmap(-1, 0, testFrames*testFrameSize, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	check("mmap UMEM", err)
	t.Cleanup(func() { unix.Munmap(s.umem) })

	register := unix.XDPUmemReg{
		Addr: uint64(uintptr(unsafe.Pointer(&s.umem[0]))), Len: uint64(len(s.umem)), Size: testFrameSize,
	}
	option := func(name int, value unsafe.Pointer, length uintptr) {
		t.Helper()
		if _, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_XDP, uintptr(name),
			uintptr(value), length, 0); errno != 0 {
			t.Fatalf("set XDP option %d: %v", name, errno)
		}
	}
	// 24 bytes are the structure's first version, which every kernel takes.
	option(unix.XDP_UMEM_REG, unsafe.Pointer(&register), 24)
	size := uint32(testFrames)
	for _, ring := range []int{unix.XDP_UMEM_FILL_RING, unix.XDP_UMEM_COMPLETION_RING, unix.XDP_RX_RING} {
		option(ring, unsafe.Pointer(&size), 4)
	}
	length := uint32(unsafe.Sizeof(s.at))
	if _, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_XDP, unix.XDP_MMAP_OFFSETS,
		uintptr(unsafe.Pointer(&s.at)), uintptr(unsafe.Pointer(&length)), 0); errno != 0 {
		t.Fatalf("get ring offsets: %v", errno)
	}
	mmap := func(offset int64, length uint64) []byte {
		t.Helper()
		ring, err := unix.Mmap(fd, offset, int(length), unix.PROT_READ|unix.PROT_WRITE,
			unix.MAP_SHARED|unix.MAP_POPULATE)
		check("mmap ring", err)
		t.Cleanup(func() { unix.Munmap(ring) })
		return ring
	}
	s.rx = mmap(unix.XDP_PGOFF_RX_RING, s.at.Rx.Desc+testFrames*16)
	fill := mmap(unix.XDP_UMEM_PGOFF_FILL_RING, s.at.Fr.Desc+testFrames*8)
	for i := range uint64(testFrames) {
		binary.NativeEndian.PutUint64(fill[s.at.Fr.Desc+i*8:], i*testFrameSize)
	}
	binary.NativeEndian.PutUint32(fill[s.at.Fr.Producer:], testFrames)
	return s
}

func (s *testSocket) bind(t testing.TB, ifindex, queue int) {
	t.Helper()
	address := unix.SockaddrXDP{Flags: unix.XDP_COPY, Ifindex: uint32(ifindex), QueueID: uint32(queue)}
	if err := unix.Bind(s.fd, &address); err != nil {
		t.Fatalf("bind to queue %d: %v", queue, err)
	}
}

// next waits for the frame with this number and returns its metadata area and its bytes.
func (s *testSocket) next(t testing.TB, number int) (area, packet []byte) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for binary.NativeEndian.Uint32(s.rx[s.at.Rx.Producer:]) <= uint32(number) {
		if time.Now().After(deadline) {
			t.Fatalf("frame %d did not come", number)
		}
		unix.Poll([]unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}, 100)
	}
	desc := s.rx[s.at.Rx.Desc+uint64(number%testFrames)*16:]
	address := binary.NativeEndian.Uint64(desc)
	length := binary.NativeEndian.Uint32(desc[8:])
	return s.umem[address-32 : address], s.umem[address : address+uint64(length)]
}
