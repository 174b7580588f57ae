package fakesink

import (
	"strings"
	"testing"

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
		if good, rejected, _ := d.check(lineproto.Nanosecond, true); good != want || rejected != 0 {
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
