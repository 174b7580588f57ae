package fakesink

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"
)

// numbered is a line as `culvert load --sequence` sends it.
func numbered(flow, n uint64) string {
	return fmt.Sprintf("m,s=1 v=1,t=\"a b\",seq=1%04d%013di 1700000000000000000\n", flow, n)
}

// Goal: seen, missing, duplicate and late numbers are exact, whatever comes in whatever order. Method: random
// orders with losses and repetitions against a set.
func TestTrackAgreesWithASet(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	random := rand.New(rand.NewPCG(seed, 0))
	for round := range 300 {
		var numbers []uint64
		for n := range uint64(1 + random.IntN(200)) {
			for range []int{0, 1, 1, 1, 2}[random.IntN(5)] {
				numbers = append(numbers, n)
			}
		}
		// Mostly in order, as packets are.
		for range random.IntN(len(numbers)/4 + 1) {
			i, j := random.IntN(len(numbers)), random.IntN(len(numbers))
			numbers[i], numbers[j] = numbers[j], numbers[i]
		}
		var got track
		var want FlowSequence
		seen := map[uint64]bool{}
		for _, n := range numbers {
			switch {
			case seen[n]:
				want.Duplicates++
			case n < want.Next:
				want.Late++
			}
			seen[n] = true
			want.Next = max(want.Next, n+1)
			got.note(n)
		}
		want.Seen = uint64(len(seen))
		want.Missing = want.Next - want.Seen
		if got.FlowSequence != want {
			t.Fatalf("seed %d, round %d: got %+v, want %+v: %v", seed, round, got.FlowSequence, want, numbers)
		}
	}
}

// Goal: a flow that remembers too many gaps says how much it has forgotten.
func TestForgottenGaps(t *testing.T) {
	var got track
	for n := range uint64(gapsMax + 3) {
		got.note(2*n + 1)
	}
	if got.Forgotten != 3 || got.Missing != gapsMax+3 || len(got.gaps) != gapsMax {
		t.Fatalf("%+v with %d gaps", got.FlowSequence, len(got.gaps))
	}
}

// Goal: counting and checking find the same numbers. Method: both modes are given the same lines.
func TestSequences(t *testing.T) {
	body := numbered(0, 0) + numbered(7, 0) + numbered(0, 1) + numbered(7, 3) + numbered(7, 1) +
		numbered(7, 1) + "m,s=1 v=1 1700000000000000000\n" + numbered(4095, 0) +
		"m,seq=1 seq=\"100000000000000000i\" 1700000000000000000\n"
	for _, countOnly := range []bool{false, true} {
		s := newSink(t, Config{CountOnly: countOnly, Sequence: true})
		if code, answer := post(s, pathV1, body); code != 204 {
			t.Fatalf("%d %s", code, answer)
		}
		stats := s.Stats()
		want := FlowSequence{Seen: 3, Next: 4, Missing: 1, Duplicates: 1, Late: 1}
		if got := stats.Sequences; got == nil || len(got.Flows) != 3 || got.Flows[7] != want ||
			got.Flows[0] != (FlowSequence{Seen: 2, Next: 2}) || got.Flows[4095].Seen != 1 ||
			got.Unnumbered != 2 || got.Seen != 6 || got.Missing != 1 || stats.Points != 9 {
			t.Fatalf("count %v: %+v", countOnly, got)
		}
		text, err := json.Marshal(stats)
		if err != nil || !strings.Contains(string(text), `"7":{"seen":3,"next":4,"missing":1,`) {
			t.Fatalf("%s, %v", text, err)
		}
	}
	if newSink(t, Config{}).Stats().Sequences != nil {
		t.Fatal("numbers are followed that nobody asked for")
	}
}

func TestSequenceOf(t *testing.T) {
	f := func(line string, want uint64) {
		t.Helper()
		if got, ok := sequenceOf([]byte(line)); !ok || got != want {
			t.Fatalf("%q: %d, %v", line, got, ok)
		}
	}
	f("m v=1,seq=100120000000000345i 1700000000000000000", 12_0000000000345)
	f("m v=1,seq=100120000000000345i 1700000000", 12_0000000000345)
	f("m v=1,seq=100120000000000345i", 12_0000000000345)
	f("m v=1,seq=199999999999999999i 1", 9999_9999999999999)
	wrong := func(line string) {
		t.Helper()
		for range 2 {
			if got, ok := sequenceOf([]byte(line)); ok {
				t.Fatalf("%q: %d", line, got)
			}
		}
	}
	for _, line := range []string{
		"", " ", "i", "m v=1 1700000000000000000", "seq=100120000000000345i 1700000000000000000",
		"m v=1,seq=200120000000000345i 1", "m v=1,seq=10012000000000345i 1",
		"m v=1,seq=100120000000000345u 1",
		"m v=1,seq=10012000000000034:i 1", "m v=1,seq=1/0120000000000345i 1",
		"m v=1,qes=100120000000000345i 1",
	} {
		wrong(line)
	}
}
