package notify

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"
)

// seeded is a generator whose seed is logged and can be given as CULVERT_SEED.
func seeded(t *testing.T) *rand.Rand {
	t.Helper()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("CULVERT_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("CULVERT_SEED=%d", seed)
	return rand.New(rand.NewPCG(seed, 1))
}

// balance checks that every change has one fate.
func balance(t *testing.T, q *queue) {
	t.Helper()
	c := q.counts
	sum := c.delivered + c.deduplicated + c.superseded + c.refused + c.noRoom + c.left + uint64(q.waiting())
	if c.offered != sum {
		t.Fatalf("%d changes came, %d are accounted for: %+v, %d wait", c.offered, sum, c, q.waiting())
	}
}

func anyTogether(_, _ *Alert) bool { return true }

// believes is a receiver's view of one alert.
type believes struct {
	state     string
	since     time.Time
	uncertain bool // an attempt failed: the next state may be one it has
}

// Goal: whatever fails and in whatever order things come, the receiver ends with the newest state of every
// alert, never goes back in time, and hears nothing twice unless an attempt failed in between. Method: random
// offers, deliveries, failures and passing time against a receiver that is a map.
func TestQueueEndsWithTheNewestState(t *testing.T) {
	for _, history := range []int{0, 4, 1000} {
		t.Run(fmt.Sprint("history ", history), func(t *testing.T) {
			random := seeded(t)
			now := time.Unix(1_700_000_000, 0)
			q := newQueue(Config{Keys: 1000, Limit: 3}, history, time.Second)
			offered := map[string]*Alert{}
			receiver := map[string]believes{}
			told := map[string]time.Time{}
			serial := 0
			deliver := func(outcome int) {
				batch, _ := q.take(1+random.IntN(4), anyTogether, now, true)
				if len(batch) == 0 {
					return
				}
				if outcome == 0 {
					for _, c := range batch {
						b := receiver[c.Fingerprint]
						b.uncertain = true
						if random.IntN(2) == 0 && !c.refresh { // It came, but its answer was lost.
							b.state, b.since = c.state(), c.Since
							told[c.Fingerprint] = c.Time
						}
						receiver[c.Fingerprint] = b
					}
					q.failed(batch, now)
					return
				}
				for _, c := range batch {
					b := receiver[c.Fingerprint]
					same := b.state == c.state() && (c.Firing || b.since.Equal(c.Since))
					if same && !c.refresh && !b.uncertain {
						t.Fatalf("%s is told %s twice", c.Fingerprint, c.state())
					}
					if c.refresh && b.state != "firing" && !b.uncertain {
						t.Fatalf("%s is %q and refreshed", c.Fingerprint, b.state)
					}
					if c.Time.Before(told[c.Fingerprint]) && !c.refresh && !b.uncertain {
						t.Fatalf("%s goes back from %v to %v", c.Fingerprint, told[c.Fingerprint], c.Time)
					}
					told[c.Fingerprint] = c.Time
					receiver[c.Fingerprint] = believes{state: c.state(), since: c.Since}
				}
				q.settled(batch, now)
			}
			for range 20_000 {
				switch action := random.IntN(10); {
				case action < 5:
					serial++
					number := random.IntN(20)
					a := alert(fmt.Sprint("Rule", number%3), number, random.IntN(2) == 0)
					a.Time = time.Unix(1_700_000_000, int64(serial))
					a.Since = a.Time
					if !a.Firing {
						before := offered[a.Fingerprint]
						if before == nil || !before.Firing {
							continue // Rules end nothing that does not fire, but may begin it twice.
						}
						a.Since = before.Since
					}
					offered[a.Fingerprint] = &a
					q.offer(&a, now)
				case action < 8:
					deliver(random.IntN(3))
				default:
					now = now.Add(time.Duration(random.IntN(300)) * time.Millisecond)
				}
				balance(t, q)
			}
			for q.waiting() > 0 {
				now = now.Add(time.Second)
				deliver(1)
			}
			balance(t, q)
			firing := 0
			for fingerprint, a := range offered {
				if got := receiver[fingerprint].state; got != a.state() {
					t.Errorf("%s ends as %q, want %s", fingerprint, got, a.state())
				}
				if a.Firing {
					firing++
				}
			}
			if len(q.entries) != firing || q.repeats.Len() != firing {
				t.Errorf("%d entries, %d to be refreshed, %d fire", len(q.entries), q.repeats.Len(), firing)
			}
			c := q.counts
			if c.deduplicated == 0 || c.retries == 0 || c.limited == 0 || history == 0 && c.refreshed == 0 ||
				history < 1000 && c.superseded == 0 {
				t.Errorf("not everything happened: %+v", q.counts)
			}
		})
	}
}

// Goal: a queue of history keeps each change while there is room, and from there on loses none of the newest.
func TestQueueOverflowKeepsTheNewest(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	q := newQueue(Config{Keys: 100}, 6, 0)
	var alerts []Alert
	for round := range 4 {
		for number := range 3 {
			a := alert("Hot", number, round%2 == 0)
			a.Time = a.Time.Add(time.Duration(round) * time.Second)
			alerts = append(alerts, a)
		}
	}
	for i := range alerts[:9] { // firing, resolved, firing of each of three
		q.offer(&alerts[i], now)
		balance(t, q)
	}
	// What the first of them gives up is room for the second.
	if q.counts.overflowed != 2 || q.counts.superseded != 2 || q.counts.deduplicated != 2 {
		t.Fatalf("%+v", q.counts)
	}
	var got []string
	for {
		batch, _ := q.take(2, anyTogether, now, false)
		if len(batch) == 0 {
			break
		}
		for _, c := range batch {
			got = append(got, c.Fingerprint[15:]+" "+c.state())
		}
		q.settled(batch, now)
		balance(t, q)
	}
	want := []string{"0 firing", "1 firing", "2 firing", "1 resolved", "1 firing"}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("got %v, want %v", got, want)
	}
	// What was told as firing ends, however full the queue is.
	for number := 3; number < 9; number++ {
		a := alert("Hot", number, true)
		q.offer(&a, now)
	}
	for i := range alerts[9:] {
		q.offer(&alerts[9+i], now)
	}
	if q.waiting() != 9 || q.counts.noRoom != 0 {
		t.Fatalf("%d wait, %+v", q.waiting(), q.counts)
	}
}

