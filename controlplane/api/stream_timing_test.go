package api

import (
	"fmt"
	"testing"
	"time"

	"culvert/controlplane/telemetry"
	"culvert/dataplane/hist"
)

// BenchmarkPicture makes what all viewers of the dashboard share each 0.9 s, but for the gateway's part, the
// snapshot: seven stages, ten rules, and as many alerts and rejects as are shown.
func BenchmarkPicture(b *testing.B) {
	shown := busy()
	for i, name := range []string{"steer_to_worker", "decode", "rules", "batch_wait", "write", "end_to_end"} {
		var h hist.Histogram
		for n := range int64(1000) {
			h.Record((n + 1) << i << 10)
		}
		shown.Stages[name] = new(hist.Snapshot)
		h.AddTo(shown.Stages[name])
	}
	for i := range 9 {
		shown.Rules = append(shown.Rules, telemetry.Rule{Name: fmt.Sprint("Hot", i), Group: "motors",
			Kind: "alert", Expr: "temperature > 95.0"})
	}
	alert := telemetry.Alert{Rule: "Hot", Fingerprint: "0123456789abcdef",
		Labels:      map[string]string{"machine": "m1", "severity": "critical"},
		Annotations: map[string]string{"summary": "m1 is at 96.5 °C"}}
	reject := telemetry.Reject{Stage: "decode", Reason: "bad_number", Source: "10.0.0.1:4711",
		Listener: "plant", Column: 17, Text: "motor,machine=m1 temperature=1x"}
	s := &Server{config: Config{
		Snapshot: func() *telemetry.Snapshot { return shown },
		Alerts:   func(n int) []telemetry.Alert { return repeated(alert, n) },
		Rejects:  func(n int) []telemetry.Reject { return repeated(reject, n) },
	}}
	b.ReportAllocs()
	for b.Loop() {
		shown.Taken = shown.Taken.Add(streamInterval)
		s.events.made = time.Time{} // It is old.
		text, _, err := s.event(wholeState)
		if err != nil || len(text) < 10_000 {
			b.Fatalf("%d bytes, %v", len(text), err)
		}
		b.SetBytes(int64(len(text)))
	}
}

func repeated[T any](one T, n int) (all []T) {
	for range n {
		all = append(all, one)
	}
	return all
}
