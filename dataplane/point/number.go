package point

import (
	"math"
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
