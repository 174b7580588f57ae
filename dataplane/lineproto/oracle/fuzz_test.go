package oracle

import (
	"maps"
	"slices"
	"testing"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
)

// FuzzOracle reads text by Culvert and by the library, and writes what Culvert read so that the library reads
// the same.
func FuzzOracle(f *testing.F) {
	// A part of the corpus is enough for a start: most of its cases are a fuzzer's too.
	cases := readCorpus(f).Decode
	for i, key := range slices.Sorted(maps.Keys(cases)) {
		if i%16 == 0 || cases[key].Output.Error == "" {
			f.Add(string(cases[key].Input.Text), uint8(0))
		}
	}
	f.Fuzz(func(t *testing.T, payload string, unit uint8) {
		precision := lineproto.Precision(unit % 4)
		compare(t, payload, precision)
		var d lineproto.Decoder
		var p point.Point
		var e lineproto.Encoder
		for d.Start([]byte(payload), precision, &p); ; {
			outcome := d.Next(&p)
			if outcome == lineproto.End {
				return
			}
			if outcome == lineproto.Rejected {
				continue
			}
			want := contentOf(&p)
			for range 2 {
				line, ok := e.Append(nil, &p)
				back, err := theirs(string(line), lineproto.Nanosecond)
				if !ok || err != nil || len(back) != 1 || !back[0].equal(&want) {
					t.Fatalf("%s is written as %q, %t, which the library reads as %v, %v", &want, line, ok,
						back, err)
				}
				p.Verbatim = false
			}
		}
	})
}
