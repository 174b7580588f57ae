package lineproto

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// shape is one kind of traffic: a generator of lines, so that nothing is tuned to one of them.
type shape struct {
	name string
	line func(b *strings.Builder, r *rand.Rand)
}

// shapes are what senders send: short and long lines, few tags and many, every kind of value, strings with
// and without escapes, names beyond ASCII, timestamps and none. Values change from line to line, and so do
// their lengths.
var shapes = []shape{
	{"plant", func(b *strings.Builder, r *rand.Rand) {
		fmt.Fprintf(b, "plant,line=%c,machine=m%03d,site=berlin temperature=%.1f,pressure=%di,ok=t",
			'a'+r.IntN(4), r.IntN(500), r.Float64()*120, 980+r.IntN(60))
	}},
	{"cpu", func(b *strings.Builder, r *rand.Rand) {
		fmt.Fprintf(b, "cpu,cpu=cpu%d,host=server%02d,region=eu-central-1 usage_guest=0,usage_idle=%v,"+
			"usage_iowait=%.3f,usage_irq=0,usage_system=%v,usage_user=%.2f",
			r.IntN(64), r.IntN(100), r.Float64()*100, r.Float64()*3, r.Float64()*20, r.Float64()*80)
	}},
	{"net", func(b *strings.Builder, r *rand.Rand) {
		fmt.Fprintf(b, "net,host=server%02d,interface=eth%d bytes_recv=%di,bytes_sent=%di,drop_in=0i,"+
			"err_in=0i,packets_recv=%di,packets_sent=%du", r.IntN(100), r.IntN(4), r.Int64N(1e12),
			r.Int64N(1e11), r.Int64N(1e9), r.Int64N(1e9))
	}},
	{"counter", func(b *strings.Builder, r *rand.Rand) {
		fmt.Fprintf(b, "press,line=%c ok=%t,strokes=%di", 'a'+r.IntN(4), r.IntN(9) > 0, r.IntN(1e6))
	}},
	{"tags", func(b *strings.Builder, r *rand.Rand) {
		fmt.Fprintf(b, "http_requests,app=shop,az=eu-central-1%c,cluster=prod-%d,code=%d,env=production,"+
			"instance=10.%d.%d.%d:9100,job=api,method=GET,namespace=shop-frontend,node=ip-10-0-%d-%d,"+
			"path=/v1/orders/{id},pod=api-%08x-%05x value=%d", 'a'+r.IntN(3), r.IntN(4), 200+r.IntN(5)*100,
			r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(256), r.IntN(256), r.Uint32(), r.IntN(1<<20),
			r.IntN(1e7))
	}},
	{"bare", func(b *strings.Builder, r *rand.Rand) { fmt.Fprintf(b, "m v=%d", r.IntN(1000)) }},
	{"log", func(b *strings.Builder, r *rand.Rand) {
		fmt.Fprintf(b, `log,app=gate\ way,level=warn message="door %d stays open, code=\"E%d\"; `+
			`see C:\\log",code=%du`, r.IntN(300), r.IntN(100), r.IntN(100))
	}},
	{"text", func(b *strings.Builder, r *rand.Rand) {
		fmt.Fprintf(b, `syslog,facility=daemon,host=web%02d,severity=info message="accepted connection from `+
			`192.168.%d.%d port %d, session opened for user=backup",pid=%di`, r.IntN(40), r.IntN(256),
			r.IntN(256), 1024+r.IntN(60000), r.IntN(1<<22))
	}},
	{"utf8", func(b *strings.Builder, r *rand.Rand) {
		fmt.Fprintf(b, `wetter,ort=Köln,station=K%d temperatur=%.3f,größe=%de-3,text="heiter bis wolkig, 日本"`,
			r.IntN(100), r.Float64()*30, r.IntN(1e6))
	}},
}

// corpusBytes is how much of each shape a benchmark decodes in turn: too much for branches to be learnt by
// heart, little enough for the second level cache, where packets are found too.
const corpusBytes = 128 << 10

// corpus is payloads of as many lines each, of the shape with this name or, for "mixed", of all shapes in
// random order. Nine lines in ten have a timestamp. The same name gives the same text.
func corpus(name string, lines int) (payloads [][]byte) {
	r := rand.New(rand.NewPCG(uint64(len(name)), 3))
	var of []shape
	for _, s := range shapes {
		if s.name == name || name == "mixed" {
			of = append(of, s)
		}
	}
	at := int64(1700000000000000000)
	for size := 0; size < corpusBytes; size += len(payloads[len(payloads)-1]) {
		var b strings.Builder
		for range lines {
			of[r.IntN(len(of))].line(&b, r)
			if at += r.Int64N(1e6); r.IntN(10) > 0 {
				fmt.Fprintf(&b, " %d", at)
			}
			b.WriteByte('\n')
		}
		payloads = append(payloads, []byte(b.String()))
	}
	return payloads
}

// corpusNames are those of all shapes, and "mixed".
func corpusNames() []string {
	names := []string{"mixed"}
	for _, s := range shapes {
		names = append(names, s.name)
	}
	return names
}
