package dataplane

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"culvert/bpf/abi"
	"culvert/dataplane/hist"
	"culvert/dataplane/xsk"
)

// measuredTwice is one of the kernel's own clocks as a card's.
func measuredTwice(t *testing.T, id int32) *CardClock {
	t.Helper()
	c := &CardClock{id: id}
	for range 2 {
		if err := c.Measure(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	return c
}

// read is a clock's time now.
func read(t *testing.T, id int32) int64 {
	t.Helper()
	var now unix.Timespec
	if err := unix.ClockGettime(id, &now); err != nil {
		t.Fatal(err)
	}
	return now.Nano()
}

// Goal: a wait is what lies between the card's time of a packet and its arrival, whatever the card's clock
// counts from and however it drifts. Method: real clocks of the kernel in the card's place, of which one
// drifts for real (CLOCK_MONOTONIC_RAW is not steered); the wait is bracketed by readings of CLOCK_MONOTONIC.
func TestCardWaitByRealClocks(t *testing.T) {
	for name, id := range map[string]int32{
		"TAI": unix.CLOCK_TAI, "boot": unix.CLOCK_BOOTTIME, "raw": unix.CLOCK_MONOTONIC_RAW,
		"wall": unix.CLOCK_REALTIME, "the same": unix.CLOCK_MONOTONIC,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := measuredTwice(t, id)
			for i := range 20 {
				before := read(t, unix.CLOCK_MONOTONIC)
				told := uint32(read(t, id))
				after := read(t, unix.CLOCK_MONOTONIC)
				time.Sleep(time.Duration(i) * 100 * time.Microsecond)
				arrival := read(t, unix.CLOCK_MONOTONIC)
				wait, ok := c.Wait(told, arrival)
				doubt, known := c.Doubt()
				off := doubt + cardSlack
				if !ok || !known || wait < arrival-after-off || wait > arrival-before+off {
					t.Errorf("waited %d ns, %t, must be %d to %d, give or take %d", wait, ok, arrival-after,
						arrival-before, off)
				}
			}
		})
	}
}

// Goal: no wait is told that is not known: before two measurements, long after the last, of a clock that was
// set, and of one that is another. Method: measurements made up.
func TestCardWaitUnknown(t *testing.T) {
	const second, far = int64(time.Second), int64(1e18)
	at := 5000 * second
	reading := func(at, offset int64) *cardReading { return &cardReading{at: at, offset: offset, doubt: 300} }
	told := func(arrival, offset, wait int64) uint32 { return uint32(arrival + offset - wait) }
	var c CardClock
	f := func(what string, arrival, offset, wait, want int64, ok bool) {
		t.Helper()
		got, known := c.Wait(told(arrival, offset, wait), arrival)
		if known != ok || got != want {
			t.Errorf("%s: waited %d, %t, want %d, %t", what, got, known, want, ok)
		}
	}
	f("never measured", at, far, 1000, 0, false)
	c.follow(reading(at, far))
	f("measured once", at, far, 1000, 0, false)
	c.follow(reading(at+second/4, far))
	f("measured twice", at+second/2, far, 1000, 1000, true)
	f("no wait", at+second/2, far, 0, 0, true)
	f("before it came, by less than the doubt", at+second/2, far, -1200, 0, true)
	f("before it came, by more", at+second/2, far, -1400, 0, false)
	f("two seconds are told", at+second/2, far, 2*second, 2*second, true)
	f("more are not told from a time to come", at+second/2, far, 5*second/2, 0, false)
	f("before the latest measurement", at, far, 1000, 1000, true)
	f("long after it", at+second/4+cardStale+1, far, 1000, 0, false)
	if doubt, ok := c.Doubt(); !ok || doubt != 300 {
		t.Errorf("doubt %d, %t", doubt, ok)
	}
	// Somebody sets it by an hour.
	c.follow(reading(at+second/2, far-3600*second))
	f("set", at+second/2, far-3600*second, 1000, 0, false)
	if _, ok := c.Doubt(); ok {
		t.Error("the doubt of a clock that was set is known")
	}
	c.follow(reading(at+3*second/4, far-3600*second))
	f("a quarter of a second later", at+second, far-3600*second, 1000, 1000, true)
	// A long pause, as of a host that was suspended.
	c.follow(reading(at+100*second, far))
	f("after a pause", at+100*second, far, 1000, 0, false)
	c.id = 1 << 20
	if err := c.Measure(); !errors.Is(err, unix.EINVAL) {
		t.Errorf("a clock that is not there: %v", err)
	}
	f("failed", at+100*second, far, 1000, 0, false)
}

