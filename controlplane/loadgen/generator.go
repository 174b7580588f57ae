package loadgen

import (
	"context"
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
	flows  []flow
	burst  *burst
	values values
	hot    []uint64 // violations in each packet of the burst
	stop   atomic.Bool

	start    time.Time
	interval float64 // nanoseconds between packets; 0: as fast as it goes
	total    uint64  // points; 0: no bound
	last     int64   // greatest timestamp so far, in its unit
	report   Report
}

// Run sends until the configuration's end or the context's, and reports. It sends on the calling thread, so
// a caller that is locked to a thread in another network namespace sends from there. The report is valid
// also when an error comes with it. Not having held the rate is no error: see Report.Held.
func Run(ctx context.Context, config Config) (Report, error) {
	r, err := config.resolve()
	if err != nil {
		return Report{}, fmt.Errorf("check load: %w", err)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	g := &generator{resolved: r, values: newValues(r.Seed, r.AlertShare)}
	defer g.close()
	if err := g.open(); err != nil {
		return Report{}, err
	}
	if slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0); err == nil {
		_ = unix.Prctl(unix.PR_SET_TIMERSLACK, timerSlack, 0, 0, 0)
		defer func() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0) }()
	}
	defer context.AfterFunc(ctx, func() { g.stop.Store(true) })()
	err = g.run()
	g.finish()
	return g.report, err
}

// open connects the flows, deals the series out to them and lays out the packets.
func (g *generator) open() error {
	for i := range g.Flows {
		fd, err := openFlow(g.To[i%len(g.To)])
		if err != nil {
			return err
		}
		first := g.Series * i / g.Flows
		g.flows = append(g.flows, flow{fd: fd, first: first, last: g.Series * (i + 1) / g.Flows, next: first})
	}
	if g.Rate > 0 {
		g.interval = float64(g.PointsPerPacket) / g.Rate * 1e9
	}
	packets := burstMax
	if g.interval > 0 {
		packets = min(max(int(float64(burstTime)/g.interval), 1), burstMax)
	}
	size := len(g.layout.line) * g.PointsPerPacket
	memory := make([]byte, 0, packets*size)
	for range packets * g.PointsPerPacket {
		memory = append(memory, g.layout.line...)
	}
	images := make([][]byte, packets)
	for i := range images {
		images[i] = memory[i*size : (i+1)*size : (i+1)*size]
	}
	g.burst, g.hot = newBurst(images), make([]uint64, packets)
	g.total = g.Count
	if g.Rate > 0 && g.Duration > 0 {
		planned := max(uint64(g.Rate*g.Duration.Seconds()+0.5), 1)
		if g.total == 0 || planned < g.total {
			g.total = planned
		}
	}
	g.report = Report{
		TargetRate: g.Rate, Series: g.Series, Flows: g.Flows, PacketSize: size, Errors: map[string]uint64{},
	}
	return nil
}

func (g *generator) close() {
	for i := range g.flows {
		unix.Close(g.flows[i].fd)
	}
	g.flows = nil
}

// run sends burst after burst, each on the next flow.
func (g *generator) run() error {
	g.start = time.Now()
	deadline := g.deadline()
	var begun time.Duration // when the last burst began
	ticked := time.Duration(0)
	for turn := 0; !g.stop.Load(); turn++ {
		packets := g.nextBurst()
		if packets == 0 {
			break
		}
		now := g.await(packets, begun)
		if g.stop.Load() || deadline > 0 && now >= deadline {
			break
		}
		begun = now
		f := &g.flows[turn%len(g.flows)]
		g.write(f, packets)
		if err := g.send(f.fd, packets); err != nil {
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
	if g.interval > 0 {
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

// nextBurst is how many packets leave together next; 0 at the end.
func (g *generator) nextBurst() int {
	packets := len(g.burst.packets)
	if g.total == 0 {
		return packets
	}
	left := g.total - g.report.Points
	per := uint64(g.PointsPerPacket)
	return int(min(uint64(packets), (left+per-1)/per))
}

// await waits until the last packet of a burst is due, and returns the time since the start. A sender that is
// behind catches up at twice its rate at most, rather than in one blow that would overrun the receiver.
func (g *generator) await(packets int, begun time.Duration) time.Duration {
	if g.interval == 0 {
		return time.Since(g.start)
	}
	due := time.Duration(float64(g.report.Packets+uint64(packets)-1) * g.interval)
	earliest := due
	if g.report.Packets > 0 {
		earliest = begun + time.Duration(float64(packets)*g.interval/2)
	}
	g.sleepUntil(max(due, earliest))
	now := time.Since(g.start)
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

// write fills the packets of a burst with the flow's next points.
func (g *generator) write(f *flow, packets int) {
	line := len(g.layout.line)
	now := time.Now().UnixNano() / int64(g.unit)
	left := uint64(packets * g.PointsPerPacket)
	if g.total > 0 {
		left = min(left, g.total-g.report.Points)
	}
	for i := range packets {
		n := min(uint64(g.PointsPerPacket), left)
		before := g.values.violations
		packet := g.burst.packets[i][:n*uint64(line)]
		for at := 0; at < len(packet); at += line {
			stamp := g.nextStamp(f, now)
			g.values.write(packet[at:at+line], g.layout.slots, f.next, stamp)
			if f.next++; f.next == f.last {
				f.next = f.first
			}
		}
		g.burst.resize(i, len(packet))
		g.hot[i] = g.values.violations - before
		left -= n
	}
}

// nextStamp is the timestamp of a flow's next point. In nanoseconds no two points have the same. Coarser ones
// move on once all series of the flow had their turn, ahead of the clock if that comes round faster than it.
func (g *generator) nextStamp(f *flow, now int64) int64 {
	stamp := f.stamp
	switch {
	case g.NoTimestamps:
		return 0
	case g.unit == time.Nanosecond:
		stamp = max(now, g.last+1)
	case f.next == f.first:
		stamp = max(now, f.stamp+1)
	}
	f.stamp, g.last = stamp, max(g.last, stamp)
	nanoseconds := stamp * int64(g.unit)
	if g.report.FirstTime == 0 || nanoseconds < g.report.FirstTime {
		g.report.FirstTime = nanoseconds
	}
	g.report.LastTime = g.last * int64(g.unit)
	return stamp
}

// send gives a burst to the kernel, whole. What is refused for the moment is tried again.
func (g *generator) send(fd, packets int) error {
	for sent := 0; sent < packets; {
		n, errno := g.burst.send(fd, sent, packets)
		for i := sent; i < sent+n; i++ {
			size := g.burst.size(i)
			g.report.Bytes += uint64(size)
			g.report.Points += uint64(size / len(g.layout.line))
			g.report.Violations += g.hot[i]
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
			pause := unix.NsecToTimespec(int64(refusedPause))
			_ = unix.Nanosleep(&pause, nil)
		default:
			return fmt.Errorf("send %d bytes by UDP: %w", g.burst.size(sent), errno)
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
	r.Seconds = time.Since(g.start).Seconds()
	r.Rate = float64(r.Points) / max(r.Seconds, 1e-9)
	r.Held = g.Rate == 0 || r.Rate >= heldShare*g.Rate
	r.Interrupted = g.stop.Load() && (g.total == 0 || r.Points < g.total)
}
