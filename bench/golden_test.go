package main

import (
	"slices"
	"testing"

	"culvert/bench/gobench"
)

func TestCompare(t *testing.T) {
	f := func(want, got []string, differences ...string) {
		t.Helper()
		if found := compare(want, got); !slices.Equal(found, differences) {
			t.Errorf("got %q, want %q", found, differences)
		}
	}
	f([]string{"p A 0", "p B/x=1 3"}, []string{"p A 0", "p B/x=1 3"})
	f([]string{"p A 0"}, []string{"p A 1"}, "p A: 1, it was 0")
	f([]string{"p A 0"}, []string{"p A 0", "p C 2"}, "p C: 2, and it is not in the file")
	f([]string{"p A 0", "p D 0"}, []string{"p A 0"}, "p D: it is in the file, and did not run")
}

func TestAllocations(t *testing.T) {
	got := allocations(gobench.Parse("pkg: q\nBenchmarkB-2 5 7 ns/op 3 B/op 2 allocs/op\n" +
		"BenchmarkA-2 5 7 ns/op 0 B/op 0 allocs/op\nBenchmarkC-2 5 7 ns/op\n"))
	if want := []string{"q B 2", "q A 0"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