// Goal: where more alerts fire than are kept track of, the new ones are counted and left out, and those that
// are known still end.
func TestQueueOfTooManyAlerts(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	q := newQueue(Config{Keys: 10}, 0, 0)
	for number := range 15 {
		a := alert("Hot", number, true)
		q.offer(&a, now)
	}
	batch, _ := q.take(100, anyTogether, now, false)
	if len(batch) != 10 || q.counts.noRoom != 5 {
		t.Fatalf("%d of a batch, %+v", len(batch), q.counts)
	}
	q.settled(batch, now)
	for number := range 15 {
		a := alert("Hot", number, false)
		q.offer(&a, now)
	}
	batch, _ = q.take(100, anyTogether, now, false)
	if len(batch) != 10 || batch[0].Firing || q.counts.noRoom != 10 {
		t.Fatalf("%d of a batch, %+v", len(batch), q.counts)
	}
	q.settled(batch, now)
	balance(t, q)
	if len(q.entries) != 0 {
		t.Fatalf("%d entries are left", len(q.entries))
	}
}

// Goal: what exceeds a rule's limit waits for it, other rules don't.
func TestQueueLimitsEachRule(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	q := newQueue(Config{Keys: 100, Limit: 3}, 0, 0)
	for number := range 10 {
		a := alert("Loud", number, true)
		q.offer(&a, now)
	}
	calm := alert("Calm", 99, true)
	q.offer(&calm, now)
	batch, next := q.take(100, anyTogether, now, false)
	if len(batch) != 4 || q.counts.limited != 7 {
		t.Fatalf("%d of a batch, %+v", len(batch), q.counts)
	}
	if wait := next.Sub(now); wait < 333*time.Millisecond || wait > 334*time.Millisecond {
		t.Fatalf("the next may leave after %v", wait)
	}
	q.settled(batch, now)
	// One that was told is over while others wait, and one that waits is over before it was told.
	for _, number := range []int{0, 9} {
		a := alert("Loud", number, false)
		q.offer(&a, now)
	}
	passed := 0
	for passed < 8 {
		now = next
		batch, next = q.take(100, anyTogether, now, false)
		if len(batch) != 1 {
			t.Fatalf("%d pass at once", len(batch))
		}
		passed++
		q.settled(batch, now)
		balance(t, q)
	}
	if q.waiting() != 0 || q.counts.superseded != 1 {
		t.Fatalf("%d wait, %+v", q.waiting(), q.counts)
	}
}

// Goal: an alert that goes and comes back before that could be told makes no noise.
func TestQueueFlapWhileTheReceiverIsAway(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	q := newQueue(Config{Keys: 100}, 0, 0)
	on, off, again := alert("Hot", 1, true), alert("Hot", 1, false), alert("Hot", 1, true)
	again.Since = again.Since.Add(time.Minute)
	q.offer(&on, now)
	batch, _ := q.take(10, anyTogether, now, false)
	q.settled(batch, now)
	q.offer(&off, now)
	q.offer(&again, now)
	if batch, _ = q.take(10, anyTogether, now, false); len(batch) != 0 {
		t.Fatalf("%d changes are told", len(batch))
	}
	if e := q.entries[on.Fingerprint]; e.state != &again {
		t.Error("the newer text is not kept")
	}
	balance(t, q)
	// A failed attempt leaves open what the receiver knows, so the same is told again.
	q.offer(&off, now)
	batch, _ = q.take(10, anyTogether, now, false)
	q.failed(batch, now)
	q.offer(&again, now)
	batch, _ = q.take(10, anyTogether, now, false)
	if len(batch) != 1 || !batch[0].Firing {
		t.Fatalf("%d changes are told", len(batch))
	}
	balance(t, q)
}
