package lineproto

import (
	"math"
	"strconv"

	"culvert/dataplane/point"
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
	// exponentMax stops exponents from overflowing; anything as large is beyond float64, or is 0.
	exponentMax = 1 << 20
)

// number reads an integer, an unsigned integer or a float, whose text begins at start and its digits, or its
// point, at i. It returns where it ends, or -1.
func (d *Decoder) number(p *point.Point, start, i int, field *point.Field) int {
	b := d.payload
	var mantissa uint64
	first := i
	for i < len(b) && b[i]-'0' <= 9 {
		mantissa = mantissa*10 + uint64(b[i]-'0')
		i++
	}
	whole, fraction := i-first, 0
	if i < len(b) && b[i] == '.' {
		i++
		dot := i
		for i < len(b) && b[i]-'0' <= 9 {
			mantissa = mantissa*10 + uint64(b[i]-'0')
			i++
		}
		if fraction = i - dot; whole == 0 || fraction == 0 {
			if whole+fraction == 0 {
				return d.fail(BadNumber, start, start)
			}
			// InfluxDB 3 wants a digit on either side of the point.
			p.Verbatim = false
		}
	} else if whole == 0 {
		return d.fail(BadNumber, start, start)
	} else if i < len(b) && (b[i] == 'i' || b[i] == 'u') {
		return d.integer(start, first, i, mantissa, field)
	}
	exponent := 0
	if i < len(b) && b[i]|0x20 == 'e' {
		if exponent, i = readExponent(b, i+1); i < 0 {
			return d.fail(BadNumber, start, start)
		}
	}
	if i < len(b) && b[i] != ',' && b[i] != ' ' && !lineEnds(b, i) {
		return d.fail(BadNumber, i, i)
	}
	var value float64
	scale := exponent - fraction
	if whole+fraction <= digitsMax && mantissa < mantissaMax && scale >= -22 && scale <= 22 {
		// Both numbers are exact, so that their product or quotient is rounded once.
		if scale < 0 {
			value = float64(mantissa) / powers[-scale]
		} else {
			value = float64(mantissa) * powers[scale]
		}
		if start != first {
			value = -value
		}
	} else {
		ok := false
		if value, ok = longFloat(b[start:i], whole+exponent); !ok {
			return d.fail(FloatRange, start, i)
		}
	}
	field.Kind, field.Number = point.Float, math.Float64bits(value)
	field.Value = point.MakeSpan(point.Payload, start, i-start)
	return i
}

// longFloat reads a float that is well formed and has more digits, or a larger exponent, than exact
// arithmetic can take. Its value is below the given power of ten.
func longFloat(text []byte, power int) (float64, bool) {
	// Overflow is found here, because strconv allocates the error that it returns for it.
	if power >= powerMax && overflows(text, power) {
		return 0, false
	}
	value, err := strconv.ParseFloat(borrowString(text), 64)
	return value, err == nil
}

const (
	// powerMax is the power of ten just above the largest float64.
	powerMax = 309
	// leadingMax is the 19 leading digits of the smallest number that is rounded up beyond the largest
	// float64: 1.7976931348623158079…e308.
	leadingMax = 1797693134862315807
)

// overflows tells whether a float is too large; about those within 1e-18 of the bound strconv has the word.
func overflows(text []byte, power int) bool {
	var leading uint64
	digits := 0
	for _, c := range text {
		if c|0x20 == 'e' {
			break
		}
		switch {
		case c == '-' || c == '.':
		case c == '0' && digits == 0:
			power--
		case digits < digitsMax:
			leading = leading*10 + uint64(c-'0')
			digits++
		}
	}
	if digits == 0 || power < powerMax {
		return false
	}
	for ; digits < digitsMax; digits++ {
		leading *= 10
	}
	return power > powerMax || leading > leadingMax
}

// readExponent reads an exponent behind its letter. It returns where it ends, or -1.
func readExponent(b []byte, i int) (exponent, end int) {
	negative := false
	if i < len(b) && (b[i] == '-' || b[i] == '+') {
		negative = b[i] == '-'
		i++
	}
	first := i
	for i < len(b) && b[i]-'0' <= 9 {
		exponent = min(exponent*10+int(b[i]-'0'), exponentMax)
		i++
	}
	if i == first {
		return 0, -1
	}
	if negative {
		exponent = -exponent
	}
	return exponent, i
}

// integer ends a number at its letter, i or u. The digits begin at first; low is their value where they
// are few enough to fit.
func (d *Decoder) integer(start, first, i int, low uint64, field *point.Field) int {
	b := d.payload
	end := i + 1
	if end < len(b) && b[end] != ',' && b[end] != ' ' && !lineEnds(b, end) {
		return d.fail(BadNumber, end, end)
	}
	ok := true
	if i-first > digitsMax {
		low, ok = longInteger(b[first:i])
	}
	negative := start != first
	switch {
	case b[i] == 'u':
		if negative {
			return d.fail(BadNumber, start, start)
		}
		field.Kind = point.Uint
	case negative:
		ok = ok && low <= 1<<63
		low = -low
		field.Kind = point.Int
	default:
		ok = ok && low <= math.MaxInt64
		field.Kind = point.Int
	}
	if !ok {
		return d.fail(IntegerRange, start, end)
	}
	field.Number = low
	field.Value = point.MakeSpan(point.Payload, start, end-start)
	return end
}

// longInteger reads decimal digits, and tells whether their value fits in 64 bits.
func longInteger(digits []byte) (uint64, bool) {
	var value uint64
	for _, c := range digits {
		digit := uint64(c - '0')
		if value > (math.MaxUint64-digit)/10 {
			return 0, false
		}
		value = value*10 + digit
	}
	return value, true
}

// stamp reads what may follow the fields, from the space or the line end behind them on: a timestamp, spaces.
// It returns the position of the line's end, or -1.
func (d *Decoder) stamp(p *point.Point, i int) int {
	b := d.payload
	for i < len(b) && b[i] == ' ' {
		i++
	}
	if lineEnds(b, i) {
		return i
	}
	start := i
	if b[i] == '-' {
		i++
	}
	first := i
	var value uint64
	for i+8 <= len(b) {
		eight, ok := eightDigits(word(b, i))
		if !ok {
			break
		}
		value = value*1e8 + eight
		i += 8
	}
	for i < len(b) && b[i]-'0' <= 9 {
		value = value*10 + uint64(b[i]-'0')
		i++
	}
	end := i
	if end == first || end < len(b) && b[end] != ' ' && !lineEnds(b, end) {
		return d.fail(BadTimestamp, start, start)
	}
	for i < len(b) && b[i] == ' ' {
		i++
	}
	if !lineEnds(b, i) {
		return d.fail(UnexpectedText, i, i)
	}
	ok := true
	if end-first > digitsMax {
		value, ok = longInteger(b[first:end])
	}
	if negative := start != first; !ok || value > math.MaxInt64 || !d.time(p, int64(value), negative) {
		return d.fail(TimestampRange, start, i)
	}
	if d.unit == 1 && b[first] != '0' {
		p.Stamp = point.MakeSpan(point.Payload, start, end-start)
	}
	return i
}

// time sets a point's time, and tells whether it is one that servers store.
func (d *Decoder) time(p *point.Point, value int64, negative bool) bool {
	if negative {
		value = -value
	}
	if value < d.low || value > d.high {
		return false
	}
	p.Time, p.HasTime = value*d.unit, true
	return true
}
