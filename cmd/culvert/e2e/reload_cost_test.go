package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"culvert/controlplane/fakesink"
	"culvert/controlplane/loadgen"
	"culvert/scripts/testenv"
)

// reloadsEnv says how many reloads of each kind TestReloadCosts makes, such as 10, with 100 000 points a
// second. Without it there is one of each, with 10 000. reloadPaceEnv says how far apart they are, such as
// 3s; without it 0.3 s.
const reloadsEnv, reloadPaceEnv = "CULVERT_RELOADS", "CULVERT_RELOAD_PACE"

// Goal: what reloads cost the alerts of a gateway under load is told apart from what the machine costs them,
// where sender, database and gateway share its CPUs. Method: under load the latencies of alerts and the time
// that threads waited for a CPU are looked at in stretches of the same length: without anything, with reloads
// by `culvert reload`, with reloads by HTTP, which start no program, and with `culvert rules check`, which
// reads and compiles the same rules beside the gateway. Only what every stretch has to bring is judged: no
// point may be lost, and every reload has to succeed.
func TestReloadCosts(t *testing.T) {
	need(t)
	rate := 100_000.0
	reloads, err := strconv.Atoi(os.Getenv(reloadsEnv))
	if err != nil {
		reloads, rate = 1, 10_000
	}
	lab := testenv.NewLab(t, 2)
	url, sink := checkingSink(t, lab, fakesink.Config{})
	dir := t.TempDir()
	pace, err := time.ParseDuration(os.Getenv(reloadPaceEnv))
	if err != nil {
		pace = 300 * time.Millisecond
	}
	// Many rules for other points, so that reading and compiling them is a piece of work.
	var many strings.Builder
	for i := range 300 {
		fmt.Fprintf(&many, "      - {alert: R%d, on: rest, expr: 'avg(b[10s]) > %d', by: [sensor]}\n", i, i)
	}
	number := 0
	change := func() {
		number++
		write(t, dir, "rules.new", fmt.Sprintf(`groups:
  - name: motors
    rules:
      - {alert: Other, on: plant, expr: "avg(temperature[2s]) > %d"}
      - drop: {on: "debug_%d*"}
      - {alert: Window, on: plant, expr: "count(temperature[1s:1s]) < 0", by: [sensor]}
      - {alert: Flaps, on: plant, expr: temperature > 95, by: [sensor], actions: [many]}
`, 1000+number, number)+many.String())
		if err := os.Rename(filepath.Join(dir, "rules.new"), filepath.Join(dir, "rules.yaml")); err != nil {
			t.Fatal(err)
		}
	}
	change()
	path := write(t, dir, "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: gw0, mode: native, stall_after: 10s}]
listeners: [{name: plant, port: %d}]
rules: {files: [rules.yaml]}
notifiers: [{name: many, type: udp, address: "127.0.0.1:%d", limit: 0}]
sinks: [{name: main, urls: [%s], database: telemetry}]
`, port, datagramSink(t, lab), url))
	g := start(t, lab, "run", "-c", path)
	g.ready()
	stretches := []struct {
		name string
		do   func()
	}{
		{"without a reload", func() {}},
		{"with `culvert reload`", func() {
			change()
			if code, out := g.reload(); code != 0 {
				t.Errorf("exit code %d\n%s", code, out)
			}
		}},
		{"with reloads by HTTP", func() {
			change()
			g.post("/api/v1/reload")
		}},
		{"with `culvert rules check`", func() {
			check := exec.Command(culvert, "rules", "check", filepath.Join(dir, "rules.yaml"))
			if out, err := check.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		}},
	}
	stretch := time.Duration(reloads) * pace
	sent := make(chan loadgen.Report, 1)
	go func() {
		defer close(sent)
		sent <- load(t, lab, loadgen.Config{Rate: rate, Duration: time.Duration(len(stretches))*(stretch+
			time.Second) + 2*time.Second, PointsPerPacket: 10, Series: 100, AlertShare: 0.002})
	}()
	time.Sleep(1500 * time.Millisecond)
	for _, s := range stretches {
		before, waited := g.alertLatencies(), g.waitedForCPU()
		figures := g.figures()
		for range reloads {
			next := time.Now().Add(pace)
			s.do()
			time.Sleep(time.Until(next))
		}
		after := g.figures()
		said := g.alertLatencies().since(before)
		t.Logf("%s: %s; %.0f collections; %s", s.name, said,
			after["go_gc_duration_seconds_count"]-figures["go_gc_duration_seconds_count"],
			g.waitedForCPU().since(waited))
	}
	report, ok := <-sent
	if !ok {
		t.FailNow()
	}
	s := accounted(t, lab, g, report)
	if got := sink.Stats(); s.Ledger.Received != report.Points || got.Points != report.Points {
		t.Fatalf("%d points sent, %+v, the sink has %d", report.Points, s.Ledger, got.Points)
	}
	var pauses []string
	for line := range strings.Lines(g.output.String()) {
		if _, rest, found := strings.Cut(line, `"pause_seconds":`); found {
			pauses = append(pauses, strings.TrimRight(rest, "}\n"))
		}
	}
	t.Logf("pauses in seconds: %s", strings.Join(pauses, " "))
	if len(pauses) != 2*reloads {
		t.Errorf("%d reloads are told, want %d", len(pauses), 2*reloads)
	}
}

// post asks the gateway's HTTP interface to do something.
func (g *gateway) post(path string) {
	g.t.Helper()
	response, err := g.client.Post("http://127.0.0.1:9490"+path, "", nil)
	if err != nil {
		g.t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 200 {
		g.t.Errorf("POST %s: %s", path, response.Status)
	}
}

// waiting is how long threads were ready to run and had no CPU, and how often they got one.
type waiting struct{ delay, turns float64 }

// waitedForCPU sums up what the kernel says of all of the gateway's threads.
func (g *gateway) waitedForCPU() (w waiting) {
	g.t.Helper()
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", g.command.Process.Pid))
	if err != nil || len(tasks) == 0 {
		g.t.Fatalf("list threads: %v", err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(filepath.Join(task, "schedstat"))
		if err != nil {
			continue // It has ended.
		}
		var ran, delay, turns float64
		if _, err := fmt.Sscan(string(text), &ran, &delay, &turns); err != nil {
			g.t.Fatalf("read %q: %v", text, err)
		}
		w.delay += delay
		w.turns += turns
	}
	return w
}

// since says what lies between an earlier look and this one. Threads that ended are missing in it.
func (w waiting) since(before waiting) string {
	delay, turns := w.delay-before.delay, w.turns-before.turns
	return fmt.Sprintf("threads waited %.0f ms for a CPU in %.0f turns, %.0f us each", delay/1e6, turns,
		delay/1e3/max(turns, 1))
}
