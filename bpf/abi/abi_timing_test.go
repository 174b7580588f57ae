package abi

import (
	"encoding/binary"
	"testing"
)

func BenchmarkReadMeta(b *testing.B) {
	area := make([]byte, MetaSize)
	binary.LittleEndian.PutUint32(area, Magic)
	binary.LittleEndian.PutUint16(area[packetLengthAt:], 90)
	b.ReportAllocs()
	for b.Loop() {
		if meta, ok := ReadMeta(area); !ok || meta.PacketLength != 90 {
			b.Fatal("the metadata was not read")
		}
	}
}