// Goal: waits stay exact between measurements for every offset and drift. Method: random clocks, whose time
// is computed exactly; negative offsets, and low halves that wrap, come up by themselves.
func TestCardWaitDrifts(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	for range 10_000 {
		start, base := random.Int64N(1<<50), random.Int64N(1<<60)-1<<59
		ppm := random.Int64N(2001) - 1000
		card := func(at int64) int64 { return at + base + (at-start)*ppm/1_000_000 }
		var c CardClock
		interval := int64(CardClockInterval)
		for i := range int64(2) {
			at := start + i*interval
			c.follow(&cardReading{at: at, offset: card(at) - at, doubt: 100})
		}
		arrival := start + interval + random.Int64N(2*interval)
		wait := random.Int64N(int64(time.Second))
		got, ok := c.Wait(uint32(card(arrival-wait)), arrival)
		// The wait is told by the host's clock; the card's ran by its drift beside it.
		if off := got - wait - wait*ppm/1_000_000; !ok || off < -20 || off > 20 {
			t.Fatalf("%d ppm, offset %d: waited %d, %t, want %d", ppm, base, got, ok, wait)
		}
	}
}

// Goal: the worker records the waits of those packets alone of which the card told, and of queues whose card
// has a clock. Method: frames as the XDP program leaves them.
func TestCardWaitIsRecorded(t *testing.T) {
	w, err := Start(workerConfig(t, newLineServer(t).server.URL, true))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	umem := make([]byte, 8*4096)
	var descs []xsk.Desc
	clock := measuredTwice(t, unix.CLOCK_TAI)
	const wait = int64(5 * time.Millisecond)
	now := w.clock.Now()
	offset := clock.measured.Load().offset
	lay := func(i int, told bool) {
		packet, metadata := frame("m v=1 1", now)
		if told {
			metadata[27] = abi.FlagCardTime
			for b := range 4 {
				metadata[28+b] = byte((now + offset - wait) >> (8 * b))
			}
		}
		at := i*4096 + 256
		copy(umem[at-abi.MetaSize:], metadata)
		copy(umem[at:], packet)
		descs = append(descs, xsk.Desc{Addr: uint64(at), Len: uint32(len(packet))})
	}
	lay(0, true)
	lay(1, false)
	lay(2, true)
	again := append([]byte(nil), umem...)
	var first, both, steered hist.Snapshot
	if err := w.Do(func() error {
		w.eatFrames(umem, descs, &QueueConfig{Checksum: ChecksumVerify}, now)
		w.stages.NICToSteer.AddTo(&first)
		w.eatFrames(again, descs, &QueueConfig{Checksum: ChecksumVerify, CardClock: clock}, now)
		w.stages.NICToSteer.AddTo(&both)
		w.stages.SteerToWorker.AddTo(&steered)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if first.Count != 0 || both.Count != 2 || steered.Count != 6 {
		t.Fatalf("%d waits without a clock, then %d, of %d packets", first.Count, both.Count, steered.Count)
	}
	// The card's clock was measured some ms ago.
	if mean := both.Mean(); mean < 0.97*float64(wait) || mean > 1.03*float64(wait) {
		t.Errorf("waited %.0f ns in the mean, want %d", mean, wait)
	}
}
