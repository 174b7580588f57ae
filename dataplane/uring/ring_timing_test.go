package uring

import "testing"

// BenchmarkNop submits, enters and reaps one operation: what a turn with work costs at least.
func BenchmarkNop(b *testing.B) {
	r := newRing(b, 64)
	b.ReportAllocs()
	var cqe CQE
	for b.Loop() {
		r.Reserve().Nop(7)
		_ = r.Enter()
		if !r.Next(&cqe) || cqe.Token != 7 {
			b.Fatalf("completion %+v", cqe)
		}
	}
}

// BenchmarkNeedsEnter is what an idle turn costs.
func BenchmarkNeedsEnter(b *testing.B) {
	r := newRing(b, 64)
	b.ReportAllocs()
	for b.Loop() {
		if r.NeedsEnter() {
			b.Fatal("an idle ring asks to be entered")
		}
	}
}
