package e2e

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"net/http"
	"os"
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
	onlookers     = flag.Int("onlookers", 20, "viewers of TestPrivOnlookers")
	onlookerPairs = flag.Int("onlooker-pairs", 1, "its pairs of steps, with viewers and without")
	onlookerTime  = flag.Duration("onlooker-time", time.Second, "time of one of its steps")
	onlookerRate  = flag.Float64("onlooker-rate", 10_000, "its points a second; 0: none")
	onlookerCPU   = flag.String("onlooker-profile", "", "a file for a CPU profile of one more step")
)

// onlookerGoal is what viewers may cost, in parts of a hundred of a housekeeping core.
const onlookerGoal = 1

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

// housekeeping is how long those threads of a process have run, in nanoseconds, that are pinned to none of
// the workers' CPUs. On a worker's thread the time that viewers cost, microseconds a look, is far below what
// its waiting for packets differs in by chance.
func housekeeping(t *testing.T, pid int, workers []string) (sum int64) {
	t.Helper()
	for _, thread := range threads(t, pid) {
		if !slices.Contains(workers, thread.cpus) {
			sum += thread.nanoseconds
		}
	}
	return sum
}

// shares is what one gateway takes in a step, in parts of a hundred of a core: its housekeeping threads
// alone, and all of it.
type shares struct{ housekeeping, all float64 }

// watch measures one step under an even load.
func (g *gateway) watch(workers []string) shares {
	g.t.Helper()
	pid := g.command.Process.Pid
	own, all, begun := housekeeping(g.t, pid, workers), cpuTime(g.t, pid), time.Now()
	if *onlookerRate > 0 {
		load(g.t, g.lab, loadgen.Config{Rate: *onlookerRate, Duration: *onlookerTime, PointsPerPacket: 10})
	} else {
		time.Sleep(*onlookerTime)
	}
	took := float64(time.Since(begun)) / 100
	return shares{float64(housekeeping(g.t, pid, workers)-own) / took, float64(cpuTime(g.t, pid)-all) / took}
}

// watchedBy is a step with so many viewers, each of whom has its events.
func (g *gateway) watchedBy(n int, workers []string) shares {
	g.t.Helper()
	if n == 0 {
		return g.watch(workers)
	}
	counted, end := viewers(g, n)
	defer end()
	each := func(most int) {
		eventually(g.t, "each viewer has its events", func() error {
			if _, least := counted(); least < most {
				return fmt.Errorf("one has %d of %d", least, most)
			}
			return nil
		})
	}
	// Who comes is shown the state at once, which is no part of what looking on costs.
	each(1)
	result := g.watch(workers)
	each(2)
	return result
}

