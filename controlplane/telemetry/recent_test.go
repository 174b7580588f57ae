package telemetry

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// Goal: what fires is what began and has not ended, the newest first, and no more than there is room for.
func TestFiring(t *testing.T) {
	var f Firing
	at := func(n int) Alert {
		return Alert{Rule: "Hot", Fingerprint: fmt.Sprint(n), Since: time.Unix(int64(n), 0)}
	}
	shown := func() (list []string) {
		for _, a := range f.Newest(3) {
			list = append(list, a.Fingerprint)
		}
		return list
	}
	if shown() != nil {
		t.Error("alerts fire before any began")
	}
	for n := range 5 {
		f.Change(at(n), true)
	}
	f.Change(at(3), false)
	f.Change(at(9), false)
	if got := shown(); !slices.Equal(got, []string{"4", "2", "1"}) {
		t.Errorf("the newest are %v", got)
	}
	for n := range alertsKept {
		f.Change(at(100+n), true)
	}
	if n := len(f.Newest(2 * alertsKept)); n != alertsKept {
		t.Errorf("%d alerts are kept, want %d", n, alertsKept)
	}
	again := at(1)
	again.Rule = "Hotter"
	f.Change(again, true)
	all := f.Newest(alertsKept)
	if last := all[len(all)-2]; last.Rule != "Hotter" {
		t.Errorf("an alert that is known was not renewed for want of room: %+v", last)
	}
}

func TestRejectsKeepTheLast(t *testing.T) {
	r := NewRejects(3)
	shown := func(n int) (reasons []string) {
		for _, one := range r.Newest(n) {
			reasons = append(reasons, one.Reason)
		}
		return reasons
	}
	if got := shown(10); got != nil {
		t.Errorf("an empty ring shows %v", got)
	}
	r.Add(Reject{Reason: "a"})
	r.Add(Reject{Reason: "b"})
	if got := shown(10); !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("two of three: %v", got)
	}
	for _, reason := range []string{"c", "d", "e"} {
		r.Add(Reject{Reason: reason})
	}
	if got := shown(10); !slices.Equal(got, []string{"e", "d", "c"}) {
		t.Errorf("five in three places: %v", got)
	}
	if got := shown(1); !slices.Equal(got, []string{"e"}) {
		t.Errorf("the last one: %v", got)
	}
	if got := NewRejects(0).Newest(-1); len(got) != 0 {
		t.Errorf("none of none: %v", got)
	}
}
