package rules

import (
	"math"
	"math/bits"

	"culvert/dataplane/point"
)

// value is what a slot or a register holds while an expression is evaluated: the bits of a number or of a
// bool, or the span of a string. The zero value is missing: no comparison with it holds.
//
// Int and Uint are one type of integer to the language, from −2⁶³ to 2⁶⁴−1; which of the two represents a
// number makes no difference. What leaves that range is missing.
type value struct {
	bits uint64
	kind point.Kind
}

// constant is a literal of an expression.
type constant struct {
	kind   point.Kind
	number uint64
	text   string
}

func intConstant(i int64) constant { return constant{kind: point.Int, number: uint64(i)} }

func boolConstant(b bool) constant {
	if b {
		return constant{kind: point.Bool, number: 1}
	}
	return constant{kind: point.Bool}
}

func floatValue(f float64) value { return value{bits: math.Float64bits(f), kind: point.Float} }

func intValue(i int64) value { return value{bits: uint64(i), kind: point.Int} }

// float is a number as a float; ok is false for what is no number.
func (v value) float() (f float64, ok bool) {
	switch v.kind {
	case point.Float:
		return math.Float64frombits(v.bits), true
	case point.Int:
		return float64(int64(v.bits)), true
	case point.Uint:
		return float64(v.bits), true
	}
	return 0, false
}

func (v value) isInteger() bool { return v.kind == point.Int || v.kind == point.Uint }

// relation is how two values compare, as one bit, or a set of such bits. A comparison holds for a set of the
// first three; unordered are values of which one is missing or NaN, or which are of different types.
type relation uint8

const (
	less      relation = 1
	equal     relation = 2
	greater   relation = 4
	unordered relation = 8
)

func relateFloats(a, b float64) relation {
	switch {
	case a < b:
		return less
	case a > b:
		return greater
	case a == b:
		return equal
	}
	return unordered
}

func relateInts(a, b int64) relation {
	switch {
	case a < b:
		return less
	case a > b:
		return greater
	}
	return equal
}

func relateUints(a, b uint64) relation {
	switch {
	case a < b:
		return less
	case a > b:
		return greater
	}
	return equal
}

// relateNumbers compares two values that are not both strings or both bools.
func relateNumbers(a, b value) relation {
	if a.kind == point.Int && b.kind == point.Int {
		return relateInts(int64(a.bits), int64(b.bits))
	}
	if a.isInteger() && b.isInteger() {
		return relateIntegers(a, b)
	}
	x, ok := a.float()
	if !ok {
		return unordered
	}
	y, ok := b.float()
	if !ok {
		return unordered
	}
	return relateFloats(x, y)
}

func relateIntegers(a, b value) relation {
	aNegative := a.kind == point.Int && int64(a.bits) < 0
	bNegative := b.kind == point.Int && int64(b.bits) < 0
	switch {
	case aNegative && !bNegative:
		return less
	case bNegative && !aNegative:
		return greater
	}
	// Of two numbers with the same sign, two's complement keeps the order.
	return relateUints(a.bits, b.bits)
}

// operation is one of the operators and functions that give a number.
type operation uint8

const (
	opAdd operation = iota
	opSubtract
	opMultiply
	opDivide
	opRemainder
	opNegate
	opAbs
	opMin
	opMax
	opFloor
	opCeil
	opRound
	opSqrt
	opPow
	opLog
	opExp
)

// compute applies an operation; those of one operand ignore b. What has no answer is missing: an operand that
// is missing or no number, a division by zero, an integer that leaves its range.
func compute(op operation, a, b value) value {
	if op >= opNegate && op != opMin && op != opMax && op != opPow {
		return computeOne(op, a)
	}
	if a.isInteger() && b.isInteger() && op != opPow {
		if a.kind == point.Int && b.kind == point.Int {
			if v, ok := computeInts(op, int64(a.bits), int64(b.bits)); ok {
				return v
			}
		}
		return computeWide(op, a, b)
	}
	x, ok := a.float()
	if !ok {
		return value{}
	}
	y, ok := b.float()
	if !ok {
		return value{}
	}
	switch op {
	case opAdd:
		return floatValue(x + y)
	case opSubtract:
		return floatValue(x - y)
	case opMultiply:
		return floatValue(x * y)
	case opMin:
		return floatValue(min(x, y))
	case opMax:
		return floatValue(max(x, y))
	case opPow:
		return floatValue(math.Pow(x, y))
	}
	if y == 0 {
		return value{}
	}
	if op == opDivide {
		return floatValue(x / y)
	}
	return floatValue(math.Mod(x, y))
}

