package xsk

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkReceiveFree takes packets and gives their frames back, the kernel's side being played by moving
// its two indices; ns/op is per batch, ns/frame per packet.
func BenchmarkReceiveFree(b *testing.B) {
	for _, batch := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("batch=%d", batch), func(b *testing.B) {
			const frames = 8192
			s, k := newPlain(b, plainConfig{
				frames: frames, fill: frames, rx: frames / 2, tx: 1, completion: 1,
			})
			for i := range k.rx.slots {
				k.rx.slots[i] = Desc{Addr: uint64(i)*2048 + unix.XDP_PACKET_HEADROOM, Len: 256}
			}
			into := make([]Desc, batch)
			total, rounds := 0, 0
			b.ReportAllocs()
			for b.Loop() {
				k.fill.consumer.Store(k.fill.consumer.Load() + uint32(batch))
				k.rx.producer.Store(k.rx.producer.Load() + uint32(batch))
				n := s.Receive(into)
				for _, d := range into[:n] {
					total += len(s.Packet(d))
				}
				s.Free(into[:n])
				rounds++
			}
			if total != rounds*batch*256 {
				b.Fatalf("saw %d bytes in %d rounds", total, rounds)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(rounds*batch), "ns/frame")
		})
	}
}
