package dataplane

import (
	"testing"
	"time"
)

// Goal: replay rests longer while more than one live write in a hundred is slow, up to a bound, and less
// again when none is; without live traffic it does not rest. It gets half as much again as live traffic at
// least.
func TestPaceGivesWay(t *testing.T) {
	port := new(SpoolPort)
	ports := []*SpoolPort{port}
	now, ms := int64(1), int64(time.Millisecond)
	var p pace
	p.after(ports, 1000, ms, now)
	if p.nextAt != now {
		t.Fatal("it rests although nobody writes")
	}
	writes := func(n int, took int64) {
		for range n {
			port.sealed.Add(1)
			port.wrote(took, port.points.Load())
		}
		now += ms
	}
	writes(1000, 4*ms)
	p.watch(ports, true, now)
	for range 20 {
		writes(10, 9*ms)
		p.after(ports, 1000, ms, now)
	}
	if p.rest != paceMost || p.nextAt != now+paceMost {
		t.Fatalf("under strain it rests for %d", p.rest)
	}
	if usual := port.usual.Load(); usual > 5*ms {
		t.Fatalf("replay has made its own strain usual: %d", usual)
	}
	writes(200, 4*ms)
	p.after(ports, 1000, ms, now)
	high := p.rest
	for range 200 {
		writes(100, 4*ms)
		writes(1, 9*ms)
		p.after(ports, 1000, ms, now)
	}
	if p.rest < high/3 || p.rest > high*3 {
		t.Fatalf("with one slow write in a hundred its rest went from %d to %d", high, p.rest)
	}
	for range 10 {
		writes(1000, 4*ms)
		p.after(ports, 1000, ms, now)
	}
	if p.rest != paceLeast {
		t.Fatalf("without strain it rests for %d", p.rest)
	}
	port.backlog.Store(1)
	p.after(ports, 1000, ms, now)
	if p.rest != 2*paceLeast {
		t.Fatalf("while nothing gets through it rests for %d", p.rest)
	}
	now += 2 * liveFor
	p.after(ports, 1000, ms, now)
	if p.nextAt != now {
		t.Fatal("it rests although nobody writes any more")
	}

	// Live traffic of 10 000 points a second: replay of 1000 points a request gets half as much again at
	// least.
	p = pace{}
	for i := range 30 {
		port.points.Store(uint64(i) * 1000)
		port.sealed.Add(1)
		now += 100 * ms
		p.measure(ports, now)
	}
	for range 20 {
		writes(10, 400*ms)
		p.after(ports, 1000, ms, now)
	}
	if least, most := 60*ms, 70*ms; p.rest < least || p.rest > most {
		t.Fatalf("beside %d points/s it rests for %d after 1000 points", p.rate, p.rest)
	}
}

// Goal: the usual latency is the 99th percentile of what is seen without replay.
func TestUsualLatency(t *testing.T) {
	port := new(SpoolPort)
	for i := range int64(20_000) {
		port.wrote(1000_000+i*7919%1000*1000, 0) // 1 to 2 ms, evenly
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
		port.wrote(1_000_000, 0)
		p.after(ports, 100, int64(p.size())*nsPerByte, 1)
	}
	if p.bytes < 6_000 || p.bytes > 11_000 {
		t.Fatalf("requests have %d bytes, of which 10000 take as long as a live one", p.bytes)
	}
}
