package notify

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// Goal: what a receiver was told by a TX ring is known here: it is not told again, it ends by whichever way,
// and what still waited for it is void.
func TestDepartedAlerts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		n := ways(quiet(), Config{}, 0, f)
		gone := func(number int, firing bool) Alert {
			a := alert("Hot", number, firing, "a")
			a.Departed = []string{"a"}
			return a
		}
		n.Send(gone(1, true))
		n.Send(alert("Hot", 1, true, "a")) // Known.
		n.Send(gone(2, true))
		n.Send(alert("Hot", 2, false, "a")) // Ends by the kernel's socket.
		n.Send(alert("Hot", 3, true, "a"))
		synctest.Wait()
		n.Send(gone(3, false)) // Ends by the TX ring.
		synctest.Wait()
		if !slices.Equal(f.accepted(), []string{"m2 resolved", "m3 firing"}) {
			t.Errorf("took %v", f.accepted())
		}
		if s := n.Stats()[0]; s.Delivered != 5 || s.Deduplicated != 1 || s.Keys != 1 || s.ByRule["Hot"] != 5 {
			t.Errorf("counted %+v", s)
		}
		if waiting := n.Waiting("a").Load(); waiting != 0 {
			t.Errorf("%d wait", waiting)
		}
		finish(t, n)
	})
}

// Goal: an older state that is under way or waits never comes after the newer one, and never takes its place.
func TestDepartedAlertsOvertakeNothing(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	on, off, again := alert("Hot", 1, true), alert("Hot", 1, false), alert("Hot", 1, true)
	for _, delivered := range []bool{true, false} {
		q := newQueue(Config{Keys: 10}, 0, 0)
		q.offer(&on, now)
		batch, _ := q.take(1, anyTogether, now, false)
		q.offer(&off, now)
		q.departed(&again, now) // The rules went on, and this one left by the TX ring.
		balance(t, q)
		if delivered {
			q.settled(batch, now)
		} else {
			q.failed(batch, now)
		}
		balance(t, q)
		if batch, _ := q.take(1, anyTogether, now, false); len(batch) != 0 || q.waiting() != 0 {
			t.Errorf("%d are sent after the newest", len(batch))
		}
		if e := q.entries[on.Fingerprint]; e == nil || e.knows != knowsFiring || e.state != &again {
			t.Errorf("the receiver is thought to know %+v", e)
		}
	}
}

// Goal: an alert that fires again after its end departed is told, while its first beginning is under way.
func TestFiringAfterADepartedEnd(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	on, off, again := alert("Hot", 1, true), alert("Hot", 1, false), alert("Hot", 1, true)
	for _, delivered := range []bool{true, false} {
		q := newQueue(Config{Keys: 10}, 0, 0)
		q.offer(&on, now)
		batch, _ := q.take(1, anyTogether, now, false)
		q.departed(&off, now)
		q.offer(&again, now)
		if delivered {
			q.settled(batch, now)
		} else {
			q.failed(batch, now)
		}
		balance(t, q)
		batch, _ = q.take(1, anyTogether, now, false)
		if len(batch) != 1 || batch[0].Alert != &again {
			t.Fatalf("%d are sent", len(batch))
		}
		q.settled(batch, now)
		balance(t, q)
	}
}
