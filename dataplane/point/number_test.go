package point

import (
	"math"
	"strconv"
	"testing"
)

// numbered is a point with one field of a kind, whose text is what a decoder left in the payload.
func numbered(kind Kind, text string) *Point { return numberedBefore(kind, text, ",w") }

// numberedBefore is numbered with more of the payload behind the text.
func numberedBefore(kind Kind, text, behind string) *Point {
	return &Point{
		PayloadBytes: []byte("v=" + text + behind),
		Fields: []Field{
			{Name: MakeSpan(Payload, 0, 1), Value: MakeSpan(Payload, 2, len(text)), Kind: kind},
		},
	}
}

const stampBehind = " 1700000000000000000"

func TestNumbersAreReadWhenAsked(t *testing.T) {
	f := func(kind Kind, text string, want uint64) {
		t.Helper()
		p := numbered(kind, text)
		field := &p.Fields[0]
		for range 2 {
			if got := p.Number(field); got != want || !field.Known || field.Bits != want {
				t.Fatalf("%s %s is %#x, want %#x; field %+v", kind, text, got, want, *field)
			}
			// The second time, the text counts no more.
			p.PayloadBytes[2] ^= 3
		}
		// Where whole words can be looked at, other digits may follow.
		for _, behind := range []string{stampBehind, ".e-999999999999999999"} {
			p = numberedBefore(kind, text, behind)
			if got := p.Number(&p.Fields[0]); got != want {
				t.Fatalf("%s %s before %q is %#x, want %#x", kind, text, behind, got, want)
			}
		}
	}
	f(Int, "0", 0)
	f(Int, "-0", 0)
	f(Int, "12", 12)
	f(Int, "-0i", 0)
	f(Int, "1234567i", 1234567)
	f(Int, "-123456i", math.MaxUint64-123455)
	f(Uint, "7654321u", 7654321)
	f(Int, "12345678i", 12345678)
	f(Int, "42i", 42)
	f(Int, "-42i", math.MaxUint64-41)
	f(Int, "9223372036854775807i", math.MaxInt64)
	f(Int, "-9223372036854775808i", 1<<63)
	f(Int, "0000000000000000000000009i", 9)
	f(Uint, "18446744073709551615u", math.MaxUint64)
	f(Uint, "0u", 0)
	for _, word := range []string{"t", "T", "true", "True", "TRUE"} {
		f(Bool, word, 1)
	}
	for _, word := range []string{"f", "F", "false", "False", "FALSE"} {
		f(Bool, word, 0)
	}
	f(String, "text", 0)
}

func TestFloatsAreReadAsStrconvDoes(t *testing.T) {
	f := func(text string) {
		t.Helper()
		want, err := strconv.ParseFloat(text, 64)
		got, ok := ReadFloat([]byte(text))
		if ok != (err == nil) || ok && math.Float64bits(got) != math.Float64bits(want) {
			t.Fatalf("%s is %v, %t; want %v, %v", text, got, ok, want, err)
		}
		for _, behind := range []string{",w", stampBehind, ",v=9.9e9,w=1i,x=t 1"} {
			p := numberedBefore(Float, text, behind)
			if value := p.Float(&p.Fields[0]); ok && math.Float64bits(value) != math.Float64bits(want) {
				t.Fatalf("%s is %v as a field before %q, want %v", text, value, behind, want)
			}
		}
	}
	for _, text := range []string{
		"0", "-0", "1", "1.", ".5", "-.5", "-1.5", "96.5", "0.1", "1e5", "1E-3", "1.e5", "-1.2e+78",
		"0e999", "9007199254740991", "9007199254740992", "9007199254740993", "900719925474099.3",
		"1234567890123456789",
		"12345678901234567890", "0.0000000000000000000000001", "1.7976931348623157e308", "1e400", "4.9e-324",
		"123456789012345678901234567890.5", "0.1234567890123456789", "000000000000000000000001",
	} {
		f(text)
	}
	for n := range int64(100_000) {
		f(strconv.FormatFloat(float64(n)/100, 'f', -1, 64))
	}
	for mantissa := uint64(1); mantissa < 1<<60; mantissa = mantissa*3 + 1 {
		digits := strconv.FormatUint(mantissa, 10)
		for point := range len(digits) + 1 {
			f(digits[:point] + "." + digits[point:])
			f("-" + digits[:point] + "." + digits[point:])
		}
	}
}

func TestNumbersAllocateNothing(t *testing.T) {
	for kind, text := range map[Kind]string{
		Float: "12.5", Int: "-7i", Uint: "7u", Bool: "true",
	} {
		p := numbered(kind, text)
		if n := testing.AllocsPerRun(100, func() {
			p.Fields[0].Known = false
			p.Number(&p.Fields[0])
		}); n != 0 {
			t.Fatalf("%s %s allocates %v times", kind, text, n)
		}
	}
	long := numbered(Float, "3.14159265358979323846264338e-5")
	if n := testing.AllocsPerRun(100, func() {
		long.Fields[0].Known = false
		long.Float(&long.Fields[0])
	}); n != 0 {
		t.Fatalf("a long float allocates %v times", n)
	}
}
