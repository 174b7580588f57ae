package loadgen

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// burstTime is the time's worth of packets that leave together when there is a rate.
	burstTime = 250 * time.Microsecond
	// burstMax is how many packets leave together at most.
	burstMax = 64
	// earlyMax is how long before its time a turn of burstMax packets may leave.
	earlyMax = burstTime / 2
	// sleepMax bounds a sleep, so that the end of the context is seen.
	sleepMax = 20 * time.Millisecond
	// refusedPause is how long a packet that the kernel refused waits before it is sent again.
	refusedPause = 200 * time.Microsecond
	// timerSlack is how much later than asked the kernel may wake us, in nanoseconds (its default is 50 µs).
	timerSlack = 1000
)

// generator is one run. The goroutine that runs it owns it.
type generator struct {
	*resolved
	way    way
	parcel parcel
	stop   atomic.Bool
	start  time.Time
	ended  bool // the source has nothing more
	// earliest is when, after the start, the next turn may leave at twice the rate.
	earliest time.Duration
	report   Report
}

// Run sends until the configuration's end or the context's, and reports. It sends on the calling thread, so
// a caller that is locked to a thread in another network namespace sends from there. The report is valid
// also when an error comes with it. Not having held the rate is no error: see Report.Held.
func Run(ctx context.Context, config Config) (report Report, err error) {
	r, err := config.resolve()
	if err != nil {
		return Report{}, fmt.Errorf("check load: %w", err)
	}
	if err := r.open(); err != nil {
		return Report{}, fmt.Errorf("prepare load: %w", err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	restore, err := settle(r)
	if err != nil {
		return Report{}, err
	}
	defer restore()
	g := &generator{resolved: r}
	if g.way, err = openWay(r); err != nil {
		return Report{}, err
	}
	g.report = Report{
		TargetRate: r.Rate, Series: r.Series, Flows: r.Flows, PacketSize: r.source.sizeMax(),
		Errors: map[string]uint64{},
	}
	if played, ok := r.source.(*replay); ok {
		g.report.Series, g.report.Recorded = 0, &played.found
	}
	if r.Sequence {
		g.report.FlowPoints = make([]uint64, r.Flows)
	}
	defer context.AfterFunc(ctx, func() { g.stop.Store(true) })()
	err = g.run()
	// Where sending has failed, the way may know more of why.
	err = errors.Join(err, g.way.flush())
	g.finish()
	if closed := g.way.close(); err == nil && closed != nil {
		err = fmt.Errorf("close: %w", closed)
	}
	return g.report, err
}

// settle prepares the thread: its CPU, and timers that are exact. What it returns takes it back.
func settle(r *resolved) (restore func(), err error) {
	var undo []func()
	restore = func() {
		for _, f := range undo {
			f()
		}
	}
	if r.Pin {
		var before, wanted unix.CPUSet
		if err := unix.SchedGetaffinity(0, &before); err != nil {
			return nil, fmt.Errorf("read the thread's CPUs: %w", err)
		}
		wanted.Set(r.CPU)
		if err := unix.SchedSetaffinity(0, &wanted); err != nil {
			return nil, fmt.Errorf("pin to CPU %d, of those the process may use: %w", r.CPU, err)
		}
		undo = append(undo, func() { _ = unix.SchedSetaffinity(0, &before) })
	}
	if slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err == nil {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, timerSlack, 0, 0, 0)
		undo = append(undo, func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0) })
	}
	return restore, nil
}

// run sends turn after turn.
func (g *generator) run() error {
	g.start = time.Now()
	deadline := g.deadline()
	var ticked time.Duration // when progress was last told
	for !g.stop.Load() {
		t := g.source.plan()
		if t.packets == 0 {
			g.ended = true
			break
		}
		now := g.await(t, deadline)
		if g.stop.Load() || deadline > 0 && now >= deadline {
			break
		}
		g.source.fill(g.start.Add(now), &g.parcel)
		if err := g.send(t); err != nil {
			return err
		}
		if g.Progress != nil && now-ticked >= time.Second {
			ticked = now
			snapshot := g.report
			snapshot.Seconds = now.Seconds()
			snapshot.Rate = float64(snapshot.Points) / snapshot.Seconds
			g.Progress(snapshot)
		}
	}
	// What was sent has a time it was to take; a run that ends sooner would claim more than its rate.
	if g.Rate > 0 {
		g.sleepUntil(time.Duration(float64(g.report.Points) / g.Rate * 1e9))
	}
	return nil
}

