package dataplane

import (
	"testing"
	"time"
)

// Replay rests longer while live writes take longer than usual, up to a bound, and less again when they do
// not; without live traffic it does not rest.
func TestPaceGivesWay(t *testing.T) {
	port := new(SpoolPort)
	ports := []*SpoolPort{port}
	now, ms := int64(1), int64(time.Millisecond)
	var p pace
	p.after(ports, 1000, now)
	if p.nextAt != now {
		t.Fatal("it rests although nobody writes")
	}
	live := func(took int64) {
		port.sealed.Add(1)
		port.took.Store(took)
		now += ms
	}
	for range 100 {
		live(4 * ms)
		p.watch(ports, true)
	}
	if p.usual != 4*ms {
		t.Fatalf("the usual latency is %d", p.usual)
	}
	for range 20 {
		live(9 * ms)
		p.watch(ports, false)
		p.after(ports, 1000, now)
	}
	if p.rest != paceMost || p.nextAt != now+paceMost {
		t.Fatalf("under strain it rests for %d", p.rest)
	}
	if p.usual > 5*ms {
		t.Fatalf("replay has made its own strain usual: %d", p.usual)
	}
	for range 40 {
		live(4 * ms)
		p.watch(ports, false)
		p.after(ports, 1000, now)
	}
	if p.rest != paceLeast {
		t.Fatalf("without strain it rests for %d", p.rest)
	}
	port.backlog.Store(1)
	live(4 * ms)
	p.after(ports, 1000, now)
	if p.rest != 2*paceLeast {
		t.Fatalf("with a backlog it rests for %d", p.rest)
	}
	now += 2 * liveFor
	p.after(ports, 1000, now)
	if p.nextAt != now {
		t.Fatal("it rests although nobody writes any more")
	}

	// Live traffic of 10 000 points a second: replay of 1000 points a request gets half as much again at
	// least.
	p = pace{}
	for i := range 30 {
		port.points.Store(uint64(i) * 1000)
		live(4 * ms)
		now += 99 * ms
		p.measure(ports, now)
	}
	for range 20 {
		live(400 * ms)
		p.after(ports, 1000, now)
	}
	if least, most := 60*ms, 70*ms; p.rest < least || p.rest > most {
		t.Fatalf("beside %d points/s it rests for %d after 1000 points", p.rate, p.rest)
	}
}
