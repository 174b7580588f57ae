package lineproto

import (
	"bytes"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"

	"culvert/dataplane/point"
)

// indexText is an index in a form that compares, of a payload and no byte more.
func indexText(x *index, b []byte) string {
	x.build(b)
	var s strings.Builder
	fmt.Fprintf(&s, "marks %v then %v\n", x.marks[:x.count], x.marks[x.count:x.count+markGap])
	fmt.Fprintf(&s, "others %x\nrare %x %t", x.others, x.rare, x.anyRare)
	return s.String()
}

// plainIndex is the same index, made a byte at a time.
func plainIndex(b []byte) string {
	blocks := (len(b) + blockSize - 1) / blockSize
	others, rare, anyRare := bytes.Repeat([]byte{0xff}, 8*blocks+byteGap), make([]uint64, blocks), false
	positions := []uint32{}
	for i, c := range b {
		if c <= ' ' || strings.IndexByte(",=\"\\", c) >= 0 {
			positions = append(positions, uint32(i))
		}
		if c >= '0' && c <= '9' {
			others[i/8] &^= 1 << (i % 8)
		}
		if c >= 0x7f {
			rare[i/blockSize] |= 1 << (i % blockSize)
			anyRare = true
		}
	}
	return fmt.Sprintf("marks %v then %v\nothers %x\nrare %x %t", positions, make([]uint32, markGap), others,
		rare, anyRare)
}

// checkIndex makes the index of a payload by each path that this machine has.
func checkIndex(t *testing.T, indices *[paths]index, b []byte) {
	t.Helper()
	want := plainIndex(b)
	for path := pathWords; path <= best(); path++ {
		x := &indices[path]
		x.path = path
		if got := indexText(x, b); got != want {
			t.Fatalf("%d bytes %q by %s give\n%s\nwant\n%s", len(b), b, path, got, want)
		}
	}
}

// Every byte at every place of a block, and of the part of a block that ends a payload.
func TestIndexOfEveryByte(t *testing.T) {
	var indices [paths]index
	for _, length := range []int{1, 7, 8, 31, 32, 33, 63, 64, 65, 130} {
		b := bytes.Repeat([]byte{'x'}, length)
		for at := range b {
			for c := range 256 {
				b[at] = byte(c)
				checkIndex(t, &indices, b)
			}
			b[at] = 'x'
		}
	}
}

// Payloads of all lengths up to 256 at all offsets, with all kinds of bytes around them, which count for
// nothing; full of marks and empty of them.
func TestIndexOfEveryLength(t *testing.T) {
	var indices [paths]index
	random := rand.New(rand.NewPCG(1, 2))
	frame := make([]byte, 512)
	for _, pool := range []string{
		"abc019,= \"\\\n.-iu", ",= \n\"\\", "0123456789", "\x00\x1f\x7f\x80\xac\xbd\xff ", "x",
	} {
		for length := range 257 {
			for i := range frame {
				frame[i] = pool[random.IntN(len(pool))]
			}
			from := random.IntN(64)
			checkIndex(t, &indices, frame[from:from+length])
		}
	}
}

func TestPathNames(t *testing.T) {
	if !slices.Equal(pathNames[:], []string{"best", "words", "avx2", "avx512"}) || best() < pathWords {
		t.Fatalf("the paths are %v, the best is %d", pathNames, best())
	}
	t.Logf("the best path of this machine is %s", best())
}

// nonDigits is right for plainMax bytes from each position on, up to the end.
func TestNonDigits(t *testing.T) {
	var x index
	random := rand.New(rand.NewPCG(3, 4))
	b := make([]byte, 300)
	for i := range b {
		b[i] = "0123456789.x"[random.IntN(12)]
	}
	x.build(b)
	for i := range len(b) + 1 {
		got := nonDigits(textOf(x.others), uint32(i))
		for n := range plainMax {
			want := i+n >= len(b) || b[i+n]-'0' > 9
			if got>>n&1 != 0 != want {
				t.Fatalf("byte %d behind %d: got %064b", n, i, bits.Reverse64(got))
			}
		}
	}
}

// paths of a decoder each, so that they keep what they hold between payloads as workers do.
type everyPath [paths]codec

// check decodes a payload by each path that this machine has, as a part of a larger frame, whose other bytes
// count for nothing, and with nothing behind it.
func (e *everyPath) check(t *testing.T, payload []byte, precision Precision) {
	t.Helper()
	frame := append(append([]byte("m v=1\nx"), payload...), "1\"\n,=v=2 5\n"...)
	inside := frame[7 : 7+len(payload)]
	alone := slices.Clip(slices.Clone(payload))
	want := e.decode(pathWords, alone, precision)
	for path := pathWords; path <= best(); path++ {
		for _, b := range [][]byte{alone, inside} {
			if got := e.decode(path, b, precision); got != want {
				t.Fatalf("%q gives by %s\n%s\nand by words\n%s", payload, path, got, want)
			}
		}
	}
}

// decode is all that a decoder tells of a payload: spans as numbers, values, flags, rejected lines.
func (e *everyPath) decode(path path, payload []byte, precision Precision) string {
	d, p := &e[path].Decoder, &e[path].Point
	d.index.path = path
	p.ScratchBytes = p.ScratchBytes[:0]
	var s strings.Builder
	for d.Start(payload, precision, p); ; {
		switch d.Next(p) {
		case End:
			fmt.Fprintf(&s, "dropped %d", d.FieldsDropped())
			return s.String()
		case Rejected:
			fmt.Fprintf(&s, "%s at %d in %d\n", d.Reason(), d.Column(), d.Line())
		case OK:
			fmt.Fprintf(&s, "%d %v %d %d %d %d %t %t %t ", p.Measurement, p.Tags, p.Key, p.FieldSet,
				p.Stamp, p.Time, p.HasTime, p.HasUint, p.Verbatim)
			for i := range p.Fields {
				f := &p.Fields[i]
				fmt.Fprintf(&s, "%d %d %s %t ", f.Name, f.Value, f.Kind, f.Known)
			}
			s.WriteString(show(p) + "\n")
		}
	}
}

