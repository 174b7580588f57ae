package dataplane

import (
	"testing"
	"time"
)

// paceRig is a port and a pace that has seen 10 000 live points a second, which take 4 ms.
type paceRig struct {
	port  *SpoolPort
	ports []*SpoolPort
	pace  pace
	now   int64
	all   uint64
}

const ms = int64(time.Millisecond)

// writes lets so many live batches of ten points be written that take so long, one in a millisecond.
func (r *paceRig) writes(n int, took int64) {
	for range n {
		r.all += 10
		r.now += ms
		r.port.sealed.Add(1)
		r.port.wrote(took, 10, r.all)
		r.pace.measure(r.ports, r.now)
	}
}

// after ends a request of replay.
func (r *paceRig) after() {
	r.pace.watch(r.ports, true, r.now)
	r.pace.after(r.ports, 1000, ms, r.now)
}

func newPaceRig(t *testing.T) *paceRig {
	t.Helper()
	r := &paceRig{port: new(SpoolPort), now: 1}
	r.ports = []*SpoolPort{r.port}
	r.pace.after(r.ports, 1000, ms, r.now)
	if r.pace.nextAt != r.now {
		t.Fatal("it rests although nobody writes")
	}
	r.writes(4000, 4*ms)
	r.pace.watch(r.ports, true, r.now)
	if r.pace.rate < 9_900 || r.pace.rate > 10_100 {
		t.Fatalf("%d live points/s, want 10000", r.pace.rate)
	}
	return r
}

// least is the rest after 1000 points with which replay gets half as much again as 10 000 live points/s.
const least = 66 * ms

// Goal: replay rests longer while more than one live point in two hundred is slow, up to half as much again
// as live traffic gets, and less again when none is; without live traffic it does not rest.
func TestPaceGivesWay(t *testing.T) {
	r := newPaceRig(t)
	for range 20 {
		r.writes(10, 9*ms)
		r.after()
	}
	if r.pace.rest < least || r.pace.rest > least+ms || r.pace.nextAt != r.now+r.pace.rest {
		t.Fatalf("under strain it rests for %d", r.pace.rest)
	}
	if usual := r.port.usual.Load(); usual > 5*ms {
		t.Fatalf("replay has made its own strain usual: %d", usual)
	}
	for range 70 {
		r.writes(1000, 4*ms)
		r.after()
	}
	if r.pace.rest != paceLeast {
		t.Fatalf("without strain it rests for %d", r.pace.rest)
	}
	r.port.backlog.Store(1)
	r.after()
	if r.pace.rest != 2*paceLeast {
		t.Fatalf("while nothing gets through it rests for %d", r.pace.rest)
	}
	r.port.backlog.Store(0)
	r.now += 2 * liveFor
	r.after()
	if r.pace.nextAt != r.now {
		t.Fatal("it rests although nobody writes any more")
	}
}

// Goal: what is slow stays one point in two hundred. Method: a server that is slow for a part of the points
// in proportion to how often replay sends; without any rest it would be one in a hundred, or four.
func TestPaceFindsTheBalance(t *testing.T) {
	for _, part := range []int{1, 4} { // of a hundred
		r := newPaceRig(t)
		owed, slow, seen := 0, 0, 0
		for r.now < 120*int64(time.Second) {
			rest := max(int(r.pace.nextAt-r.now)/int(ms), 1)
			for range rest {
				owed += part * 10 / rest
				took := 4 * ms
				if owed >= 1000 {
					owed -= 1000
					took = 9 * ms
					slow++
				}
				seen++
				r.writes(1, took)
			}
			r.after()
		}
		if got := float64(slow) / float64(seen); got > 1.2*paceSlow {
			t.Errorf("with %d: %.2f %% of the live points are slow, rest %d", part, 100*got, r.pace.rest)
		} else if got < 0.8*paceSlow {
			t.Errorf("with %d: only %.2f %% of the live points are slow, rest %d", part, 100*got, r.pace.rest)
		}
	}
}

