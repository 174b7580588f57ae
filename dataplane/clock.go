package dataplane

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// calibrationRounds bounds the search for an undisturbed reading of both clocks.
	calibrationRounds = 50
	// wallInterval is how often the distance between the clocks is measured again, in nanoseconds.
	wallInterval = int64(time.Second)
	// clockStep is the change of that distance that counts as a step of wall time, in nanoseconds.
	clockStep = int64(time.Millisecond)
)

// Clock reads CLOCK_MONOTONIC without a system call, as bpf_ktime_get_ns does in the XDP program, so that
// stamps of both compare. One worker owns it.
type Clock struct {
	base   time.Time
	origin int64 // CLOCK_MONOTONIC at base, nanoseconds

	wallOffset int64 // wall time − CLOCK_MONOTONIC, nanoseconds
	measured   int64 // when wallOffset was measured, CLOCK_MONOTONIC
	steps      uint64
}

// NewClock calibrates a clock. Go's own monotonic reading has an unknown origin; it is found by reading the
// kernel's clock before and after it and keeping the narrowest of several rounds.
func NewClock() (*Clock, error) {
	c := &Clock{}
	narrowest := int64(1<<63 - 1)
	for range calibrationRounds {
		before, err := monotonic()
		if err != nil {
			return nil, err
		}
		now := time.Now()
		after, err := monotonic()
		if err != nil {
			return nil, err
		}
		if after-before < narrowest {
			narrowest = after - before
			c.base, c.origin = now, before+(after-before)/2
		}
	}
	now := c.Now()
	c.wallOffset, c.measured = c.distance(), now
	return c, nil
}

func monotonic() (int64, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("read CLOCK_MONOTONIC: %w", err)
	}
	return ts.Nano(), nil
}

// Now is CLOCK_MONOTONIC in nanoseconds.
func (c *Clock) Now() int64 { return c.origin + int64(time.Since(c.base)) }

// Wall turns a stamp of CLOCK_MONOTONIC into nanoseconds since 1970.
func (c *Clock) Wall(stamp int64) int64 { return stamp + c.wallOffset }

// Steps is how often wall time was seen to move by more than a millisecond between two measurements.
func (c *Clock) Steps() uint64 { return c.steps }

// Measure takes the distance to wall time again when it is due. Time passed to it never goes back.
func (c *Clock) Measure(now int64) {
	if now-c.measured < wallInterval {
		return
	}
	offset := c.distance()
	if diff := offset - c.wallOffset; diff > clockStep || diff < -clockStep {
		c.steps++
	}
	c.wallOffset, c.measured = offset, now
}

// distance is wall time − CLOCK_MONOTONIC. One time.Now holds both readings of the same moment.
func (c *Clock) distance() int64 {
	now := time.Now()
	return now.UnixNano() - (c.origin + int64(now.Sub(c.base)))
}