func TestPathsAgree(t *testing.T) {
	var e everyPath
	for _, seed := range fuzzSeeds() {
		for end := range len(seed) + 1 {
			e.check(t, []byte(seed[:end]), Nanosecond)
		}
	}
	for _, name := range corpusNames() {
		for _, payload := range corpus(name, 14)[:8] {
			e.check(t, payload, Nanosecond)
		}
	}
}

// FuzzPaths checks that all paths say the same of a payload, and make the same index.
func FuzzPaths(f *testing.F) {
	for _, seed := range fuzzSeeds() {
		f.Add([]byte(seed), uint8(0))
	}
	var e everyPath
	var indices [paths]index
	f.Fuzz(func(t *testing.T, payload []byte, unit uint8) {
		checkIndex(t, &indices, payload)
		e.check(t, payload, Precision(unit%4))
	})
}

// Names whose bits collide are told apart, and a name is found again behind one of its bit that was dropped.
func TestNamesOfOneBit(t *testing.T) {
	byBit := map[uint64][]string{}
	for i := range 2000 {
		name := fmt.Sprintf("n%d", i)
		bit := point.NameBit([]byte(name))
		byBit[bit] = append(byBit[bit], name)
	}
	var d Decoder
	var p point.Point
	f := func(line, want string) {
		t.Helper()
		for _, payload := range []string{line, line + "\n"} {
			if got := strings.Join(decoded(&d, &p, payload, Nanosecond), "\n"); got != want {
				t.Fatalf("%q gives\n%s\nwant\n%s", payload, got, want)
			}
		}
	}
	for _, names := range byBit {
		if len(names) < 2 {
			continue
		}
		a, b := names[0], names[1]
		f(fmt.Sprintf("m,%s=x,%s=y v=1", a, b), fmt.Sprintf(`"m" %q="x" %q="y" | "v"=f:1`, a, b))
		f(fmt.Sprintf("m,%s=x,%s=y,%s=z v=1", a, b, a),
			fmt.Sprintf("!duplicate_tag:%d:m,%s=x,%s=y,%s=z v=1", len(a)+len(b)+9, a, b, a))
		f(fmt.Sprintf("m %s=1,%s=2i 5", a, b), fmt.Sprintf(`"m" | %q=f:1 %q=i:2 @5`, a, b))
		for _, odd := range []string{"NaN", "1e5", "true", `"x"`, "1u"} {
			kept := map[string]string{
				"NaN": "", "1e5": "f:100000", "true": "b:true", `"x"`: `s:"x"`, "1u": "u:1",
			}
			want := fmt.Sprintf(`"m" | %q=f:3`, a)
			if value := kept[odd]; value != "" {
				want += fmt.Sprintf(" %q=%s", b, value)
			}
			f(fmt.Sprintf("m %s=1,%s=%s,%s=3 5", a, b, odd, a), want+" @5")
		}
	}
}

// A goroutine may be stopped in the midst of a scan, as the garbage collector does again and again here. What
// was in vector registers must come back.
func TestIndexWhileOthersCollect(t *testing.T) {
	payload := bytes.Join(corpus("mixed", 14)[:20], nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 100 {
			runtime.GC()
		}
	}()
	var indices [paths]index
	want := plainIndex(payload)
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		for path := pathWords; path <= best(); path++ {
			x := &indices[path]
			x.path = path
			for range 20 {
				x.build(payload)
			}
			if got := indexText(x, payload); got != want {
				t.Fatalf("an index by %s is not what it was before", path)
			}
		}
	}
}

// Bad lines take the walk over the marks with them: else the time they take would grow by their number's
// square.
func TestBadLinesMoveOn(t *testing.T) {
	var d Decoder
	var p point.Point
	payload := []byte(strings.Repeat("bad\n", 1000))
	d.Start(payload, Nanosecond, &p)
	for line := range 1000 {
		if outcome := d.Next(&p); outcome != Rejected {
			t.Fatalf("line %d: %s", line, outcome)
		}
		if d.mark != line {
			t.Fatalf("line %d begins at mark %d, the walk is at mark %d", line, line, d.mark)
		}
	}
}

// TestRareBytesAreBounded holds rareFrom against a search byte by byte, at all distances from block to block.
func TestRareBytesAreBounded(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 5))
	for range 5000 {
		b := bytes.Repeat([]byte{'a'}, 1+random.IntN(300))
		for range random.IntN(4) {
			b[random.IntN(len(b))] = 0x7f + byte(random.IntN(129))
		}
		from := random.IntN(len(b))
		to := from + 1 + random.IntN(len(b)-from)
		first, end := to, to
		for i := to - 1; i >= from; i-- {
			if b[i] >= 0x7f {
				if first == to {
					end = i + 1
				}
				first = i
			}
		}
		var x index
		x.build(b)
		if gotFirst, gotEnd := x.rareFrom(from, to); gotFirst != first || gotEnd != end {
			t.Fatalf("%q[%d:%d] has them in [%d:%d], want [%d:%d]", b, from, to, gotFirst, gotEnd, first, end)
		}
	}
}
