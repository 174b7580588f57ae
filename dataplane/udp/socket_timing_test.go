package udp

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkReceive is the cost of a datagram from the kernel's queue to a Datagram, sending not counted,
// for packets sent one by one and in rows that GRO keeps together.
func BenchmarkReceive(b *testing.B) {
	for _, size := range []int{100, 1400} {
		for _, row := range []int{1, 40} {
			b.Run(fmt.Sprintf("bytes=%d/row=%d", size, row), func(b *testing.B) {
				benchmarkReceive(b, size, row)
			})
		}
	}
}

func benchmarkReceive(b *testing.B, size, row int) {
	const burst = 256
	s := openSocket(b, 64, Config{ReceiveBuffer: 8 << 20})
	conn := dial(b, "127.0.0.1", s.Port())
	if row > 1 {
		raw, err := conn.SyscallConn()
		if err != nil {
			b.Fatal(err)
		}
		raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, size)
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	payload, into := make([]byte, size*row), make([]Datagram, 64)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	pending, received := 0, 0
	for b.Loop() {
		if pending == 0 {
			b.StopTimer()
			for pending < burst {
				send(b, conn, payload)
				pending += row
			}
			b.StartTimer()
		}
		// One iteration is one datagram; a call takes many, so the others only count down.
		if received == 0 {
			n, err := s.Receive(into)
			if err != nil || n == 0 {
				b.Fatalf("%d datagrams, %v", n, err)
			}
			received = n
		}
		received--
		pending--
	}
}
