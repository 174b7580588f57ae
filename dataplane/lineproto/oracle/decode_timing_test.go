package oracle

import (
	"fmt"
	"strings"
	"testing"

	"github.com/influxdata/line-protocol/v2/lineprotocol"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
)

// traffic is lines of several measurements, short and long, that both decoders read alike.
func traffic() []byte {
	var b strings.Builder
	for i := range 24 {
		at := 1700000000000000000 + int64(i)*1234567
		fmt.Fprintf(&b, "cpu,cpu=cpu%d,host=server%02d,region=eu-central-1 usage_idle=%d.%d,"+
			"usage_system=2.31,usage_user=%d.25 %d\n", i%8, i, 90-i%7, i%10, i%5, at)
		fmt.Fprintf(&b, "plant,line=a,machine=m%03d,site=berlin temperature=%d.5,pressure=1013i,ok=t %d\n",
			i*37%500, 20+i, at)
		fmt.Fprintf(&b, "press,line=b ok=t,strokes=%di %d\n", i*1001, at)
		fmt.Fprintf(&b, `log,app=gate\ way,level=warn message="door %d open, code=\"E%d\"",code=%du %d`+"\n",
			i, i, i, at)
		fmt.Fprintf(&b, "http,app=shop,env=production,instance=10.0.%d.7:9100,job=api,method=GET,"+
			"node=ip-10-0-%d,path=/v1/orders value=%d %d\n", i, i*3, i*7919, at)
	}
	return []byte(b.String())
}

// BenchmarkDecode reads the same payload by Culvert, which tells the values of numbers when it is asked, here
// of all fields, and by the library.
func BenchmarkDecode(b *testing.B) {
	payload := traffic()
	lines := strings.Count(string(payload), "\n")
	run := func(name string, decode func() int) {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			for b.Loop() {
				if n := decode(); n != lines {
					b.Fatalf("%d points of %d lines", n, lines)
				}
			}
		})
	}
	var d lineproto.Decoder
	var p point.Point
	culvert := func(numbers bool) func() int {
		return func() (n int) {
			p.ScratchBytes = p.ScratchBytes[:0]
			for d.Start(payload, lineproto.Nanosecond, &p); d.Next(&p) == lineproto.OK; n++ {
				for i := range p.Fields {
					if numbers {
						p.Number(&p.Fields[i])
					}
				}
			}
			return n
		}
	}
	run("culvert", culvert(false))
	run("culvert-numbers", culvert(true))
	run("library", func() (n int) {
		for d := lineprotocol.NewDecoderWithBytes(payload); d.Next(); n++ {
			if _, err := theirBenchLine(d); err != nil {
				b.Fatal(err)
			}
		}
		return n
	})
}

// theirBenchLine reads all parts of a line by the library and keeps none.
func theirBenchLine(d *lineprotocol.Decoder) (fields int, err error) {
	if _, err = d.Measurement(); err != nil {
		return 0, err
	}
	for {
		name, _, err := d.NextTag()
		if err != nil {
			return 0, err
		}
		if name == nil {
			break
		}
	}
	for {
		name, _, err := d.NextField()
		if err != nil {
			return 0, err
		}
		if name == nil {
			break
		}
		fields++
	}
	_, err = d.TimeBytes()
	return fields, err
}
