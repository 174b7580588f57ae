package e2e

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"culvert/controlplane/fakesink"
	"culvert/controlplane/loadgen"
	"culvert/scripts/testenv"
)

var (
	onlookerTime = flag.Duration("onlooker-time", time.Second, "time of one step of TestPrivOnlookers")
	onlookerRate = flag.Float64("onlooker-rate", 10_000, "points a second of TestPrivOnlookers")
)

// viewers follow a gateway's dashboard stream until end is called; counted says how many events they have had
// in all and at least.
func viewers(g *gateway, n int) (counted func() (all, least int), end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	events := make([]atomic.Int32, n)
	var watching sync.WaitGroup
	// The stream has no end that a timeout should wait for.
	client := &http.Client{Transport: g.client.Transport}
	for i := range n {
		watching.Go(func() {
			const stream = "http://127.0.0.1:9490/api/v1/stream"
			request, err := http.NewRequestWithContext(ctx, "GET", stream, nil)
			if err != nil {
				return
			}
			response, err := client.Do(request)
			if err != nil {
				return
			}
			defer response.Body.Close()
			lines := bufio.NewReaderSize(response.Body, 1<<20)
			for {
				line, err := lines.ReadString('\n')
				if err != nil {
					return
				}
				if strings.HasPrefix(line, "event: ") {
					events[i].Add(1)
				}
			}
		})
	}
	counted = func() (all, least int) {
		least = int(events[0].Load())
		for i := range events {
			one := int(events[i].Load())
			all, least = all+one, min(least, one)
		}
		return all, least
	}
	return counted, func() {
		cancel()
		watching.Wait()
	}
}

// Goal: twenty viewers and scrapes disturb nobody: each viewer gets its events, each scrape is whole,
// no point is lost, and what it costs is printed (the goals are 1 % of a core, and 20 ms a scrape). Method: a
// gateway under an even load, alone, with viewers and with scrapes in turn.
func TestPrivOnlookers(t *testing.T) {
	need(t)
	const many = 20
	lab := testenv.NewLab(t, 1)
	url, _ := checkingSink(t, lab, fakesink.Config{})
	g := start(t, lab, "run", "-c", configure(t, lab, url, ", stall_after: 10s"))
	g.ready()
	pid := g.command.Process.Pid
	settleDown(t, pid)
	// share is how much of a core all threads of the gateway took during a load.
	share := func() float64 {
		before, begun := cpuTime(t, pid), time.Now()
		load(t, lab, loadgen.Config{Rate: *onlookerRate, Duration: *onlookerTime, PointsPerPacket: 10})
		return float64(cpuTime(t, pid)-before) / float64(time.Since(begun))
	}
	alone := share()
	counted, end := viewers(g, many)
	watched := share()
	all, _ := counted()
	eventually(t, "each viewer has two events", func() error {
		if _, least := counted(); least < 2 {
			return fmt.Errorf("one has %d", least)
		}
		return nil
	})
	end()
	again := share()
	t.Logf("%d viewers, %d events: %.2f %% of a core with them, %.2f %% and %.2f %% without", many, all,
		100*watched, 100*alone, 100*again)

	var took []time.Duration
	before, size := cpuTime(t, pid), 0
	for range 20 {
		begun := time.Now()
		code, text, err := g.get("/metrics")
		if err != nil || code != http.StatusOK ||
			!strings.Contains(text, "culvert_ledger_residue_points 0\n") {
			t.Fatalf("%d %v: %.200s", code, err, text)
		}
		took, size = append(took, time.Since(begun)), len(text)
	}
	slices.Sort(took)
	t.Logf("a scrape of %d bytes: median %s, at most %s, CPU %s", size, took[len(took)/2],
		took[len(took)-1], time.Duration(cpuTime(t, pid)-before)/time.Duration(len(took)))
	s, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	g.settled(s.Ledger.Received)
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}
