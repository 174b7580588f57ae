package lineproto

import (
	"math"

	"culvert/dataplane/point"
)

const (
	// exponentMax stops exponents from overflowing; anything as large is beyond float64, or is 0.
	exponentMax = 1 << 20
)

// number checks an integer, an unsigned integer or a float, whose text begins at start and its digits, or its
// point, at i. It returns where it ends, or -1. Fields of plain numbers don't come here.
func (d *Decoder) number(p *point.Point, start, i int, field *point.Field) int {
	b := d.payload
	first := i
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	whole := i - first
	if i < len(b) && b[i] == '.' {
		i++
		dot := i
		for i < len(b) && b[i]-'0' <= 9 {
			i++
		}
		if fraction := i - dot; whole == 0 || fraction == 0 {
			if whole+fraction == 0 {
				return d.fail(BadNumber, start, start)
			}
			// InfluxDB 3 wants a digit on either side of the point.
			p.Verbatim = false
		}
	} else if whole == 0 {
		return d.fail(BadNumber, start, start)
	} else if i < len(b) && (b[i] == 'i' || b[i] == 'u') {
		return d.integer(start, first, i, field)
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
	if power := whole + exponent; power >= powerMax && overflows(b[start:i], power) {
		return d.fail(FloatRange, start, i)
	}
	field.Kind = point.Float
	field.Value = point.MakeSpan(point.Payload, start, i-start)
	return i
}

const (
	// powerMax is the power of ten just above the largest float64.
	powerMax = 309
	// leadingMax is the 19 leading digits of the smallest number that is rounded up beyond the largest
	// float64: 1.7976931348623158079…e308.
	leadingMax = 1797693134862315807
)

// overflows tells whether a float, which is below the given power of ten, is too large.
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
	if power > powerMax || leading > leadingMax {
		return true
	}
	// Within 1e-18 of the bound strconv has the word. It allocates the error that it returns.
	_, ok := point.ReadFloat(text)
	return !ok
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

// integer ends a number at its letter, i or u. The digits begin at first.
func (d *Decoder) integer(start, first, i int, field *point.Field) int {
	b := d.payload
	end := i + 1
	if end < len(b) && b[end] != ',' && b[end] != ' ' && !lineEnds(b, end) {
		return d.fail(BadNumber, end, end)
	}
	low, ok := longInteger(b[first:i])
	negative := start != first
	switch {
	case b[i] == 'u':
		if negative {
			return d.fail(BadNumber, start, start)
		}
		field.Kind = point.Uint
	case negative:
		ok = ok && low <= 1<<63
		field.Kind = point.Int
	default:
		ok = ok && low <= math.MaxInt64
		field.Kind = point.Int
	}
	if !ok {
		return d.fail(IntegerRange, start, end)
	}
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

// stamp reads what may follow the fields, from the mark behind them on: a timestamp, spaces. It returns the
// position of the line's end, or -1.
func (d *Decoder) stamp(p *point.Point, k int) int {
	t, m := textOf(d.payload), marksOf(d.index.marks)
	if k+1 >= d.index.count {
		return d.oddStamp(p, d.markAt(k))
	}
	i, end := m.at(k), m.at(k+1) // Two marks, hence positions of bytes.
	if t.at(i) == '\n' {
		return int(i)
	}
	start := i + 1
	first := start
	if t.at(first) == '-' {
		first++
	}
	size := end - first
	if size-1 >= digitsMax || t.at(end) != '\n' || t.at(first) == '0' ||
		nonDigits(textOf(d.index.others), first)&(1<<(size%64)-1) != 0 {
		return d.oddStamp(p, int(i))
	}
	var value uint64
	at := first
	for ; at+8 <= end; at += 8 {
		value = value*1e8 + eightDigits(t.word(at))
	}
	for ; at < end; at++ {
		value = value*10 + uint64(t.at(at)-'0')
	}
	if value > math.MaxInt64 || !d.time(p, int64(value), start != first) {
		return d.fail(TimestampRange, int(start), int(end))
	}
	if d.unit == 1 {
		p.Stamp = payloadSpan(start, end)
	}
	return int(end)
}

// oddStamp reads a timestamp with more around it, or of odd length, or a bad one, or none: from the space
// or the line end behind the fields on.
func (d *Decoder) oddStamp(p *point.Point, i int) int {
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
	for i < len(b) && b[i]-'0' <= 9 {
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
	value, ok := longInteger(b[first:end])
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
