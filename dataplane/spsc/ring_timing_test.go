package spsc

import (
	"runtime"
	"testing"
)

// BenchmarkHandOver passes 32-byte elements between two goroutines in batches of 64: ns/op is per element.
func BenchmarkHandOver(b *testing.B) {
	type element [4]uint64
	r := New[element](4096)
	b.ReportAllocs()
	total := b.N
	done := make(chan uint64)
	go func() {
		var into [64]element
		var sum uint64
		for got := 0; got < total; {
			n := r.PopAll(into[:])
			if n == 0 {
				runtime.Gosched()
			}
			for i := range n {
				sum += into[i][0]
			}
			got += n
		}
		done <- sum
	}()
	var batch [64]element
	var want uint64
	for sent := 0; sent < total; {
		n := min(len(batch), total-sent)
		for i := range n {
			batch[i][0] = uint64(sent + i)
		}
		for from := 0; from < n; {
			pushed := r.PushAll(batch[from:n])
			if pushed == 0 {
				runtime.Gosched()
			}
			from += pushed
		}
		sent += n
	}
	for i := range total {
		want += uint64(i)
	}
	if sum := <-done; sum != want {
		b.Fatalf("sum %d, want %d", sum, want)
	}
}
