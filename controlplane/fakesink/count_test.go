package fakesink

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"culvert/dataplane/lineproto"
)

func TestCountLines(t *testing.T) {
	f := func(body string, want uint64) {
		t.Helper()
		if got := CountLines([]byte(body)); got != want {
			t.Fatalf("%q: %d lines, want %d", body, got, want)
		}
		var d desk
		d.body = []byte(body)
		if good, rejected, _ := d.check(lineproto.Nanosecond, true, nil); good != want || rejected != 0 {
			t.Fatalf("%q: the decoder finds %d lines and %d bad ones, want %d", body, good, rejected, want)
		}
	}
	f("", 0)
	f("m v=1\n", 1)
	f("m v=1", 1)
	f("m v=1\nm v=2\nm v=3\n", 3)
	f("m s=\"a\"\n", 1)
	f("m s=\"a\nb\"\nm v=1\n", 2)
	f("m v=1\nm s=\"a\\\"\nb\",t=\"\n\n\" 1\nm v=1", 3)
	f("m s=\"a\\\\\"\nm v=1\n", 2)
	f("m,t=\"a v=1\nm v=1\n", 2)
	f("m,t=a\\ \"b v=1\nm v=1\n", 2)
	f("\"m\",\"t\"=\"a\" \"v\"=1\nm v=1\n", 2)
	f("m v=1,\"w=2\nm v=1\n", 2)
	f("m v=\"=\\\"\n=\",w=1\nm v=1\n", 2)
}

// Goal: hostile bodies are read to their end and no further. Method: every prefix of bodies full of marks.
func TestCountLinesOfTornBodies(t *testing.T) {
	whole := "m,a=\\ b s=\"x\\\"\ny\\\\\",q=\"\" 1\n\\\n\"\n= =\"\\"
	for end := range len(whole) + 1 {
		body := []byte(whole[:end])
		if n := CountLines(body); n > uint64(strings.Count(whole[:end], "\n")+1) {
			t.Fatalf("%q: %d lines", body, n)
		}
	}
}

// Goal: the quick ways agree with the slow one on every text. Method: random texts of the bytes that matter,
// and lines of one shape with a byte changed, against a count that looks at each byte.
func TestCountLinesAgreesWithEachByte(t *testing.T) {
	slow := func(body []byte) (count uint64) {
		for start := 0; start < len(body); {
			end := quotedLine(body[start:])
			if end > 0 {
				count++
			}
			start += end + 1
		}
		return count
	}
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	const marks = "\n\n\"\"\\ = ,ab1"
	// A gateway writes no blank lines, and what they count as differs.
	fillBlank := func(body []byte) {
		for i := range body {
			if body[i] == '\n' && (i == 0 || body[i-1] == '\n') {
				body[i] = 'a'
			}
		}
	}
	for range 50_000 {
		body := make([]byte, random.IntN(40))
		for i := range body {
			body[i] = marks[random.IntN(len(marks))]
		}
		fillBlank(body)
		if got, want := CountLines(body), slow(body); got != want {
			t.Fatalf("seed %d: %q: %d lines, want %d", seed, body, got, want)
		}
	}
	whole := strings.Repeat("m,a=b f=1,s=\"x y\",t=\"z\" 17\n", 4)
	for range 50_000 {
		body := []byte(whole)
		for range 1 + random.IntN(3) {
			body[random.IntN(len(body))] = marks[random.IntN(len(marks))]
		}
		fillBlank(body)
		if got, want := CountLines(body), slow(body); got != want {
			t.Fatalf("seed %d: %q: %d lines, want %d", seed, body, got, want)
		}
	}
}