// startBusy starts a gateway that has a good deal to show: ten rules, alerts that fire, and a reject.
func startBusy(t *testing.T, lab *testenv.Lab, url string) *gateway {
	t.Helper()
	dir := t.TempDir()
	text := "groups:\n  - name: motors\n    rules:\n"
	for i := range 10 {
		text += fmt.Sprintf("      - {alert: Hot%d, on: motor, expr: temperature > 9%d.0, by: [machine], "+
			"annotations: {summary: '{{ tags.machine }} is at {{ temperature }}'}}\n", i, i)
	}
	write(t, dir, "rules.yaml", text)
	g := start(t, lab, "run", "-c", write(t, dir, "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: %s, mode: native, stall_after: 10s}]
listeners: [{name: plant, port: %d}]
workers: {frames: 1024}
rules: {files: [rules.yaml]}
notifiers: [{name: log, type: log}]
sinks: [{name: main, urls: [%s], database: telemetry}]
`, lab.GatewayInterface, port, url)))
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	for i := range 10 {
		fmt.Fprintf(conn, "motor,machine=m%d temperature=99.5\nmotor,machine=m%d temperature=1x", i, i)
	}
	eventually(t, "alerts fire", func() error {
		s, err := g.status()
		if err == nil && s.Rules[9].Firing != 10 {
			err = fmt.Errorf("%d of the last rule's", s.Rules[9].Firing)
		}
		return err
	})
	return g
}

// Goal: twenty viewers and scrapes disturb nobody: each viewer gets its events, each scrape is whole, no
// point is lost, and what it costs is printed (make bench-viewers; the goals are 1 % of a core, and 20 ms a
// scrape; no time is asserted). Method: a gateway under an even load, or none, in turn without viewers and
// with them, the order turned from pair to pair; then scrapes.
func TestPrivOnlookers(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	url, _ := checkingSink(t, lab, fakesink.Config{})
	g := startBusy(t, lab, url)
	settleDown(t, g.command.Process.Pid)
	workers := g.workerCPUs()
	var with, without, costs, whole []float64
	for n := range *onlookerPairs {
		var p [2]shares
		for _, on := range [2]int{n % 2, 1 - n%2} {
			p[on] = g.watchedBy(on**onlookers, workers)
		}
		without, with = append(without, p[0].housekeeping), append(with, p[1].housekeeping)
		costs = append(costs, p[1].housekeeping-p[0].housekeeping)
		whole = append(whole, p[1].all-p[0].all)
	}
	slices.Sort(with)
	slices.Sort(without)
	t.Logf("housekeeping threads: median %.2f %% of a core without viewers, %.2f %% with %d", median(without),
		median(with), *onlookers)
	t.Logf("viewers cost of housekeeping: %s", within(costs, 2, "% of a core", onlookerGoal))
	t.Logf("viewers cost of all threads: %s", within(whole, 2, "% of a core", onlookerGoal))
	if *onlookerCPU != "" {
		g.profileViewers(*onlookerCPU, workers)
	}
	g.scrapes()
	s, err := g.status()
	if err != nil {
		t.Fatal(err)
	}
	g.settled(s.Ledger.Received)
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}

// workerCPUs are the CPUs that workers are pinned to, as the kernel writes them.
func (g *gateway) workerCPUs() (cpus []string) {
	g.t.Helper()
	s, err := g.status()
	if err != nil {
		g.t.Fatal(err)
	}
	for _, w := range s.Workers {
		if w.CPU >= 0 {
			cpus = append(cpus, fmt.Sprint(w.CPU))
		}
	}
	return cpus
}

// profileViewers keeps a CPU profile of a step with viewers.
func (g *gateway) profileViewers(file string, workers []string) {
	g.t.Helper()
	seconds := max(1, int(*onlookerTime/time.Second))
	profile := make(chan error, 1)
	go func() {
		code, text, err := g.get(fmt.Sprintf("/debug/pprof/profile?seconds=%d", seconds))
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("%d %.200s", code, text)
		}
		if err == nil {
			err = os.WriteFile(file, []byte(text), 0o644)
		}
		profile <- err
	}()
	g.watchedBy(*onlookers, workers)
	if err := <-profile; err != nil {
		g.t.Fatalf("profile %q: %v", file, err)
	}
}

// scrapes prints what twenty scrapes cost.
func (g *gateway) scrapes() {
	g.t.Helper()
	pid := g.command.Process.Pid
	var took []time.Duration
	before, size := cpuTime(g.t, pid), 0
	for range 20 {
		begun := time.Now()
		code, text, err := g.get("/metrics")
		if err != nil || code != http.StatusOK ||
			!strings.Contains(text, "culvert_ledger_residue_points 0\n") {
			g.t.Fatalf("%d %v: %.200s", code, err, text)
		}
		took, size = append(took, time.Since(begun)), len(text)
	}
	slices.Sort(took)
	g.t.Logf("a scrape of %d bytes: median %s, at most %s, CPU %s", size, took[len(took)/2],
		took[len(took)-1], time.Duration(cpuTime(g.t, pid)-before)/time.Duration(len(took)))
}
