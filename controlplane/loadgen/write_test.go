package loadgen

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// Goal: digits are what fmt prints. Method: all numbers of up to six digits, others at random, all widths.
func TestDigits(t *testing.T) {
	b := make([]byte, 20)
	check := func(n uint64, width int) {
		t.Helper()
		text := fmt.Sprintf("%020d", n)
		if putDigits(b[:width], n); string(b[:width]) != text[20-width:] {
			t.Fatalf("%d in %d digits: %s", n, width, b[:width])
		}
	}
	for n := range uint64(1e6) {
		check(n, 8)
	}
	random := rand.New(rand.NewPCG(3, 4))
	for width := range 20 {
		for range 10_000 {
			check(random.Uint64()>>random.IntN(64), width)
		}
		check(1e8-1, width)
		check(1e8, width)
		check(1<<64-1, width)
	}
}

// Goal: the kept part of a timestamp follows it, forwards and back.
func TestStamps(t *testing.T) {
	v := newValues(1, 0)
	b := make([]byte, 19)
	for _, stamp := range []uint64{
		1_700_000_000_000_000_000, 1_700_000_000_099_999_999, 1_700_000_000_100_000_000,
		1_699_999_999_999_999_999, 9_223_372_036_854_775_806, 1_000_000_000_000_000_000,
	} {
		if v.writeStamp(b, stamp); string(b) != fmt.Sprint(stamp) {
			t.Fatalf("%d: %s", stamp, b)
		}
	}
	if v.writeStamp(b[:10], 1_700_000_000); string(b[:10]) != "1700000000" {
		t.Fatalf("seconds: %s", b[:10])
	}
}
