package point

import (
	"math"
	"math/bits"
	"strconv"
)

// powers are the powers of ten that a float64 holds exactly.
var powers = [...]float64{
	1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
	1e19, 1e20, 1e21, 1e22,
}

const (
	// digitsMax is how many decimal digits always fit in 64 bits.
	digitsMax = 19
	// mantissaMax bounds integers that a float64 holds exactly.
	mantissaMax = 1 << 53
)

// read makes the value of a text that a decoder has found to be of this kind, and in its range.
func read(kind Kind, text []byte) uint64 {
	switch kind {
	case Float:
		value, _ := ReadFloat(text)
		return math.Float64bits(value)
	case Int:
		if text[0] == '-' {
			return -readDigits(text[1:])
		}
		return readDigits(text)
	case Uint:
		return readDigits(text)
	case Bool:
		if text[0]|0x20 == 't' {
			return 1
		}
	}
	return 0
}

// shortMax bounds the numbers that readShort knows, in bytes with sign and letter.
const shortMax = 8

// What bytes look like when '0' is taken off each by exclusive or: a digit is its value, and these bits tell
// the others that stand in numbers.
const (
	zeros     = 0x3030303030303030
	otherBits = 0x1010101010101010 // in '.', '-', '+', 'e' and 'E'
	letterBit = 0x4040404040404040 // in 'e' and 'E'
)

// readShort is read for a text of n bytes, from 1 to shortMax, at the begin of a word of text, as most
// numbers are: all digits at once, without a loop whose end cannot be foreseen. It is false for kinds and
// forms that read has to see, such as exponents.
func readShort(kind Kind, word uint64, n uint) (value uint64, ok bool) {
	negative := byte(word) == '-'
	if negative {
		word, n = word>>8, n-1
	}
	if kind != Float {
		n-- // its letter
		if kind > Uint || n-1 >= shortMax || byte(word>>(8*n&63)) <= '9' {
			return 0, false
		}
		// The last digit comes to the top. What moves in below is like zeros before the number.
		word = (word ^ zeros) << ((shortMax - n) * 8 & 63)
		value = joinDigits(word)
		if negative {
			value = -value
		}
		return value, word&otherBits == 0
	}
	if n-1 >= shortMax {
		return 0, false
	}
	word = (word ^ zeros) << ((shortMax - n) * 8 & 63)
	point := word & otherBits >> 4 // the lowest bit of its byte
	if point&(point-1) != 0 || word&letterBit != 0 {
		return 0, false
	}
	f := 0.0
	if point == 0 {
		f = float64(int64(joinDigits(word)))
	} else {
		// What is before the point moves into its place.
		word = word&-(point<<8) | word&(point-1)<<8
		// Both numbers are exact, so that their quotient is rounded once.
		f = float64(int64(joinDigits(word))) / powers[bits.LeadingZeros64(point)/8]
	}
	if negative {
		f = -f
	}
	return math.Float64bits(f), true
}

// joinDigits is the value of eight digits, one a byte, the first in the lowest: neighbours are joined to
// pairs, pairs to fours, fours to all eight.
func joinDigits(word uint64) uint64 {
	word = word * (10<<8 + 1) >> 8 & 0x00ff00ff00ff00ff
	word = word * (100<<16 + 1) >> 16 & 0x0000ffff0000ffff
	return word * (10_000<<32 + 1) >> 32
}

// readDigits is the value of decimal digits that fit in 64 bits, up to the first other character.
func readDigits(text []byte) (value uint64) {
	for _, c := range text {
		if c-'0' > 9 {
			break
		}
		value = value*10 + uint64(c-'0')
	}
	return value
}

// ReadFloat is the float64 that is nearest to a decimal number: digits with a sign '-' before them, a point
// among them and an exponent behind them, each of which may be missing. It tells whether that is finite.
func ReadFloat(text []byte) (float64, bool) {
	var mantissa uint64
	first, point := 0, len(text)
	if len(text) > 0 && text[0] == '-' {
		first = 1
	}
	i := first
	for ; i < len(text); i++ {
		c := text[i]
		if c-'0' <= 9 {
			mantissa = mantissa*10 + uint64(c-'0')
		} else if c == '.' {
			point = i
		} else {
			break
		}
	}
	digits, fraction := i-first, 0
	if point < i {
		digits, fraction = digits-1, i-point-1
	}
	if i < len(text) || digits > digitsMax || mantissa >= mantissaMax || fraction >= len(powers) {
		value, err := strconv.ParseFloat(borrowString(text), 64)
		return value, err == nil
	}
	// Both numbers are exact, so that their quotient is rounded once.
	value := float64(mantissa) / powers[fraction]
	if first > 0 {
		value = -value
	}
	return value, true
}
