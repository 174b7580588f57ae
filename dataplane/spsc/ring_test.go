package spsc

import (
	"runtime"
	"testing"
)

func TestRingKeepsOrderAcrossThreads(t *testing.T) {
	const count = 200_000
	r := New[uint64](64)
	go func() {
		for i := uint64(0); i < count; {
			if r.Push(&i) {
				i++
				continue
			}
			runtime.Gosched()
		}
	}()
	for want := uint64(0); want < count; {
		v := r.Peek()
		if v == nil {
			runtime.Gosched()
			continue
		}
		if *v != want {
			t.Fatalf("popped %d, want %d", *v, want)
		}
		r.Release()
		want++
	}
}

func TestRingFullAndEmpty(t *testing.T) {
	r := New[int](4)
	if r.Peek() != nil {
		t.Fatal("an empty ring gives a value")
	}
	if n := r.PushAll([]int{1, 2, 3, 4, 5}); n != 4 {
		t.Fatalf("%d of 5 values fit in 4 slots", n)
	}
	five := 5
	if r.Push(&five) {
		t.Fatal("a full ring takes a value")
	}
	into := make([]int, 3)
	if n := r.PopAll(into); n != 3 || into[0] != 1 || into[2] != 3 {
		t.Fatalf("popped %d: %v", n, into)
	}
	if !r.Push(&five) {
		t.Fatal("a ring with room refuses a value")
	}
	if n := r.PopAll(into); n != 2 || into[0] != 4 || into[1] != 5 {
		t.Fatalf("popped %d: %v", n, into)
	}
}

// Goal: several at once are the same as one by one, whatever part of them fits and wherever the end of the
// slots lies. Method: all lengths of pushes and pops in turn, over many rounds of a small ring.
func TestRingSeveralAtOnce(t *testing.T) {
	r := New[int](8)
	var values, into [11]int
	pushed, popped := 0, 0
	for i := range 2000 {
		for j := range values {
			values[j] = pushed + j
		}
		push, pop := i%len(values), i*7%len(into)
		if n := r.PushAll(values[:push]); n != min(push, 8-(pushed-popped)) {
			t.Fatalf("%d of %d pushed with %d in the ring", n, push, pushed-popped)
		} else {
			pushed += n
		}
		n := r.PopAll(into[:pop])
		if n != min(pop, pushed-popped) {
			t.Fatalf("%d of %d popped with %d in the ring", n, pop, pushed-popped)
		}
		for j, got := range into[:n] {
			if got != popped+j {
				t.Fatalf("%d popped, want %d", got, popped+j)
			}
		}
		popped += n
	}
	if popped < 5000 {
		t.Fatalf("only %d values went through", popped)
	}
}

func TestReleaseWithoutPeekPanics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Fatal("Release on an empty ring does not panic")
		}
	}()
	New[int](2).Release()
}
