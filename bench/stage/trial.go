package stage

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"culvert/bench/machine"
	"culvert/controlplane/loadgen"
	"culvert/scripts/lab"
)

const (
	// restPause is how often a receiver is asked whether it has come to rest.
	restPause = 50 * time.Millisecond
	// restTurns is how many times in a row nothing must have changed.
	restTurns = 6
	// restLimit is how long coming to rest may take.
	restLimit = 30 * time.Second
)

// Trial is what one load did to a receiver.
type Trial struct {
	Load Load
	Sent loadgen.Report
	// Packets and Points are what came through.
	Packets, Points uint64
	// Core is what the workers' CPUs did from before the first packet until all was at rest; Sender what the
	// sender's CPU did.
	Core, Sender machine.Times
	// Threads is the time of the receiver's threads that are pinned to the workers' CPUs; 0 without any.
	Threads time.Duration
	// Program is the time of all of the receiver's threads.
	Program  time.Duration
	Resident uint64 // bytes, at the end
	// Drain is how long it took from the end of sending until all was at rest, with restPause's precision;
	// where points were lost, with the time in it that showed that no more would come.
	Drain time.Duration
	// Losses are what the receiver knows to have lost, by what it calls the place.
	Losses map[string]uint64
}

// Lost is the points that were sent and did not come through.
func (t *Trial) Lost() uint64 {
	if t.Points >= t.Sent.Points {
		return 0
	}
	return t.Sent.Points - t.Points
}

// Loss is the lost part of what was sent.
func (t *Trial) Loss() float64 { return float64(t.Lost()) / float64(max(t.Sent.Points, 1)) }

// PerPoint is the time of the workers' CPUs for each point that came through: user, system and softirq.
func (t *Trial) PerPoint() time.Duration { return per(t.Core.Busy(), t.Points) }

// Besides is the part of the time that the workers' CPUs were busy with something else than the receiver's
// pinned threads; 0 for a receiver without such threads. Little of it is the kernel's work for the receiver:
// where it is much, something else ran there, and PerPoint is too high.
func (t *Trial) Besides() float64 {
	all := t.Core.Busy() + t.Core.Idle + t.Core.Steal
	if t.Threads == 0 || all == 0 {
		return 0
	}
	return max(float64(t.Core.Busy()-t.Threads)/float64(all), 0)
}

// ThreadPerPoint is the same of the pinned threads alone, by the scheduler's own clock.
func (t *Trial) ThreadPerPoint() time.Duration { return per(t.Threads, t.Points) }

// Rate is points a second that came through while they were sent.
func (t *Trial) Rate() float64 { return float64(t.Points) / max(t.Sent.Seconds, 1e-9) }

// StoredRate is points a second that came through, with the time in it that the last of them took.
func (t *Trial) StoredRate() float64 {
	return float64(t.Points) / max(t.Sent.Seconds+t.Drain.Seconds(), 1e-9)
}

// PacketRate is packets a second that came through while they were sent.
func (t *Trial) PacketRate() float64 { return float64(t.Packets) / max(t.Sent.Seconds, 1e-9) }

func per(t time.Duration, n uint64) time.Duration {
	if n == 0 {
		return 0
	}
	return time.Duration(float64(t) / float64(n))
}

func (t *Trial) String() string {
	text := fmt.Sprintf("%.3g points/s sent, %.3g through, %d lost (%.3g %%), %v a point, thread %v",
		t.Sent.Rate, t.Rate(), t.Lost(), 100*t.Loss(), t.PerPoint(), t.ThreadPerPoint())
	if t.Drain > restTurns*restPause {
		text += fmt.Sprintf("; at rest %.1f s later", t.Drain.Seconds())
	}
	for _, place := range slices.Sorted(maps.Keys(t.Losses)) {
		text += fmt.Sprintf("; %d %s", t.Losses[place], place)
	}
	return text
}

// less is the losses since an earlier count; empty where nothing was lost.
func less(now, then map[string]uint64) map[string]uint64 {
	grown := map[string]uint64{}
	for place, n := range now {
		if n > then[place] {
			grown[place] = n - then[place]
		}
	}
	return grown
}

// reading is all counters at one moment.
type reading struct {
	count            Count
	core, sender     machine.Times
	threads, program time.Duration
}

func (s *Stage) read(ctx context.Context, r Receiver) (reading, error) {
	var now reading
	var err error
	if now.count, err = r.Count(ctx); err != nil {
		return now, err
	}
	if now.core, err = machine.CPUTimes(s.Places.Workers); err != nil {
		return now, err
	}
	if now.sender, err = machine.CPUTimes([]int{s.Places.Sender}); err != nil {
		return now, err
	}
	pid := r.Main().PID()
	if now.threads, err = machine.ThreadTime(pid, s.Places.Workers); err != nil {
		return now, err
	}
	now.program, err = machine.ProgramTime(pid)
	return now, err
}

// Try sends a load and waits until the receiver has come to rest. What was lost is no error.
func (s *Stage) Try(ctx context.Context, r Receiver, l Load) (*Trial, error) {
	if keeper, keeps := r.(Emptier); keeps {
		if err := keeper.Empty(ctx); err != nil {
			return nil, fmt.Errorf("measure %s: %w", r.Name(), err)
		}
	}
	before, err := s.read(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("measure %s: %w", r.Name(), err)
	}
	sent, err := s.send(ctx, l)
	if err != nil {
		return nil, fmt.Errorf("measure %s: %w", r.Name(), err)
	}
	ended := time.Now()
	rested, err := s.rest(ctx, r, before.count.Points+sent.Points)
	if err != nil {
		return nil, fmt.Errorf("measure %s: %w", r.Name(), err)
	}
	drain := rested.Sub(ended)
	after, err := s.read(ctx, r)
	if err != nil {
		return nil, fmt.Errorf("measure %s: %w", r.Name(), err)
	}
	t := &Trial{
		Load: l, Sent: *sent, Drain: drain,
		Packets: after.count.Packets - before.count.Packets, Points: after.count.Points - before.count.Points,
		Core: after.core.Sub(before.core), Sender: after.sender.Sub(before.sender),
		Threads: after.threads - before.threads, Program: after.program - before.program,
		Losses: less(after.count.Losses, before.count.Losses),
	}
	t.Resident, err = machine.Resident(r.Main().PID())
	return t, err
}

// rest waits until all points came through, or nothing has changed for a while. It returns when the answer
// was asked for that showed it: what a database takes to count is none of the receiver's time.
func (s *Stage) rest(ctx context.Context, r Receiver, want uint64) (asked time.Time, err error) {
	var last Count
	deadline := time.Now().Add(restLimit)
	for same := 0; same < restTurns && time.Now().Before(deadline); {
		asked = time.Now()
		count, err := r.Count(ctx)
		if err != nil {
			return asked, err
		}
		if count.Points >= want && count.Waiting == 0 {
			return asked, nil
		}
		if count.Points == last.Points && count.Packets == last.Packets && count.Waiting == 0 {
			same++
		} else {
			same = 0
		}
		last = count
		if err := lab.Pause(ctx, restPause); err != nil {
			return asked, err
		}
	}
	return asked, nil
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.Join(strings.Fields(line), " ")
}
