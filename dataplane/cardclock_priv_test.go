package dataplane

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Goal: a card's real clock is opened by its file, read, followed, and not believed right after it was set
// by somebody. Method: the clocks of cards that igb drives, which scripts/vm/run 6.18+igb has; elsewhere
// there is nothing to look at. CPUs there are emulated in turn, and readings interrupted: some ms are free.
func TestPrivIGBCardClock(t *testing.T) {
	if os.Getenv("CULVERT_TEST_NIC_DRIVER") != "igb" {
		t.Log("not run: there are no cards that igb drives (scripts/vm/run 6.18+igb)")
		return
	}
	for _, path := range []string{"/dev/ptp0", "/dev/ptp1"} {
		c, err := OpenCardClock(path)
		if err != nil {
			t.Fatal(err)
		}
		measure := func() {
			t.Helper()
			if err := c.Measure(); err != nil {
				t.Fatal(err)
			}
		}
		follows := func() {
			t.Helper()
			for range 10 {
				before := read(t, unix.CLOCK_MONOTONIC)
				told := uint32(read(t, c.id))
				after := read(t, unix.CLOCK_MONOTONIC)
				time.Sleep(3 * time.Millisecond)
				arrival := read(t, unix.CLOCK_MONOTONIC)
				wait, ok := c.Wait(told, arrival)
				doubt, known := c.Doubt()
				off := doubt + int64(5*time.Millisecond)
				if !ok || !known || wait < arrival-after-off || wait > arrival-before+off {
					t.Errorf("%s: waited %d ns, %t, must be %d to %d, give or take %d", path, wait, ok,
						arrival-after, arrival-before, off)
				}
			}
		}
		measure()
		if _, ok := c.Doubt(); ok {
			t.Errorf("%s: one measurement is enough", path)
		}
		time.Sleep(CardClockInterval)
		measure()
		follows()

		// As a program does that keeps time.
		writable, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		later := unix.NsecToTimespec(read(t, c.id) + int64(time.Hour))
		err = unix.ClockSettime(unix.FdToClockID(int(writable.Fd())), &later)
		writable.Close()
		if err != nil {
			t.Fatal(err)
		}
		measure()
		if wait, ok := c.Wait(uint32(read(t, c.id)), read(t, unix.CLOCK_MONOTONIC)); ok {
			t.Errorf("%s: was set by an hour, and tells a wait of %d ns", path, wait)
		}
		time.Sleep(CardClockInterval)
		measure()
		follows()
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if _, ok := c.Wait(0, read(t, unix.CLOCK_MONOTONIC)); ok {
			t.Errorf("%s: a closed clock tells a wait", path)
		}
	}
}
