package loadgen

import "math/rand/v2"

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
	source rand.PCG
	// threshold is AlertShare × 2³²: a draw below it makes a violation.
	threshold  uint64
	violations uint64
}

func newValues(seed uint64, alertShare float64) values {
	return values{source: *rand.NewPCG(seed, 0x9e3779b97f4a7c15), threshold: uint64(alertShare * (1 << 32))}
}

// write fills the slots of one line. The line belongs to the caller.
func (v *values) write(line []byte, slots []slot, series int, stamp int64) {
	for i := range slots {
		s := &slots[i]
		b := line[s.offset : s.offset+s.width]
		switch s.kind {
		case slotSeries:
			putDigits(b, uint64(series))
		case slotGroup:
			putDigits(b, uint64(series%groups))
		case slotTemperature:
			v.writeTemperature(b)
		case slotFloat:
			n := 100_000 + below(v.source.Uint64(), 900_000)
			putDigits(b[:3], n/1000)
			b[3] = '.'
			putDigits(b[4:], n%1000)
		case slotInt:
			putDigits(b, 1000+below(v.source.Uint64(), 9000))
		case slotBool:
			b[0] = "tf"[v.source.Uint64()>>63]
		case slotWord:
			at := 4 * below(v.source.Uint64(), uint64(len(words)/4))
			copy(b, words[at:at+4])
		case slotStamp:
			putDigits(b, uint64(stamp))
		}
	}
}

func (v *values) writeTemperature(b []byte) {
	draw := v.source.Uint64()
	n := calmMin + below(draw, calmCount)
	// The low half decides, the high half is the value: they are independent.
	if draw&(1<<32-1) < v.threshold {
		n = violationMin + below(draw, violationCount)
		v.violations++
	}
	putDigits(b[:2], n/100)
	b[2] = '.'
	putDigits(b[3:], n%100)
}

// below scales the high half of a draw to 0 … n-1.
func below(draw, n uint64) uint64 { return draw >> 32 * n >> 32 }

// putDigits fills b with the last len(b) decimal digits of n.
func putDigits(b []byte, n uint64) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = '0' + byte(n%10)
		n /= 10
	}
}
