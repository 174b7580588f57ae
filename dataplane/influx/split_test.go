package influx

import (
	"math/rand/v2"
	"strings"
	"testing"
)

func TestLineEnd(t *testing.T) {
	f := func(lines ...string) {
		t.Helper()
		body := []byte(strings.Join(lines, ""))
		at := 0
		for i, line := range lines {
			end := lineEnd(body, at)
			if got := string(body[at:end]); got != line {
				t.Fatalf("line %d is %q, want %q", i, got, line)
			}
			at = end
		}
	}
	f("m v=1 1\n", "m v=2 2\n")
	f("m,a=b v=1,w=2i 1\n", "m v=\"x\" 2\n")
	f("m v=\"a\nb\" 1\n", "m v=\"c\\\"\nd\",w=1 2\n", "m w=1 3\n")
	f("m v=\"a\\\\\" 1\n", "m v=\"\" 2\n", "m v=\"=, \n\" 2\n")
	// Quotes in names mean nothing, escaped spaces and equals signs are part of them.
	f("m\"x,t\"=\"y v=1 1\n", "m\\ n,t\\ u=v\\ w f\\ g=1 2\n", "m f\\=g\"=1,h=\"i\n\" 3\n")
	f("m v=1\n", "m v=2 3")
	// What is no Line Protocol ends at a line feed, or at the end.
	f("nonsense\n", "m\n", "m v\n", "\n", "m v=\n", "m v=\"open\n to the end")
	f("m \\")
}

// Goal: a body cut at any depth gives back every line whole, once, in order. Method: random lines with quoted
// line feeds, halved until each part is one point.
func TestHalve(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	for range 200 {
		n := 1 + random.IntN(60)
		var lines []string
		for range n {
			lines = append(lines, "m,t=a\\ b s=\""+strings.Repeat("\n", random.IntN(3))+
				strings.Repeat("x", random.IntN(1<<random.IntN(10)))+"\",v=1 17\n")
		}
		body := strings.Join(lines, "")
		b := &Batch{memory: []byte(body), used: len(body), points: n}
		d := &b.delivery
		d.start(b, 0)
		deepest := 0
		for i := 0; d.count > 0; {
			deepest = max(deepest, d.count)
			if d.cut(b) {
				continue
			}
			p := d.done()
			if p.Points != 1 || body[p.From:p.To] != lines[i] {
				t.Fatalf("seed %d: part %d has %d points: %q, want %q", seed, i, p.Points,
					body[p.From:p.To], lines[i])
			}
			i++
		}
		if deepest > 20 {
			t.Fatalf("seed %d: %d parts of %d points wait", seed, deepest, n)
		}
	}
}

func TestFit(t *testing.T) {
	body := strings.Repeat("m v=1 1\n", 100)
	b := &Batch{memory: []byte(body), used: len(body), points: 100}
	b.delivery.start(b, 0)
	b.delivery.fit(b, 100)
	if p := b.delivery.top(); p.size() > 100 || p.size() < 48 || p.From != 0 {
		t.Fatalf("the first part is %+v", p)
	}
	b.delivery.fit(b, 1)
	if p := b.delivery.top(); p.Points != 1 {
		t.Fatalf("what cannot fit is cut to %d points, want 1", p.Points)
	}
}