// deadline is when a run with a duration ends although its points are not all sent; 0: never. A run that is
// behind by less than a hundredth may catch up.
func (g *generator) deadline() time.Duration {
	if g.Duration > 0 && g.Rate > 0 {
		return g.Duration + g.Duration/100
	}
	return g.Duration
}

// await waits until the last packet of a turn is due, and returns the time since the start. A sender that is
// behind its rate catches up at twice of it at most, rather than in one blow that would overrun the receiver.
// Turns that are as large as they can be may leave a little early, and so may those that hold less than a
// burst's time because the next packet of a file leaves by another flow, together with others as much as a
// burst: so a high rate is not made of naps that take longer than the turns.
func (g *generator) await(t turn, deadline time.Duration) time.Duration {
	now := time.Since(g.start)
	due, earliest := t.due, t.due
	switch {
	case g.Rate > 0:
		due = time.Duration(float64(g.report.Points+t.points-t.lastPoints) / g.Rate * 1e9)
		earliest = max(due, g.earliest)
		early := burstTime - time.Duration(float64(t.points)/g.Rate*1e9)
		if t.packets == burstMax {
			early = max(early, earlyMax)
		}
		if now >= earliest-early {
			earliest = now
		}
	case due == 0:
		return now
	}
	if deadline > 0 {
		earliest = min(earliest, deadline)
	}
	g.sleepUntil(earliest)
	now = time.Since(g.start)
	if g.Rate > 0 {
		g.earliest = max(g.earliest, now) + time.Duration(float64(t.points)/g.Rate/2*1e9)
	}
	g.report.LagMax = max(g.report.LagMax, (now - due).Seconds())
	return now
}

// sleepUntil sleeps until this time after the start, or until the run is stopped.
func (g *generator) sleepUntil(due time.Duration) {
	for !g.stop.Load() {
		left := due - time.Since(g.start)
		if left <= 0 {
			return
		}
		nap := unix.NsecToTimespec(int64(min(left, sleepMax)))
		// A signal ends a nap early; the loop takes another.
		_ = unix.Nanosleep(&nap, nil)
	}
}

// send gives a turn's packets to the kernel, whole. What is refused for the moment is tried again.
func (g *generator) send(t turn) error {
	for sent := 0; sent < t.packets; {
		n, errno := g.way.send(t.flow, g.parcel.packets[sent:t.packets])
		for i := sent; i < sent+n; i++ {
			g.report.Bytes += uint64(len(g.parcel.packets[i]))
			g.report.Points += g.parcel.points[i]
			g.report.Violations += g.parcel.violations[i]
			if g.report.FlowPoints != nil {
				g.report.FlowPoints[t.flow] += g.parcel.points[i]
			}
		}
		g.report.Packets += uint64(n)
		sent += n
		if errno == 0 || errno == unix.EINTR {
			continue
		}
		g.report.Errors[unix.ErrnoName(errno)]++
		switch errno {
		case unix.ECONNREFUSED:
			// It is the answer to an earlier packet, told once; this one has not been tried.
		case unix.ENOBUFS, unix.EAGAIN, unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENETDOWN:
			pause()
		default:
			return fmt.Errorf("send %d bytes by %s: %w", len(g.parcel.packets[sent]), g.way.mode().text,
				errno)
		}
		if g.stop.Load() {
			return nil
		}
	}
	return nil
}

// finish takes the time and says how the run went.
func (g *generator) finish() {
	r := &g.report
	mode := g.way.mode()
	r.Via, r.Mode, r.ZeroCopy = mode.via, mode.text, mode.zeroCopy
	r.Seconds = time.Since(g.start).Seconds()
	r.Rate = float64(r.Points) / max(r.Seconds, 1e-9)
	r.FirstTime, r.LastTime = g.source.times()
	switch planned := g.source.planned().Seconds(); {
	case g.Rate > 0:
		r.Held = r.Rate >= heldShare*g.Rate
	case planned > 0:
		// A hundredth of a second is the grain of a short recording.
		r.Held = r.Seconds*heldShare <= planned+0.01
	default:
		r.Held = true
	}
	r.Interrupted = g.stop.Load() && !g.ended
}
