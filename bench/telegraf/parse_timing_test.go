package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/influxdata/telegraf/plugins/parsers/influx/influx_upstream"
)

// mixedPayload and shortPayload are those of the module bench/libraries, which must stay free of Telegraf.
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

func shortPayload() string {
	var b strings.Builder
	for i := range 14 {
		fmt.Fprintf(&b, "plant,line=l%02d,sensor=s%03d temperature=%d.45,pressure=123.%03d,rpm=%di %d\n",
			i, i*7, 20+i, i*31, 1000+i, 1700000000000000000+int64(i))
	}
	return b.String()
}

// BenchmarkParse reads with the faster of Telegraf's two parsers.
func BenchmarkParse(b *testing.B) {
	for name, text := range map[string]string{"mixed": mixedPayload(), "short": shortPayload()} {
		b.Run("telegraf/"+name, func(b *testing.B) {
			var parser influx_upstream.Parser
			if err := parser.Init(); err != nil {
				b.Fatal(err)
			}
			payload, want := []byte(text), strings.Count(text, "\n")
			b.SetBytes(int64(len(payload)))
			b.ReportAllocs()
			for b.Loop() {
				points, err := parser.Parse(payload)
				if err != nil || len(points) != want {
					b.Fatalf("%d points of %d, %v", len(points), want, err)
				}
			}
		})
	}
}
