package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fake is a receiver in virtual time.
type fake struct {
	mutex  sync.Mutex
	begun  time.Time
	answer func(attempt int, batch []string) error // (optional) what becomes of an attempt
	hang   time.Duration
	most   int
	log    []string // "offset: alert state, …", an attempt each
	took   []string // "alert state" of what was accepted
}

func (f *fake) batchMax() int             { return max(f.most, 1) }
func (f *fake) together(_, _ *Alert) bool { return true }
func (f *fake) close()                    {}

func (f *fake) deliver(ctx context.Context, batch []*change, wired func(at int64)) error {
	var names []string
	for _, c := range batch {
		names = append(names, c.Labels["machine"]+" "+c.state())
	}
	f.mutex.Lock()
	attempt := len(f.log)
	f.log = append(f.log, fmt.Sprintf("%v: %s", time.Since(f.begun).Round(time.Millisecond),
		strings.Join(names, ", ")))
	f.mutex.Unlock()
	if f.hang > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(f.hang):
		}
	}
	if f.answer != nil {
		if err := f.answer(attempt, names); err != nil {
			return err
		}
	}
	wired(monotonic())
	f.mutex.Lock()
	f.took = append(f.took, names...)
	f.mutex.Unlock()
	return nil
}

// accepted is what was accepted so far, and attempts what was tried.
func (f *fake) accepted() []string {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return slices.Clone(f.took)
}

// sorted is what was accepted so far, where its order says nothing.
func (f *fake) sorted() []string {
	all := f.accepted()
	slices.Sort(all)
	return all
}

func (f *fake) attempts() []string {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return slices.Clone(f.log)
}

// forget begins anew.
func (f *fake) forget() {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.took = nil
}

// ways starts a notifier for each carrier, named a, b, … It is for a bubble of synctest.
func ways(log *slog.Logger, c Config, refresh time.Duration, carriers ...*fake) *Notifiers {
	n := &Notifiers{log: log, unknown: map[string]bool{}}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	t := &table{byName: map[string][]*notifier{}}
	for i, carrier := range carriers {
		c := c.withDefaults()
		c.Name = string(rune('a' + i))
		carrier.begun = time.Now()
		t.add(&notifier{config: c, log: log, sent: func(*Alert, int64) {}, carrier: carrier,
			wake: make(chan struct{}, 1), closing: make(chan struct{}), queue: newQueue(c, 0, refresh),
			complained: map[string]time.Time{}})
	}
	n.start(t)
	return n
}

// offsets are the times of a fake's attempts.
func (f *fake) offsets(t *testing.T) (all []time.Duration) {
	t.Helper()
	for _, line := range f.attempts() {
		text, _, _ := strings.Cut(line, ":")
		at, err := time.ParseDuration(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, at)
	}
	return all
}

// Goal: a failed delivery is made again after 100 ms, 200 ms, … 5 s, a tenth more or less, for as long as it
// takes, and what comes meanwhile does not hurry it.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{answer: func(attempt int, _ []string) error {
			if attempt < 12 {
				return errors.New("not now")
			}
			return nil
		}}
		n := ways(quiet(), Config{}, 0, f)
		n.Send(alert("Hot", 1, true, "a"))
		time.Sleep(time.Second)
		n.Send(alert("Hot", 2, true, "a"))
		time.Sleep(time.Minute)
		finish(t, n)
		at := f.offsets(t)
		want := 100 * time.Millisecond
		varied := false
		for i := 1; i < 13; i++ {
			pause := at[i] - at[i-1]
			if pause < want*9/10-time.Millisecond || pause > want*11/10+time.Millisecond {
				t.Errorf("pause %d is %v, want %v ± 10 %%", i, pause, want)
			}
			varied = varied || pause != want
			want = min(want*2, 5*time.Second)
		}
		if !varied {
			t.Error("the pauses do not vary")
		}
		if !slices.Equal(f.accepted(), []string{"m1 firing", "m2 firing"}) {
			t.Errorf("took %v", f.accepted())
		}
	})
}

// Goal: only the newest state is delivered to a receiver that was away, and a receiver that says when to come
// back is not asked before.
func TestReceiverThatWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{most: 10, answer: func(attempt int, _ []string) error {
			if attempt == 0 {
				return later{errors.New("busy"), 30 * time.Second}
			}
			return nil
		}}
		n := ways(quiet(), Config{}, 0, f)
		n.Send(alert("Hot", 1, true, "a"))
		synctest.Wait()
		for i := range 5 {
			n.Send(alert("Hot", 1, i%2 == 1, "a"))
			n.Send(alert("Hot", 2, i%2 == 0, "a"))
		}
		time.Sleep(26 * time.Second)
		synctest.Wait()
		if len(f.attempts()) != 1 {
			t.Errorf("asked too soon: %v", f.attempts())
		}
		time.Sleep(10 * time.Second)
		finish(t, n)
		if !slices.Equal(f.sorted(), []string{"m1 resolved", "m2 firing"}) {
			t.Errorf("took %v", f.accepted())
		}
	})
}

