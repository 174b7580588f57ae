package stage

import (
	"context"
	"errors"

	"culvert/scripts/lab"
)

// Count is what a receiver has taken in since it started.
type Count struct {
	Packets uint64
	// Points are those that came through to the end of its way: acknowledged by its sink where it has one.
	Points uint64
	// Waiting is how many points are between its two ends, as far as it knows.
	Waiting uint64
	// Losses are what it knows to have lost, by what it calls the place; nil where it does not tell.
	Losses map[string]uint64
}

// Receiver is something that takes a load. Its methods are for one goroutine.
type Receiver interface {
	// Name says what it is, for people.
	Name() string
	// Count is what it took so far.
	Count(ctx context.Context) (Count, error)
	// Main is the process whose memory and threads are looked at.
	Main() *lab.Child
	// Close ends it and all that belongs to it.
	Close() error
}

// Emptier is a receiver that may keep what it takes. Whoever stores, and counts what is stored, is slower the
// more it has: each try begins without what the ones before it left.
type Emptier interface {
	Empty(ctx context.Context) error
}

// Together is a receiver and what it needs, which ends after it.
type Together struct {
	Receiver
	Belongings []func() error
}

// Empty is the receiver's.
func (t *Together) Empty(ctx context.Context) error {
	if keeper, keeps := t.Receiver.(Emptier); keeps {
		return keeper.Empty(ctx)
	}
	return nil
}

// Close ends the receiver and then its belongings in their order.
func (t *Together) Close() error {
	var errs []error
	if t.Receiver != nil {
		errs = append(errs, t.Receiver.Close())
	}
	for _, end := range t.Belongings {
		errs = append(errs, end())
	}
	t.Receiver, t.Belongings = nil, nil
	return errors.Join(errs...)
}
