package stage

import (
	"math"
	"testing"
	"time"
)

// simulated is a sender that reaches one rate, and a receiver that takes another.
type simulated struct {
	sender, receiver float64         // points a second
	hiccups          map[int]float64 // part lost whatever the rate, by try
	tries            int
}

func (s *simulated) try(rate float64, d time.Duration) (*Trial, error) {
	if rate == 0 || rate > s.sender {
		rate = s.sender
	}
	t := &Trial{}
	t.Sent.Seconds = d.Seconds()
	t.Sent.Rate = rate
	t.Sent.Points = uint64(rate * d.Seconds())
	t.Points = min(t.Sent.Points, uint64(s.receiver*d.Seconds()))
	t.Points -= uint64(float64(t.Points) * s.hiccups[s.tries])
	s.tries++
	return t, nil
}

func search() *Search {
	return &Search{Step: time.Second, Confirm: 2 * time.Second, Runs: 5, Close: 1.02}
}

func TestHighest(t *testing.T) {
	f := func(s *simulated, want float64, limit string) {
		t.Helper()
		found, err := search().highest(s.try)
		if err != nil {
			t.Fatal(err)
		}
		got := found.Trials[0].Rate()
		if math.Abs(got-want) > 0.03*want || got > 1.0001*want || found.Limit != limit ||
			len(found.Trials) != 5 {
			t.Errorf("found %.0f, limited by the %s, in %d runs after %d tries; want %.0f, %s",
				got, found.Limit, len(found.Trials), found.Tries, want, limit)
		}
	}
	f(&simulated{sender: 1e6, receiver: 5e6}, 1e6, BySender)
	f(&simulated{sender: 5e6, receiver: 1e6}, 1e6, ByReceiver)
	f(&simulated{sender: 1.01e6, receiver: 1e6}, 1e6, ByReceiver)
	f(&simulated{sender: 9e6, receiver: 1e5}, 1e5, ByReceiver)
	// A small loss at one try is asked for again.
	f(&simulated{sender: 5e6, receiver: 1e6, hiccups: map[int]float64{1: 0.02, 9: 0.01}}, 1e6, ByReceiver)
}

// A receiver that always loses something has no rate at all, and that is said, not made up.
func TestHighestNever(t *testing.T) {
	always := map[int]float64{}
	for i := range 1000 {
		always[i] = 0.01
	}
	if found, err := search().highest((&simulated{sender: 5e6, receiver: 1e6,
		hiccups: always}).try); err == nil {
		t.Errorf("found %+v", found)
	}
	c := search()
	c.Tolerance = 0.02
	if _, err := c.highest((&simulated{sender: 5e6, receiver: 1e6, hiccups: always}).try); err != nil {
		t.Errorf("what may be lost was not tolerated: %v", err)
	}
}

// Goal: two of five runs may be disturbed, and are told; a third says that the rate is too high.
func TestConfirm(t *testing.T) {
	f := func(hiccups map[int]float64, again int, same bool) {
		t.Helper()
		found := &Found{}
		s := &simulated{sender: 5e6, receiver: 1e6, hiccups: hiccups}
		if err := search().confirm(found, 9e5, s.try); err != nil {
			t.Fatal(err)
		}
		rate := found.Trials[4].Rate()
		if len(found.Trials) != 5 || found.Again != again || rate == 9e5 != same {
			t.Errorf("%d runs at %.0f, %d taken again; want %d", len(found.Trials), rate, found.Again,
				again)
		}
	}
	f(nil, 0, true)
	f(map[int]float64{1: 0.3, 4: 0.3}, 2, true)
	f(map[int]float64{1: 0.3, 4: 0.3, 5: 0.3}, 0, false)
}

// Goal: a receiver that loses a little at almost every rate has one all the same, and it is found in time.
func TestConfirmFarBelow(t *testing.T) {
	const holds = 4e5
	found := &Found{}
	s := &simulated{sender: 5e6, receiver: 5e6}
	err := search().confirm(found, 1e6, func(rate float64, d time.Duration) (*Trial, error) {
		trial, err := s.try(rate, d)
		if rate > holds {
			trial.Points -= trial.Points / 100
		}
		return trial, err
	})
	if err != nil {
		t.Fatal(err)
	}
	if rate := found.Trials[0].Rate(); rate > 1.0001*holds || rate < 0.84*holds || len(found.Trials) != 5 {
		t.Errorf("%d runs at %.0f; want five near %.0f", len(found.Trials), rate, holds)
	}
}
