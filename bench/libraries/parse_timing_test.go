package libraries

import (
	"fmt"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/protoparser/influx"
	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
)

// mixedPayload is what a day's traffic looks like: short and long lines, few and many tags, every kind of
// value that all parsers take, escapes, timestamps and none. It is the mixture of the decoder's own
// benchmark without unsigned integers, which VictoriaMetrics does not know.
func mixedPayload() string {
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
			fmt.Fprintf(&b, `log,app=gate\ way,level=warn message="door %d open, code=\"E%d\"",code=%di %d`,
				i, i, i, at)
			b.WriteByte('\n')
			fmt.Fprintf(&b, "wetter,ort=Köln,station=K%d temp=%d.125,text=\"heiter bis wolkig\" %d\n",
				i, i, at)
		}
	}
	return b.String()
}

// shortPayload is the line of the benchmark's rows, 14 times.
func shortPayload() string {
	var b strings.Builder
	for i := range 14 {
		fmt.Fprintf(&b, "plant,line=l%02d,sensor=s%03d temperature=%d.45,pressure=123.%03d,rpm=%di %d\n",
			i, i*7, 20+i, i*31, 1000+i, 1700000000000000000+int64(i))
	}
	return b.String()
}

// BenchmarkParse reads the same payloads with each parser, every value of every line.
func BenchmarkParse(b *testing.B) {
	payloads := []struct{ name, text string }{{"mixed", mixedPayload()}, {"short", shortPayload()}}
	parsers := []struct {
		name  string
		parse func(payload string, bytes []byte) (lines int, err error)
	}{
		{"culvert", newCulvert()}, {"victoriametrics", newVictoria()}, {"line_protocol_v2", parseReference},
	}
	for _, payload := range payloads {
		for _, parser := range parsers {
			b.Run(parser.name+"/"+payload.name, func(b *testing.B) {
				want, bytes := strings.Count(payload.text, "\n"), []byte(payload.text)
				b.SetBytes(int64(len(payload.text)))
				b.ReportAllocs()
				for b.Loop() {
					if lines, err := parser.parse(payload.text, bytes); err != nil || lines != want {
						b.Fatalf("%d lines of %d, %v", lines, want, err)
					}
				}
			})
		}
	}
}

func newCulvert() func(string, []byte) (int, error) {
	var d lineproto.Decoder
	var p point.Point
	return func(_ string, payload []byte) (int, error) {
		p.ScratchBytes = p.ScratchBytes[:0]
		n := 0
		for d.Start(payload, lineproto.Nanosecond, &p); d.Next(&p) == lineproto.OK; {
			n++
		}
		return n, nil
	}
}

func newVictoria() func(string, []byte) (int, error) {
	var rows influx.Rows
	return func(text string, _ []byte) (int, error) {
		err := rows.Unmarshal(text, false)
		return len(rows.Rows), err
	}
}

// parseReference reads with InfluxData's own decoder.
func parseReference(_ string, payload []byte) (int, error) {
	d := lineprotocol.NewDecoderWithBytes(payload)
	n := 0
	for d.Next() {
		if _, err := d.Measurement(); err != nil {
			return n, err
		}
		for {
			key, _, err := d.NextTag()
			if err != nil {
				return n, err
			}
			if key == nil {
				break
			}
		}
		for {
			key, _, err := d.NextField()
			if err != nil {
				return n, err
			}
			if key == nil {
				break
			}
		}
		if _, err := d.TimeBytes(); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