// Goal: a pause of the server is made good for as long as it takes, and not for ever. Method: all points of a
// third of a second come with one write, and replay is asked how long it rests.
func TestPaceRemembersAPause(t *testing.T) {
	r := newPaceRig(t)
	for range 70 {
		r.writes(1000, 4*ms)
		r.after()
	}
	r.all += 3300
	r.port.wrote(330*ms, 3300, r.all)
	r.after()
	for second := range 50 {
		r.writes(1000, 4*ms)
		r.after()
		if r.pace.rest < least/2 {
			t.Fatalf("%d s after a pause of 330 ms it rests for %d", second+1, r.pace.rest)
		}
	}
	for range 20 {
		r.writes(1000, 4*ms)
		r.after()
	}
	if r.pace.rest != paceLeast {
		t.Fatalf("70 s after it, it still rests for %d", r.pace.rest)
	}
}

// Goal: replay does not give way to what it does not cause. Method: two live points in a hundred are slow
// whether it sends or not.
func TestPaceKnowsTheNoise(t *testing.T) {
	r := newPaceRig(t)
	noisy := func() {
		r.writes(49, 4*ms)
		r.writes(1, 9*ms)
	}
	for range 5000 {
		noisy()
	}
	r.pace.watch(r.ports, true, r.now)
	for range 1000 {
		noisy()
		r.after()
	}
	if r.pace.rest > 10*paceLeast {
		t.Fatalf("it rests for %d, strain %g, noise %g", r.pace.rest, r.pace.strain, r.pace.noise)
	}
	// Twice as many is its doing.
	for range 1000 {
		r.writes(24, 4*ms)
		r.writes(1, 9*ms)
		r.after()
	}
	if r.pace.rest < least {
		t.Fatalf("it rests for %d, strain %g, noise %g", r.pace.rest, r.pace.strain, r.pace.noise)
	}
}

// Goal: what was quiet before replay and is noisy since, whether replay sends much or little, holds it up for
// some minutes and not for ever; a pause of the server does not count as noise that way.
func TestPaceLearnsTheNoise(t *testing.T) {
	r := newPaceRig(t)
	for range 300 {
		for range 20 {
			r.writes(49, 4*ms)
			r.writes(1, 9*ms)
			r.after()
		}
	}
	if r.pace.rest > 10*paceLeast {
		t.Fatalf("it rests for %d, strain %g, noise %g", r.pace.rest, r.pace.strain, r.pace.noise)
	}
	r = newPaceRig(t)
	for second := range 300 {
		if second%50 == 0 {
			r.all += 3300
			r.port.wrote(330*ms, 3300, r.all)
		}
		r.writes(1000, 4*ms)
		r.after()
	}
	if r.pace.noise > paceSlow {
		t.Fatalf("pauses of 330 ms, one in 50 s, are noise: %g", r.pace.noise)
	}
}

// Goal: the usual latency is the 99th percentile of what is seen without replay.
func TestUsualLatency(t *testing.T) {
	port := new(SpoolPort)
	for i := range int64(20_000) {
		port.wrote(1000_000+i*7919%1000*1000, 1, 0) // 1 to 2 ms, evenly
	}
	if usual := port.usual.Load(); usual < 1_900_000 || usual > 2_150_000 {
		t.Fatalf("of 1 to 2 ms the usual latency is %d ns", usual)
	}
}

// Goal: requests get as long as live ones take, in time, and not longer.
func TestPaceSizes(t *testing.T) {
	port := new(SpoolPort)
	ports := []*SpoolPort{port}
	var p pace
	const nsPerByte = 100
	for range 200 {
		port.sealed.Add(1)
		port.wrote(1_000_000, 1, 0)
		p.after(ports, 100, int64(p.size())*nsPerByte, 1)
	}
	if p.bytes < 6_000 || p.bytes > 11_000 {
		t.Fatalf("requests have %d bytes, of which 10000 take as long as a live one", p.bytes)
	}
}