// Goal: a receiver that hangs is cut off after the timeout and holds up no other.
func TestReceiverThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, fast := &fake{hang: time.Hour}, &fake{}
		n := ways(quiet(), Config{Timeout: 5 * time.Second}, 0, slow, fast)
		begun := time.Now()
		for i := range 500 {
			n.Send(alert("Hot", i, true, "a", "b"))
		}
		synctest.Wait()
		if len(fast.accepted()) != 500 || time.Since(begun) != 0 {
			t.Errorf("the fast one has %d after %v", len(fast.accepted()), time.Since(begun))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		at := slow.offsets(t)
		if len(at) < 6 || at[1] < 5*time.Second || at[1] > 5200*time.Millisecond {
			t.Errorf("the slow one is asked at %v", at)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := n.Close(ctx)
		if err == nil || !strings.Contains(err.Error(), `500 are left: 500 of notifier "a"`) {
			t.Errorf("Close says %v", err)
		}
		if time.Since(begun) > 62*time.Second {
			t.Errorf("Close took until %v", time.Since(begun))
		}
		if s := n.Stats()[0]; s.Left != 500 || s.Queued != 0 || s.Lost() != 500 || s.Retries < 5 {
			t.Errorf("counted %+v", s)
		}
		n.Send(alert("Late", 1, true, "b"))
		if s := n.Stats()[1]; s.Left != 1 || s.Delivered != 500 {
			t.Errorf("counted %+v", s)
		}
		if err := n.Close(t.Context()); err != nil {
			t.Errorf("a second Close says %v", err)
		}
	})
}

// Goal: a stop does not sit out a pause, and delivers what it can.
func TestStopWhileReceiverIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var back atomic.Bool
		f := &fake{answer: func(int, []string) error {
			if !back.Load() {
				return later{errors.New("busy"), time.Minute}
			}
			return nil
		}}
		n := ways(quiet(), Config{}, 0, f)
		n.Send(alert("Hot", 1, true, "a"))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		back.Store(true)
		begun := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := n.Close(ctx); err != nil {
			t.Error(err)
		}
		if wait := time.Since(begun); wait > 120*time.Millisecond || len(f.accepted()) != 1 {
			t.Errorf("took %v after %v", f.accepted(), wait)
		}
	})
}

// Goal: what fires is told again every minute until it ends, also after a failure; what ended is not.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{most: 10, answer: func(attempt int, _ []string) error {
			if attempt == 3 {
				return errors.New("not now")
			}
			return nil
		}}
		n := ways(quiet(), Config{}, time.Minute, f)
		n.Send(alert("Hot", 1, true, "a"))
		time.Sleep(30 * time.Second)
		n.Send(alert("Hot", 2, true, "a"))
		time.Sleep(45 * time.Second) // 1:15
		n.Send(alert("Hot", 2, false, "a"))
		time.Sleep(135 * time.Second) // 3:30
		finish(t, n)
		for i, want := range []string{"0s: m1 firing", "30s: m2 firing", "1m0s: m1 firing",
			"1m15s: m2 resolved", "1m15.1s: m2 resolved", "2m0s: m1 firing", "3m0s: m1 firing"} {
			at, what, _ := strings.Cut(want, ": ")
			wanted, _ := time.ParseDuration(at)
			if i >= len(f.attempts()) {
				t.Fatalf("%v", f.attempts())
			}
			_, got, _ := strings.Cut(f.attempts()[i], ": ")
			if off := (f.offsets(t)[i] - wanted).Abs(); got != what || off > 15*time.Millisecond {
				t.Errorf("attempt %d is %q, want %q", i, f.attempts()[i], want)
			}
		}
		if s := n.Stats()[0]; len(f.attempts()) != 7 || s.Refreshed != 3 || s.Delivered != 3 || s.Keys != 1 {
			t.Errorf("%v, counted %+v", f.attempts(), s)
		}
	})
}

// Goal: one alert that a receiver refuses takes no other of its message with it.
func TestRefusedAlertStandsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{most: 10, answer: func(_ int, batch []string) error {
			if slices.Contains(batch, "m3 firing") {
				return permanent{errors.New("no")}
			}
			return nil
		}, hang: time.Millisecond}
		n := ways(quiet(), Config{}, 0, f)
		for i := range 6 {
			n.Send(alert("Hot", i, true, "a"))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		n.Send(alert("Hot", 3, false, "a"))
		finish(t, n)
		want := []string{"m0 firing", "m1 firing", "m2 firing", "m3 resolved", "m4 firing", "m5 firing"}
		if s := n.Stats()[0]; !slices.Equal(f.sorted(), want) || s.Refused != 1 || s.Delivered != 6 {
			t.Errorf("took %v, counted %+v", f.accepted(), s)
		}
	})
}

// Goal: the limit is kept over time, and all that waits for it leaves.
func TestTenThousandAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{most: 64}
		n := ways(quiet(), Config{Limit: 1000}, 0, f)
		const alerts = 10_000
		for i := range alerts {
			n.Send(alert("Hot", i, true, "a"))
		}
		for i := range alerts / 2 {
			n.Send(alert("Hot", i, false, "a"))
		}
		for second := 1; second <= 15; second++ {
			time.Sleep(time.Second)
			synctest.Wait()
			if most := 1000 * (second + 1); len(f.accepted()) > most {
				t.Fatalf("%d were sent after %d s", len(f.accepted()), second)
			}
		}
		finish(t, n)
		s := n.Stats()[0]
		if s.Offered != s.Delivered+s.Superseded+s.Deduplicated || s.Lost() != 0 || s.Limited == 0 {
			t.Errorf("counted %+v", s)
		}
		last := map[string]string{}
		for _, one := range f.accepted() {
			machine, state, _ := strings.Cut(one, " ")
			last[machine] = state
		}
		for i := range alerts {
			want := "firing"
			if i < alerts/2 {
				want = "resolved"
			}
			if got := last[fmt.Sprint("m", i)]; got != want {
				t.Fatalf("m%d is %q in the end, want %s", i, got, want)
			}
		}
	})
}
