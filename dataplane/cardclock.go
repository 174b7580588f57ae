package dataplane

import (
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// CardClockInterval is how often a card's clock is to be measured: cards drift by tens of µs a second,
	// evenly, so that within it the error of what is foretold from two measurements is below theirs.
	CardClockInterval = 250 * time.Millisecond
	// cardReadings is how many readings one measurement takes, of which the least disturbed counts.
	cardReadings = 9
	// cardStale is how old a measurement may be, in nanoseconds, for packets to be judged by it.
	cardStale = int64(2 * time.Second)
	// cardDriftMax bounds a clock's drift: beyond it the clock was set, not steered. Drivers steer theirs by
	// up to a tenth (max_adj of ice, ptp_clock_info).
	cardDriftMax = 0.1
	// cardSlack is how far a packet may come to XDP before the card got it, in nanoseconds, beyond what the
	// readings leave open, to count as one that did not wait: drift is not quite even.
	cardSlack = int64(time.Microsecond)
)

// CardClock is a network card's own clock (a PTP hardware clock, /dev/ptpN), by which some cards tell when
// they got a packet. It has nothing to do with the host's clocks: it may run from any point in time, drifts,
// and may be steered or set by others. One goroutine measures how far it is from CLOCK_MONOTONIC; Wait may be
// called from any.
type CardClock struct {
	id   int32
	file *os.File // nil for one of the kernel's own clocks, in tests

	measured atomic.Pointer[cardReading]
}

// cardReading is what the latest measurements say.
type cardReading struct {
	at     int64   // CLOCK_MONOTONIC, nanoseconds
	offset int64   // card − CLOCK_MONOTONIC, nanoseconds
	doubt  int64   // how far offset may be wrong, nanoseconds
	drift  float64 // how much offset grows in a nanosecond
	whole  bool    // drift is known: one measurement alone has none
}

// OpenCardClock opens a clock by its file. It cannot be used for packets before it was measured twice.
func OpenCardClock(path string) (*CardClock, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open the card's clock: %w", err)
	}
	return &CardClock{id: unix.FdToClockID(int(file.Fd())), file: file}, nil
}

// Measure reads the clock. It takes some tens of µs. On an error nothing is known of the clock any more,
// until it has been measured twice.
func (c *CardClock) Measure() error {
	next := cardReading{doubt: 1<<63 - 1}
	for range cardReadings {
		var card unix.Timespec
		before, err := monotonic()
		if err == nil {
			err = unix.ClockGettime(c.id, &card)
		}
		if err != nil {
			c.measured.Store(nil)
			return fmt.Errorf("read the card's clock: %w", err)
		}
		after, err := monotonic()
		if err != nil {
			return err
		}
		if half := (after - before + 1) / 2; half < next.doubt {
			next.at, next.doubt = before+half, half
			next.offset = card.Nano() - next.at
		}
	}
	c.follow(&next)
	return nil
}

// follow takes a reading for the latest one.
func (c *CardClock) follow(next *cardReading) {
	if last := c.measured.Load(); last != nil && next.at > last.at && next.at-last.at <= cardStale {
		next.drift = float64(next.offset-last.offset) / float64(next.at-last.at)
		next.whole = next.drift < cardDriftMax && next.drift > -cardDriftMax
	}
	c.measured.Store(next)
}

// Wait is how long a packet was on its way to the XDP program, in nanoseconds, of which the card said the low
// half of its time and the program its arrival by CLOCK_MONOTONIC. It is false where that cannot be told: the
// clock was not measured lately, or is not the one by which the card told. One that came within what the
// readings leave open did not wait.
func (c *CardClock) Wait(told uint32, arrival int64) (int64, bool) {
	m := c.measured.Load()
	if m == nil || !m.whole || arrival-m.at > cardStale {
		return 0, false
	}
	offset := m.offset + int64(m.drift*float64(arrival-m.at))
	// The low halves tell times apart that lie within two seconds.
	wait := int64(int32(uint32(arrival+offset) - told))
	if wait < -(m.doubt + cardSlack) {
		return 0, false
	}
	return max(wait, 0), true
}

// Doubt is how exactly the clock was read the last time, in nanoseconds: waits may be wrong by some of it.
// False while they cannot be told.
func (c *CardClock) Doubt() (int64, bool) {
	m := c.measured.Load()
	if m == nil || !m.whole {
		return 0, false
	}
	return m.doubt, true
}

// Close lets go of the file; whoever measures has ended. Wait is false afterwards.
func (c *CardClock) Close() error {
	c.measured.Store(nil)
	if c.file == nil {
		return nil
	}
	return c.file.Close()
}
