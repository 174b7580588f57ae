package stage

import (
	"context"

	"culvert/scripts/lab"
)

// Count is what a receiver has taken in since it started.
type Count struct {
	Packets uint64
	// Points are those that came through to the end of its way: acknowledged by its sink where it has one.
	Points uint64
	// Waiting is how many points are between its two ends, as far as it knows.
	Waiting uint64
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
