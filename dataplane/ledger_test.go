package dataplane

import (
	"reflect"
	"sync/atomic"
	"testing"

	"culvert/dataplane/lineproto"
)

// Goal: the view of Counters as words is complete. Method: walk the fields.
func TestCountersAreWords(t *testing.T) {
	var c Counters
	value := reflect.ValueOf(&c).Elem()
	words := 0
	for i := range value.NumField() {
		field := value.Field(i)
		switch field.Kind() {
		case reflect.Uint64:
			words++
		case reflect.Array:
			if field.Type().Elem().Kind() != reflect.Uint64 {
				t.Fatalf("%s is an array of %s", value.Type().Field(i).Name, field.Type().Elem())
			}
			words += field.Len()
		default:
			t.Fatalf("%s is a %s, want uint64 or an array of them", value.Type().Field(i).Name, field.Kind())
		}
	}
	if words != int(counterWords) {
		t.Fatalf("%d words in the fields, %d in the view", words, counterWords)
	}
}

func TestEveryReasonHasALabel(t *testing.T) {
	seen := map[string]bool{}
	label := func(s string) {
		t.Helper()
		if s == "" || seen[s] {
			t.Fatalf("label %q is empty or given twice", s)
		}
		seen[s] = true
	}
	for r := range FrameRejects {
		label("frame " + r.String())
	}
	for r := range Drops {
		label("drop " + r.String())
	}
	for r := range SinkRejects {
		label("sink " + r.String())
	}
	for r := range lineproto.Reasons {
		label("decode " + r.String())
	}
}

// Goal: a reader never sees half of a turn. Method: a writer keeps a relation between three counters that
// every read must show.
func TestBlockReadsWholeTurns(t *testing.T) {
	b := new(Block)
	var stop atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		var c Counters
		for !stop.Load() {
			c.PointsReceived[3]++
			c.FramesReceived += 2
			c.PointsWritten = c.PointsReceived[3] + c.FramesReceived
			b.publish(&c)
		}
	}()
	for range 20_000 {
		c := b.Read()
		if c.FramesReceived != 2*c.PointsReceived[3] || c.PointsWritten != 3*c.PointsReceived[3] {
			t.Fatalf("a torn read: %d, %d, %d", c.PointsReceived[3], c.FramesReceived, c.PointsWritten)
		}
	}
	stop.Store(true)
	<-done
}

func TestCountersAdd(t *testing.T) {
	a, b := Counters{PointsWritten: 3, Turns: 1}, Counters{PointsWritten: 4}
	b.PointsDropped[DropOverload] = 7
	a.Add(&b)
	if a.PointsWritten != 7 || a.PointsDropped[DropOverload] != 7 || a.Turns != 1 || a.PointsOut() != 14 {
		t.Fatalf("sum is %+v", a)
	}
}
