package stage

import (
	"context"
	"fmt"
	"io"
	"time"
)

// Search says how the highest rate without loss is looked for.
type Search struct {
	// Tolerance is the part of the points that may be lost; 0: none at all.
	Tolerance float64
	// Step is how long each try takes, Confirm each of the Runs at the rate that was found.
	Step, Confirm time.Duration
	Runs          int
	// Close is the ratio of a rate that was too high to one that was not at which the search ends.
	Close float64
	// Log (optional) gets a line for each try.
	Log io.Writer
}

// Found is the outcome of a search.
type Found struct {
	Trials []*Trial // the confirming runs, all within the tolerance
	// Limit says what kept the rate from being higher: the sender or the receiver.
	Limit string
	Tries int
	// Again is how many runs at this rate lost something and were taken again.
	Again int
}

// What limits a rate.
const (
	BySender   = "sender"
	ByReceiver = "receiver"
)

const (
	// heldShare is the part of a rate that counts as having been sent.
	heldShare = 0.985
	// backOff is by how much the rate goes down when a run at it does lose something; farOff is by how much
	// after nearSteps of these: who falls behind now and then loses a little at almost every rate.
	backOff   = 0.96
	farOff    = 0.85
	nearSteps = 2
	// stride is how far up a try goes from a rate that held: what came through of too much is near what goes,
	// and far too much leaves a receiver in a state that takes long to pass.
	stride = 1.25
	// hiccup is the most that is lost to something else on the machine, rather than to a rate that is too
	// high.
	hiccup = 0.05
	// triesMax bounds a search, and then its confirmation, on a machine that is too disturbed for any rate to
	// hold.
	triesMax = 40
)

// trier sends at a rate (0: as fast as it goes) for a while.
type trier func(rate float64, d time.Duration) (*Trial, error)

// Highest finds the highest rate at which a receiver loses no more than the tolerance, and measures there.
func (s *Stage) Highest(ctx context.Context, r Receiver, l Load, c Search) (*Found, error) {
	return c.highest(func(rate float64, d time.Duration) (*Trial, error) {
		l.Rate, l.Duration = rate, d
		t, err := s.Try(ctx, r, l)
		if err == nil && c.Log != nil {
			fmt.Fprintf(c.Log, "    %s\n", t)
		}
		return t, err
	})
}

func (c *Search) highest(once trier) (*Found, error) {
	found := &Found{}
	// A rate has two chances: what else happens on the machine at the moment is not the receiver's fault.
	try := func(rate float64, d time.Duration) (*Trial, error) {
		found.Tries++
		t, err := once(rate, d)
		if err == nil && rate > 0 && t.Loss() > c.Tolerance && t.Loss() < hiccup {
			found.Tries++
			found.Again++
			return once(rate, d)
		}
		return t, err
	}
	t, err := try(0, c.Step)
	if err != nil {
		return nil, err
	}
	if t.Loss() <= c.Tolerance {
		// As fast as it goes, again: a pace would cost the sender more.
		found.Limit = BySender
		return found, c.confirm(found, 0, try)
	}
	found.Limit = ByReceiver
	good, err := c.approach(found, t, try)
	if err != nil {
		return nil, err
	}
	return found, c.confirm(found, good, try)
}

// approach finds a rate that holds, close to one that does not. It begins with a try that was too much: what
// came through of it is near what goes.
func (c *Search) approach(found *Found, t *Trial, try trier) (good float64, err error) {
	bad, late := t.Sent.Rate, false
	next := min(t.Rate(), 0.97*bad)
	for bad/max(good, 1) > c.Close && found.Tries < triesMax {
		if t, err = try(next, c.Step); err != nil {
			return 0, err
		}
		switch {
		case t.Loss() > c.Tolerance:
			bad = min(bad, next)
		case t.Sent.Rate < heldShare*next && late:
			// Twice the sender could not do more while the receiver kept up.
			found.Limit = BySender
			return max(good, t.Sent.Rate), nil
		case t.Sent.Rate < heldShare*next:
			late, good = true, max(good, t.Sent.Rate)
			continue
		default:
			late, good = false, max(good, next)
		}
		if next = bad * 0.8; good > 0 {
			next = min((good+bad)/2, good*stride)
		}
	}
	if good == 0 {
		return 0, fmt.Errorf("find the highest rate without loss: none held in %d tries", found.Tries)
	}
	return good, nil
}

// confirm measures at a rate (0: as fast as it goes), and at lower ones until enough runs at one are within
// the tolerance. Fewer than half as many may be over it: on a shared machine somebody else takes both CPUs
// now and then, and no rate is low enough for that.
func (c *Search) confirm(found *Found, rate float64, try trier) error {
	found.Again = 0
	last := found.Tries + triesMax + c.Runs
	for over, steps := 0, 0; len(found.Trials) < c.Runs; {
		if found.Tries >= last {
			return fmt.Errorf("find the highest rate without loss: none held for %d runs", c.Runs)
		}
		t, err := try(rate, c.Confirm)
		if err != nil {
			return err
		}
		if t.Loss() > c.Tolerance {
			if over++; 2*over < c.Runs {
				found.Again++
				continue
			}
			// Far too much is no matter of small steps.
			step := backOff
			if steps++; steps > nearSteps {
				step = farOff
			}
			rate = min(t.Sent.Rate*step, max(t.Rate(), t.Sent.Rate/2))
			found.Trials, found.Limit, found.Again, over = nil, ByReceiver, 0, 0
			continue
		}
		found.Trials = append(found.Trials, t)
	}
	return nil
}
