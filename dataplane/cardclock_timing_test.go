package dataplane

import (
	"testing"

	"golang.org/x/sys/unix"

	"culvert/dataplane/hist"
)

// BenchmarkCardWait is what a packet costs of which the card told when it got it: the wait by the measured
// clock, and its record; and what one measurement of a clock of the kernel's costs, without a card's bus.
func BenchmarkCardWait(b *testing.B) {
	c := &CardClock{id: unix.CLOCK_TAI}
	for range 2 {
		if err := c.Measure(); err != nil {
			b.Fatal(err)
		}
	}
	now, err := monotonic()
	if err != nil {
		b.Fatal(err)
	}
	told := uint32(now + c.measured.Load().offset - 3000)
	b.Run("wait", func(b *testing.B) {
		var h hist.Histogram
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			if wait, ok := c.Wait(told, now+int64(i&1023)); ok {
				h.Record(wait)
			}
		}
	})
	b.Run("measure", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := c.Measure(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
