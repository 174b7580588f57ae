package loadgen

import "encoding/binary"

// groups is how many values {group} takes.
const groups = 16

// words are four letters long, like the slot.
const words = "idlebusystopwait"

// violation is a temperature's range in hundredths: what the demo's rule, temperature > 95, calls too hot.
const (
	calmMin, calmCount           = 2000, 7500
	violationMin, violationCount = 9501, 499
)

// values draws what points hold. The same seed draws the same values in the same order.
type values struct {
	// state is that of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): the standard library's PCG takes three
	// times as long, and drawing is a good part of what a point costs.
	state uint64
	// threshold is AlertShare × 2³²: a draw below it makes a violation.
	threshold  uint64
	violations uint64

	// high is the last timestamp less its eight last digits, and highText its eleven digits: in nanoseconds
	// it changes ten times a second.
	high     uint64
	highText [11]byte
}

func newValues(seed uint64, alertShare float64) values {
	return values{state: seed, threshold: uint64(alertShare * (1 << 32))}
}

func (v *values) draw() uint64 {
	v.state += 0x9e3779b97f4a7c15
	z := v.state
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// write fills the slots of one line. The line belongs to the caller.
func (v *values) write(line []byte, slots []slot, series int, stamp int64, sequence uint64) {
	for i := range slots {
		s := &slots[i]
		b := line[s.offset : s.offset+s.width]
		switch s.kind {
		case slotSeries:
			putDigits(b, uint64(series))
		case slotGroup:
			n := series % groups
			_ = b[1]
			b[0], b[1] = '0'+byte(n/10), '0'+byte(n%10)
		case slotTemperature:
			v.writeTemperature(b)
		case slotFloat:
			// The point stands in the image of the line already.
			digits := eightDigits(100_000+below(v.draw(), 900_000)) >> 16
			_ = b[6]
			binary.LittleEndian.PutUint16(b, uint16(digits))
			b[2], b[4] = byte(digits>>16), byte(digits>>24)
			binary.LittleEndian.PutUint16(b[5:], uint16(digits>>32))
		case slotInt:
			binary.LittleEndian.PutUint32(b, uint32(eightDigits(1000+below(v.draw(), 9000))>>32))
		case slotBool:
			b[0] = "tf"[v.draw()>>63]
		case slotWord:
			at := 4 * below(v.draw(), uint64(len(words)/4))
			word := words[at : at+4]
			_ = b[3]
			b[0], b[1], b[2], b[3] = word[0], word[1], word[2], word[3]
		case slotStamp:
			v.writeStamp(b, uint64(stamp))
		case slotSequence:
			putDigits(b, sequence)
		}
	}
}

func (v *values) writeTemperature(b []byte) {
	draw := v.draw()
	n := calmMin + below(draw, calmCount)
	// The low half decides, the high half is the value: they are independent.
	if draw&(1<<32-1) < v.threshold {
		n = violationMin + below(draw, violationCount)
		v.violations++
	}
	digits := eightDigits(n) >> 32
	binary.LittleEndian.PutUint16(b, uint16(digits))
	binary.LittleEndian.PutUint16(b[3:], uint16(digits>>16))
}

func (v *values) writeStamp(b []byte, stamp uint64) {
	if len(b) != len(v.highText)+8 {
		putDigits(b, stamp)
		return
	}
	high := stamp / 1e8
	if high != v.high {
		v.high = high
		putDigits(v.highText[:], high)
	}
	*(*[11]byte)(b) = v.highText
	binary.LittleEndian.PutUint64(b[11:], eightDigits(stamp-high*1e8))
}

// below scales the high half of a draw to 0 … n-1.
func below(draw, n uint64) uint64 { return draw >> 32 * n >> 32 }

// putDigits fills b with the last len(b) decimal digits of n.
func putDigits(b []byte, n uint64) {
	for len(b) > 8 {
		binary.LittleEndian.PutUint64(b[len(b)-8:], eightDigits(n%1e8))
		b, n = b[:len(b)-8], n/1e8
	}
	if len(b) <= 4 {
		for i := len(b) - 1; i >= 0; i-- {
			b[i] = '0' + byte(n%10)
			n /= 10
		}
		return
	}
	digits := eightDigits(n%1e8) >> (8 * (8 - len(b)) & 63)
	for i := range b {
		b[i] = byte(digits)
		digits >>= 8
	}
}

// eightDigits is n, below 10⁸, as eight decimal digits in ASCII, the first in the lowest byte. Each step cuts
// all parts in two at once: a division by 100 of numbers below 10⁴ is the multiplication by 10486 ÷ 2²⁰, one
// by 10 of numbers below 100 that by 103 ÷ 2¹⁰.
func eightDigits(n uint64) uint64 {
	x := n/1e4 | n%1e4<<32
	q := x * 10486 >> 20 & 0x0000007f_0000007f
	x = q | (x-100*q)<<16
	q = x * 103 >> 10 & 0x000f_000f_000f_000f
	x = q | (x-10*q)<<8
	return x | 0x30303030_30303030
}
