package lineproto

import (
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// pieces are what random lines are made of: all that means something to a decoder, often enough to matter.
var pieces = []string{
	"m", ",", ",", "=", "=", " ", " ", "\n", "\n", "\r", "\\", "\\", "\"", "\"", "#", "t", "a", "v=1",
	"m v=1\n", "m,t=a ", "m v=\"", "1", "0", "9", "-", "+", ".", "e", "E5", "i", "u", "7i", "8u", "1.5",
	"true", "f", "NaN", "inf", "-Inf", "9223372036854775807", "18446744073709551615",
	"1700000000000000000", "00000000", "\x00", "\t", "\x7f", "\xff", "ö", "日本", "\xe6", " 5", "x=2,",
	"v=2,", ",v=3", ",t=b", "\\ ", "\\,", "\\=", "\\\\", "\\\"", "long-enough-for-a-word",
}

// TestDecodeRandomText checks what FuzzDecode checks, on text that is made of Line Protocol's own pieces.
// CULVERT_SEED repeats a run, CULVERT_ROUNDS makes it longer.
func TestDecodeRandomText(t *testing.T) {
	seed, rounds := uint64(time.Now().UnixNano()), 20000
	if s, err := strconv.ParseUint(os.Getenv("CULVERT_SEED"), 10, 64); err == nil {
		seed = s
	}
	if n, err := strconv.Atoi(os.Getenv("CULVERT_ROUNDS")); err == nil {
		rounds = n
	}
	t.Logf("CULVERT_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	var d, back codec
	var payload []byte
	for range rounds {
		payload = payload[:0]
		if random.IntN(2) == 0 {
			payload = append(payload, "m,t=a v=1"...)
		}
		for range random.IntN(24) {
			payload = append(payload, pieces[random.IntN(len(pieces))]...)
		}
		precision := Precision(random.IntN(8) / 5) // Most in nanoseconds, which alone are copied.
		checkDecode(t, &d.Decoder, &d.Point, payload, precision)
		checkRoundTrip(t, &d, &back, payload, precision)
	}
}
