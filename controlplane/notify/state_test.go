package notify

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Goal: after a restart nothing that the receiver knows is told again, what it was not told is, and what
// ended meanwhile ends. Method: four alerts in the first life, one begin and one end of them undelivered;
// three fire again in the second, and one of them ends.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refuse atomic.Bool
		first := &fake{answer: func(_ int, batch []string) error {
			if refuse.Load() {
				return http.ErrHandlerTimeout
			}
			return nil
		}}
		n := ways(quiet(), Config{}, time.Minute, first)
		for i := range 3 {
			n.Send(alert("Hot", i, true, "a"))
		}
		synctest.Wait()
		refuse.Store(true)
		n.Send(alert("Hot", 3, true, "a"))
		n.Send(alert("Hot", 2, false, "a"))
		time.Sleep(time.Second)
		alive, err := n.State()
		if err != nil {
			t.Fatal(err)
		}
		// Killed: nothing of the first life is heard of any more.
		n.cancel()
		n.running.Wait()
		stopped, err := n.State()
		if err != nil {
			t.Fatal(err)
		}
		for _, state := range [][]byte{alive, stopped} {
			f := &fake{most: 10}
			n := ways(quiet(), Config{}, time.Minute, f)
			if err := n.Restore(state); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			// An Alertmanager hears of what fires at once: the gateway may have been away for long.
			want := []string{"m0 firing", "m1 firing", "m2 resolved", "m3 firing"}
			if !slices.Equal(f.sorted(), want) {
				t.Errorf("told %v, want %v", f.accepted(), want)
			}
			f.forget()
			for _, i := range []int{0, 1, 3} {
				again := alert("Hot", i, true, "a")
				again.Since = again.Since.Add(time.Hour)
				n.Send(again)
			}
			synctest.Wait()
			if len(f.accepted()) != 0 {
				t.Errorf("told again: %v", f.accepted())
			}
			n.Send(alert("Hot", 0, false, "a"))
			finish(t, n)
			if !slices.Equal(f.accepted(), []string{"m0 resolved"}) {
				t.Errorf("told %v", f.accepted())
			}
		}
		n.Close(t.Context())
	})
}

// Goal: alerts of an earlier life that the rules don't know end, unless another with their labels fires.
func TestReconcile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := ways(quiet(), Config{}, 0, &fake{})
		for i := range 4 {
			n.Send(alert("Hot", i, true, "a"))
		}
		synctest.Wait()
		state, err := n.State()
		if err != nil {
			t.Fatal(err)
		}
		finish(t, n)
		f := &fake{}
		n = ways(quiet(), Config{}, 0, f)
		if err := n.Restore(state); err != nil {
			t.Fatal(err)
		}
		same := alert("Hot", 1, true, "a") // The rule was edited: another fingerprint, the same labels.
		same.Fingerprint = "edited"
		n.Send(same)
		n.Send(alert("Hot", 2, true, "a")) // Fires again before anyone asks.
		synctest.Wait()
		f.forget()
		known := alert("Hot", 0, true).Fingerprint
		if ended := n.Reconcile(func(fingerprint string) bool { return fingerprint == known }); ended != 1 {
			t.Errorf("%d ended, want 1", ended)
		}
		synctest.Wait()
		if !slices.Equal(f.accepted(), []string{"m3 resolved"}) {
			t.Errorf("told %v", f.accepted())
		}
		if s := n.Stats()[0]; s.Keys != 3 { // m0, the edited m1, m2
			t.Errorf("counted %+v", s)
		}
		if ended := n.Reconcile(func(string) bool { return false }); ended != 0 {
			t.Errorf("%d ended the second time", ended)
		}
		finish(t, n)
	})
}

// Goal: bytes that are not whole are refused, wherever they are damaged.
func TestStateThatIsDamaged(t *testing.T) {
	n, err := New([]Config{{Name: "out", Type: "log"}}, quiet(), nil)
	if err != nil {
		t.Fatal(err)
	}
	n.Send(alert("Hot", 1, true, "out"))
	finish(t, n)
	state, err := n.State()
	if err != nil || !strings.Contains(string(state), "machine") {
		t.Fatalf("%q, %v", state, err)
	}
	fresh, err := New([]Config{{Name: "out", Type: "log"}}, quiet(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer finish(t, fresh)
	for i := range state {
		damaged := slices.Clone(state)
		damaged[i] ^= 0x10
		if fresh.Restore(damaged) == nil {
			t.Fatalf("byte %d may be wrong", i)
		}
		if fresh.Restore(state[:i]) == nil {
			t.Fatalf("%d bytes of %d are enough", i, len(state))
		}
	}
	if s := fresh.Stats()[0]; s.Keys != 0 {
		t.Fatalf("counted %+v", s)
	}
	if err := fresh.Restore(state); err != nil {
		t.Fatal(err)
	}
	if s := fresh.Stats()[0]; s.Keys != 1 {
		t.Fatalf("counted %+v", s)
	}
}
