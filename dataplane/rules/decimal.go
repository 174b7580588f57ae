package rules

import (
	"encoding/binary"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"culvert/dataplane/point"
)

// bound is a constant as numbers in texts are compared with it: digit by digit, all at once, so that a
// threshold makes no value of a text which is clearly below or above it.
//
//	text      "45.12"  →  whole 45, a digit a byte, the last one lowest; fraction 12, the first one highest
//	bound      95.0    →  whole 95,                                        fraction 0        45 < 95: less
//
// What it says is what a comparison of the nearest floats says, because:
//
//   - Rounding keeps the order: of two numbers the greater never has the smaller float.
//   - Two decimal numbers of at most 15 digits that differ have floats that differ.
//   - An integer below 2⁵³ is a float itself. So a number that is at least whole+1 has a float above the
//     bound, and one of any length that is below whole−1 one below it.
//
// What these three do not decide is not decided here: relate returns no relation, and the values are
// compared.
type bound struct {
	whole, below uint64 // below is of the whole number one less
	fraction     uint64
	negative     bool
	zero         bool
	partial      bool // fraction is not all of it
}

const (
	// boundDigits is how many digits of a bound's whole number are compared. A greater bound has wholeOver:
	// texts of so many digits are all below it.
	boundDigits = 8
	wholeOver   = math.MaxUint64
	// exactDigits is how many decimal digits a float64 tells from all others.
	exactDigits = 15
	// decimalMax bounds the texts that are looked at, in bytes without the sign: three words.
	decimalMax = 24
)

// What a word of text looks like when '0' is taken off each byte by exclusive or: a digit is its value, and
// one of otherBits is set in every other byte that is in a number or behind one.
const (
	zeroBytes  = 0x3030303030303030
	otherBits  = 0x5050505050505050
	letterBits = 0x4040404040404040 // in letters, not in the point
	minusByte  = '-' ^ '0'
	pointByte  = '.' ^ '0'
)

// newBound makes the bound of a number, if it is finite.
func newBound(v value) (b bound, ok bool) {
	f, ok := v.float()
	if !ok || math.IsInf(f, 0) || math.IsNaN(f) {
		return b, false
	}
	b = bound{negative: f < 0, zero: f == 0}
	text := strconv.FormatFloat(math.Abs(f), 'f', -1, 64)
	if v.isInteger() {
		text = strconv.FormatUint(widen(v).magnitude, 10)
	}
	whole, fraction, _ := strings.Cut(text, ".")
	if len(whole) > boundDigits {
		b.whole, b.below, b.partial = wholeOver, wholeOver, true
		return b, true
	}
	number, _ := strconv.ParseUint(whole, 10, 64)
	b.whole, b.below = digitBytes(number), wholeOver
	if number > 0 {
		b.below = digitBytes(number - 1)
	}
	b.partial = len(fraction) > 8 || len(whole)+len(fraction) > exactDigits
	for i := range min(len(fraction), 8) {
		b.fraction |= uint64(fraction[i]-'0') << (56 - 8*i)
	}
	return b, true
}

// digitBytes is a number of up to eight digits, one a byte, the last one lowest.
func digitBytes(number uint64) (word uint64) {
	for shift := 0; number > 0; number, shift = number/10, shift+8 {
		word |= number % 10 << shift
	}
	return word
}

// relate compares the number that a field's text says with the bound, or returns 0 where that takes the
// value. The text is as a decoder leaves it: of an Int or Uint digits and a letter, of a Float digits, a
// point and digits, perhaps with an exponent; with a sign before it or none.
func (b *bound) relate(payload []byte, f *point.Field) relation {
	at, n := f.Value.Offset(), uint64(f.Value)>>32
	if at+8 > len(payload) || f.Kind > point.Uint {
		return 0
	}
	word := wordAt(payload, at) ^ zeroBytes
	if n-1 >= 8 || b.negative || byte(word) == minusByte {
		return b.relateAny(payload, f, word)
	}
	behind := uint64(math.MaxUint64-1) << ((8*n - 1) & 63)
	if f.Kind == point.Float && word&letterBits&^behind != 0 {
		return 0
	}
	// A byte behind the text is no digit.
	digits := uint(bits.TrailingZeros64((word|behind)&otherBits)) &^ 7 // in bits
	if digits-8 >= 56 {
		return 0
	}
	// The last digit comes to the top, zeros below the first.
	whole := bits.ReverseBytes64(word << ((64 - digits) & 63))
	if whole == b.whole {
		return b.relateFraction(word&^behind>>(digits+8), f.Kind)
	}
	if whole < b.whole {
		return less
	}
	return greater
}

// relateFraction is relate for a text of up to eight bytes whose whole number is the bound's. fraction is
// what is behind its point, or 0.
func (b *bound) relateFraction(fraction uint64, kind point.Kind) relation {
	if b.partial {
		return 0
	}
	return relateUints(bits.ReverseBytes64(fraction), b.fraction)
}

// relateAny is relate for all texts, given the first word.
func (b *bound) relateAny(payload []byte, f *point.Field, word uint64) relation {
	n := uint(f.Value.Length())
	if f.Value.Arena() != point.Payload || n == 0 {
		return 0
	}
	negative := byte(word) == minusByte
	if negative != b.negative {
		switch {
		case b.zero:
			return 0 // There are two zeros.
		case negative:
			return less
		}
		return greater
	}
	if negative {
		word, n = word>>8, n-1
	}
	r := b.relateSize(payload, f, word, n)
	if negative {
		r = r.mirrored()
	}
	return r
}

// relateSize is relateAny without signs: word is the begin of the text, which ends n bytes behind the sign.
func (b *bound) relateSize(payload []byte, f *point.Field, word uint64, n uint) relation {
	digits := uint(bits.TrailingZeros64(word&otherBits)) &^ 7 // in bits
	if digits-8 >= 56 || digits > 8*n || f.Kind == point.Float && hasLetters(payload, f, word, n) {
		return 0
	}
	whole := bits.ReverseBytes64(word << ((64 - digits) & 63))
	switch {
	case whole > b.whole:
		return greater
	case whole == b.whole || n > exactDigits+1 && whole == b.below:
		return 0
	}
	return less
}

// hasLetters tells whether a text has an exponent, or might. Its first word without the sign has n bytes of
// it, or eight.
func hasLetters(payload []byte, f *point.Field, word uint64, n uint) bool {
	at, length := f.Value.Offset(), f.Value.Length()
	switch {
	case length <= 8:
		return word<<(64-8*n)&letterBits != 0
	case length > decimalMax:
		return true
	}
	for i := 8; i < length; i += 8 {
		// The last word overlaps the one before it.
		word |= binary.LittleEndian.Uint64(payload[at+min(i, length-8):]) ^ zeroBytes
	}
	return word&letterBits != 0
}
