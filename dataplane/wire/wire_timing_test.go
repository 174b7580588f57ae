package wire

import "testing"

// BenchmarkDatagram writes the text of one alert with four labels and an annotation, and its frame.
func BenchmarkDatagram(b *testing.B) {
	a := Alert{
		Rule: "MotorOverload", Firing: true, Fingerprint: "00c0ffee00c0ffee",
		Time: 1_767_323_045_000_000_006, Since: 1_767_323_045_000_000_006,
		Labels: map[string]string{
			"alertname": "MotorOverload", "machine": "m1", "line": "a", "severity": "critical",
		},
		Annotations: map[string]string{"summary": "m1: 97 °C"},
	}
	template, err := NewTemplate(ends("10.0.0.1:5000", "10.0.0.2:7000"))
	if err != nil {
		b.Fatal(err)
	}
	for name, format := range map[string]Format{"json": JSON, "line": Line} {
		b.Run(name, func(b *testing.B) {
			frame, text := make([]byte, 2048), make([]byte, 0, 2048)
			b.ReportAllocs()
			for b.Loop() {
				text = format.Append(text[:0], &a, template.Room())
				if template.Write(frame, text) != template.Size()+len(text) {
					b.Fatal("no frame")
				}
			}
		})
	}
}
