package dataplane

import "testing"

func TestClockFollowsTheKernels(t *testing.T) {
	c, err := NewClock()
	if err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		before, err := monotonic()
		if err != nil {
			t.Fatal(err)
		}
		now := c.Now()
		after, err := monotonic()
		if err != nil {
			t.Fatal(err)
		}
		// 50 µs is far above the calibration's error and far below any other clock's distance.
		if now < before-50_000 || now > after+50_000 {
			t.Fatalf("Now() = %d, the kernel's clock is between %d and %d", now, before, after)
		}
	}
}

func TestClockCountsSteps(t *testing.T) {
	c, err := NewClock()
	if err != nil {
		t.Fatal(err)
	}
	wall := c.Wall(c.Now())
	c.wallOffset += 5 * clockStep
	c.Measure(c.measured + wallInterval - 1)
	if c.Steps() != 0 {
		t.Fatal("the distance was measured before it was due")
	}
	c.Measure(c.measured + wallInterval)
	if c.Steps() != 1 {
		t.Fatalf("%d steps after wall time moved by 5 ms, want 1", c.Steps())
	}
	if moved := c.Wall(c.Now()) - wall; moved < 0 || moved > int64(10e9) {
		t.Fatalf("wall time moved by %d ns across a measurement", moved)
	}
}

func TestClockAllocatesNothing(t *testing.T) {
	c, err := NewClock()
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { c.measured = 0; c.Measure(c.Now()) }); n != 0 {
		t.Fatalf("%g allocations a reading", n)
	}
}