// computeInts is the quick way where operands and result are Ints; ok is false where it does not apply.
func computeInts(op operation, a, b int64) (v value, ok bool) {
	switch op {
	case opAdd:
		sum := a + b
		return intValue(sum), (sum > a) == (b > 0)
	case opSubtract:
		difference := a - b
		return intValue(difference), (difference < a) == (b > 0)
	case opMin:
		return intValue(min(a, b)), true
	case opMax:
		return intValue(max(a, b)), true
	case opDivide:
		if b > 0 {
			return intValue(a / b), true
		}
	case opRemainder:
		if b > 0 {
			return intValue(a % b), true
		}
	}
	return value{}, false
}

// wide is an integer as sign and magnitude.
type wide struct {
	magnitude uint64
	negative  bool
}

func widen(v value) wide {
	if v.kind == point.Int && int64(v.bits) < 0 {
		return wide{-v.bits, true}
	}
	return wide{v.bits, false}
}

// value is the integer, or missing if it leaves −2⁶³…2⁶⁴−1.
func (w wide) value() value {
	switch {
	case w.negative && w.magnitude > 1<<63:
		return value{}
	case w.negative:
		return intValue(-int64(w.magnitude))
	case w.magnitude <= math.MaxInt64:
		return intValue(int64(w.magnitude))
	}
	return value{bits: w.magnitude, kind: point.Uint}
}

// computeWide is integer arithmetic over the whole range of Int and Uint.
func computeWide(op operation, a, b value) value {
	switch op {
	case opMin, opMax:
		if (relateIntegers(a, b) == less) == (op == opMin) {
			return a
		}
		return b
	}
	x, y := widen(a), widen(b)
	switch op {
	case opSubtract:
		y.negative = !y.negative
		return addWide(x, y)
	case opAdd:
		return addWide(x, y)
	case opMultiply:
		high, low := bits.Mul64(x.magnitude, y.magnitude)
		if high != 0 {
			return value{}
		}
		return wide{low, x.negative != y.negative}.value()
	}
	if y.magnitude == 0 {
		return value{}
	}
	if op == opDivide {
		return wide{x.magnitude / y.magnitude, x.negative != y.negative}.value()
	}
	return wide{x.magnitude % y.magnitude, x.negative}.value()
}

func addWide(x, y wide) value {
	if x.negative == y.negative {
		sum, carry := bits.Add64(x.magnitude, y.magnitude, 0)
		if carry != 0 {
			return value{}
		}
		return wide{sum, x.negative}.value()
	}
	if x.magnitude < y.magnitude {
		x, y = y, x
	}
	return wide{x.magnitude - y.magnitude, x.negative}.value()
}

// computeOne applies an operation of one operand. Rounding an integer gives it back.
func computeOne(op operation, a value) value {
	if a.isInteger() {
		switch op {
		case opNegate:
			return addWide(wide{}, wide{widen(a).magnitude, !widen(a).negative})
		case opAbs:
			return wide{widen(a).magnitude, false}.value()
		case opFloor, opCeil, opRound:
			return a
		}
	}
	x, ok := a.float()
	if !ok {
		return value{}
	}
	switch op {
	case opNegate:
		x = -x
	case opAbs:
		x = math.Abs(x)
	case opFloor:
		x = math.Floor(x)
	case opCeil:
		x = math.Ceil(x)
	case opRound:
		x = math.Round(x)
	case opSqrt:
		x = math.Sqrt(x)
	case opLog:
		x = math.Log(x)
	case opExp:
		x = math.Exp(x)
	}
	return floatValue(x)
}

// value is a constant that is no string as a value.
func (c constant) value() value { return value{bits: c.number, kind: c.kind} }
