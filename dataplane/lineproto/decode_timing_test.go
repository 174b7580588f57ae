package lineproto

import (
	"fmt"
	"strings"
	"testing"

	"culvert/dataplane/point"
)

// mixedPayload is what a day's traffic looks like: short and long lines, few and many tags, every kind of
// value, escapes, timestamps and none.
func mixedPayload() []byte {
	var b strings.Builder
	for i := range 24 {
		at := 1700000000000000000 + int64(i)*1234567
		fmt.Fprintf(&b, "cpu,cpu=cpu%d,host=server%02d,region=eu-central-1 usage_idle=%d.%d,"+
			"usage_system=2.31,usage_user=%d.25 %d\n", i%8, i, 90-i%7, i%10, i%5, at)
		fmt.Fprintf(&b, "temperature,line=a,machine=m%03d,sensor=s%d value=%d.5 %d\n",
			i*37%500, i%9, 20+i, at)
		fmt.Fprintf(&b, "press,line=b ok=t,strokes=%di %d\n", i*1001, at)
		if i%3 == 0 {
			fmt.Fprintf(&b, "net,host=server%02d,interface=eth%d bytes_recv=%di,bytes_sent=%di,drop_in=0i,"+
				"err_in=0i,packets_recv=%di %d\n", i, i%2, 123456789+i, 987654321-i, 55555+i, at)
			fmt.Fprintf(&b, "m v=%d\n", i)
		}
		if i%4 == 0 {
			fmt.Fprintf(&b, `log,app=gate\ way,level=warn message="door %d open, code=\"E%d\"",code=%du %d`,
				i, i, i, at)
			b.WriteByte('\n')
			fmt.Fprintf(&b, "wetter,ort=Köln,station=K%d temp=%d.125,text=\"heiter bis wolkig\" %d\n",
				i, i, at)
		}
	}
	return []byte(b.String())
}

// shortPayload is lines of about 95 bytes, as the budget of the decoder is stated for.
func shortPayload() []byte {
	var b strings.Builder
	for i := range 14 {
		fmt.Fprintf(&b, "plant,line=a,machine=m%03d,site=berlin temperature=%d.5,pressure=1013i,ok=t %d\n",
			i, 20+i, 1700000000000000000+int64(i))
	}
	return []byte(b.String())
}

// repeatedPayload is one line of 64 KiB that says every field twice: what a hostile sender would choose.
func repeatedPayload() []byte {
	b := []byte("m ")
	for i := range 9600 {
		b = fmt.Appendf(b, "%x=1,", i%4800)
	}
	return append(b, "z=1\n"...)
}

// BenchmarkDecode is the figures of performance.md by the path that this machine takes: payloads of 14 lines
// of each shape, of all shapes mixed, of one line, and "budget", the one payload of 14 lines of 95 bytes that
// the decoder's budget is stated for, again and again.
func BenchmarkDecode(b *testing.B) { benchmarkShapes(b, pathBest) }

// BenchmarkDecodePath is the same by each path that this machine has.
func BenchmarkDecodePath(b *testing.B) {
	for p := pathWords; p <= best(); p++ {
		b.Run(p.String(), func(b *testing.B) { benchmarkShapes(b, p) })
	}
}

func benchmarkShapes(b *testing.B, path path) {
	b.Run("budget", func(b *testing.B) { benchmarkDecode(b, path, [][]byte{shortPayload()}) })
	for _, name := range corpusNames() {
		b.Run(name, func(b *testing.B) { benchmarkDecode(b, path, corpus(name, 14)) })
	}
	b.Run("repeated", func(b *testing.B) { benchmarkDecode(b, path, [][]byte{repeatedPayload()}) })
	b.Run("single", func(b *testing.B) { benchmarkDecode(b, path, corpus("plant", 1)) })
}

// BenchmarkIndex is the first pass alone, by each path that this machine has.
func BenchmarkIndex(b *testing.B) {
	for p := pathWords; p <= best(); p++ {
		b.Run(p.String(), func(b *testing.B) {
			payloads, size := corpus("mixed", 14), 0
			for _, payload := range payloads {
				size += len(payload)
			}
			x := index{path: p}
			b.SetBytes(int64(size))
			for b.Loop() {
				for _, payload := range payloads {
					x.build(payload)
				}
			}
		})
	}
}

// benchmarkDecode decodes payloads in turn.
func benchmarkDecode(b *testing.B, path path, payloads [][]byte) {
	var d Decoder
	d.index.path = path
	var p point.Point
	size, lines := 0, 0
	for _, payload := range payloads {
		size += len(payload)
		lines += strings.Count(string(payload), "\n")
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		n := 0
		for _, payload := range payloads {
			p.ScratchBytes = p.ScratchBytes[:0]
			for d.Start(payload, Nanosecond, &p); d.Next(&p) == OK; {
				n++
			}
		}
		if n != lines {
			b.Fatalf("%d points of %d lines; %s", n, lines, d.Reason())
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(lines), "ns/point")
}

func BenchmarkAppend(b *testing.B) {
	payload := mixedPayload()
	for _, verbatim := range []bool{true, false} {
		name := map[bool]string{true: "verbatim", false: "anew"}[verbatim]
		b.Run(name, func(b *testing.B) {
			points := decodeAll(b, payload)
			var e Encoder
			dst := make([]byte, 0, 4*len(payload))
			for i := range points {
				points[i].Verbatim = verbatim
			}
			b.ReportAllocs()
			for b.Loop() {
				dst = dst[:0]
				for i := range points {
					var ok bool
					if dst, ok = e.Append(dst, &points[i]); !ok {
						b.Fatalf("point %d is refused", i)
					}
				}
			}
			b.SetBytes(int64(len(dst)))
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(points)), "ns/point")
		})
	}
}

// decodeAll decodes each line of a payload into a point of its own.
func decodeAll(tb testing.TB, payload []byte) []point.Point {
	tb.Helper()
	var points []point.Point
	for len(payload) > 0 {
		line := payload[:strings.IndexByte(string(payload), '\n')+1]
		payload = payload[len(line):]
		var d Decoder
		points = append(points, point.Point{})
		p := &points[len(points)-1]
		d.Start(line, Nanosecond, p)
		if d.Next(p) != OK {
			tb.Fatalf("%q is rejected: %s", line, d.Reason())
		}
	}
	return points
}
