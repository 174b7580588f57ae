package point

import "testing"

// BenchmarkNumber is what a rule pays for the value of a field that nobody asked for before.
func BenchmarkNumber(b *testing.B) {
	for _, c := range []struct {
		name string
		kind Kind
		text string
	}{
		{"float", Float, "96.5"}, {"float10", Float, "1013.25317"},
		{"float17", Float, "45.27364918273645"}, {"int", Int, "1013i"},
		{"int12", Int, "123456789012i"}, {"bool", Bool, "true"},
	} {
		b.Run(c.name, func(b *testing.B) {
			p := numberedBefore(c.kind, c.text, stampBehind)
			b.ReportAllocs()
			for b.Loop() {
				p.Fields[0].Known = false
				p.Number(&p.Fields[0])
			}
		})
	}
}
