package dataplane

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"
)

// plainSum is RFC 1071 word by word: the reference for sum and fold.
func plainSum(parts ...[]byte) uint16 {
	var total uint32
	for _, b := range parts {
		for i := 0; i < len(b); i += 2 {
			word := uint32(b[i]) << 8
			if i+1 < len(b) {
				word |= uint32(b[i+1])
			}
			total += word
			total = total>>16 + total&0xffff
		}
	}
	return uint16(total)
}

// datagram makes a UDP datagram and its pseudo header in network order.
func datagram(addresses, payload []byte) (segment, pseudo []byte) {
	segment = make([]byte, udpHeaderSize, udpHeaderSize+len(payload))
	binary.BigEndian.PutUint16(segment[0:], 40000)
	binary.BigEndian.PutUint16(segment[2:], 8089)
	binary.BigEndian.PutUint16(segment[4:], uint16(udpHeaderSize+len(payload)))
	segment = append(segment, payload...)
	pseudo = append(pseudo, addresses...)
	pseudo = append(pseudo, 0, udpProtocol)
	return segment, binary.BigEndian.AppendUint16(pseudo, uint16(len(segment)))
}

// Goal: every verdict of the check, over random lengths and addresses of both families. Method: the sums are
// made by the plain reference.
func TestCheckDatagram(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	f := func(segment, addresses []byte, field uint16, want checksumResult) {
		t.Helper()
		binary.BigEndian.PutUint16(segment[6:], field)
		if got := checkDatagram(addresses, segment); got != want {
			t.Fatalf("field %#04x over %d bytes, %d address bytes: result %d, want %d",
				field, len(segment), len(addresses), got, want)
		}
	}
	for round := range 2000 {
		addresses := make([]byte, 8)
		if round%2 == 1 {
			addresses = make([]byte, 32)
		}
		payload := make([]byte, random.IntN(1473))
		for _, b := range [][]byte{addresses, payload} {
			for i := range b {
				b[i] = byte(random.Uint32())
			}
		}
		segment, pseudo := datagram(addresses, payload)
		correct := ^plainSum(pseudo, segment)
		if correct == 0 {
			correct = 0xffff
		}
		partial := plainSum(pseudo)
		f(segment, addresses, correct, checksumCorrect)
		if partial == correct {
			continue // One payload in 65536 makes the two look alike.
		}
		f(segment, addresses, partial, checksumPartial)
		if len(addresses) == 8 {
			f(segment, addresses, 0, checksumAbsent)
		} else {
			f(segment, addresses, 0, checksumMissing)
		}
		if len(payload) > 0 {
			segment[udpHeaderSize+random.IntN(len(payload))] ^= 1 << random.IntN(8)
			f(segment, addresses, correct, checksumWrong)
		}
	}
}

func BenchmarkChecksum(b *testing.B) {
	for _, size := range []int{100, 1400} {
		b.Run(map[int]string{100: "100B", 1400: "1400B"}[size], func(b *testing.B) {
			addresses := []byte{10, 88, 0, 2, 10, 88, 0, 1}
			segment, pseudo := datagram(addresses, make([]byte, size))
			binary.BigEndian.PutUint16(segment[6:], ^plainSum(pseudo, segment))
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if checkDatagram(addresses, segment) != checksumCorrect {
					b.Fatal("a correct sum is refused")
				}
			}
		})
	}
}
