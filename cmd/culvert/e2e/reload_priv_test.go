package e2e

import (
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"culvert/controlplane/fakesink"
	"culvert/controlplane/loadgen"
	"culvert/scripts/testenv"
)

// reload runs `culvert reload` beside the gateway and returns its exit code and what it printed.
func (g *gateway) reload(arguments ...string) (code int, out string) {
	g.t.Helper()
	command := exec.Command(culvert, append([]string{"reload"}, arguments...)...)
	buffer := &lockedBuffer{}
	command.Stdout, command.Stderr = buffer, buffer
	if err := g.lab.Gateway.Do(command.Start); err != nil {
		g.t.Fatal(err)
	}
	err := command.Wait()
	if _, ended := err.(*exec.ExitError); err != nil && !ended {
		g.t.Fatal(err)
	}
	return command.ProcessState.ExitCode(), buffer.String()
}

// Goal: rules are replaced under 100 000 points a second without losing one, and rules that stay keep alerts
// and windows. Method: while the load generator sends over two queues, a rule file is rewritten and reloaded
// ten times; an alert that never ends and one on a window must be told once for each key, and every point
// must be in the sink.
func TestPrivReloadUnderLoad(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	url, sink := checkingSink(t, lab, fakesink.Config{})
	hook, came := webhook(t, lab)
	dir := t.TempDir()
	const series = 100
	reloads := testenv.Sized(10, 4)
	rulesWith := func(more string) {
		// Replaced whole, as an editor does, so that a reload never sees half of it.
		write(t, dir, "rules.new", `groups:
  - name: motors
    rules:
`+more+`      - alert: Kept
        on: plant
        expr: temperature > 0
        clear: temperature < 0
        by: [sensor]
        actions: [ops]
      - alert: Window
        on: plant
        expr: count(temperature[1s:1s]) >= 0
        by: [sensor]
        actions: [ops]
      - {alert: Flaps, on: plant, expr: temperature > 95, by: [sensor], actions: [many]}
`)
		if err := os.Rename(filepath.Join(dir, "rules.new"), filepath.Join(dir, "rules.yaml")); err != nil {
			t.Fatal(err)
		}
	}
	rulesWith("")
	path := write(t, dir, "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: gw0, mode: native, stall_after: 10s}]
listeners: [{name: plant, port: %d}]
rules: {files: [rules.yaml]}
notifiers: [{name: ops, type: webhook, url: "%s"}, {name: many, type: udp, address: "127.0.0.1:%d", limit: 0}]
sinks: [{name: main, urls: [%s], database: telemetry}]
`, port, hook, datagramSink(t, lab), url))
	g := start(t, lab, "run", "-c", path)
	g.ready()
	sent := make(chan loadgen.Report, 1)
	go func() {
		defer close(sent)
		sent <- load(t, lab, loadgen.Config{Rate: 100_000, Duration: time.Duration(3+reloads/2) * time.Second,
			PointsPerPacket: 10, Series: series, AlertShare: 0.002})
	}()
	time.Sleep(1500 * time.Millisecond) // The windows are whole by then.
	began := g.alertLatencies()
	steady := time.Now()
	time.Sleep(time.Second)
	before := g.alertLatencies()
	t.Logf("%.1f s without a reload: %s", time.Since(steady).Seconds(), before.since(began))
	for i := range reloads {
		rulesWith(fmt.Sprintf(`      - {alert: Other, on: plant, expr: "avg(temperature[2s]) > %d"}
      - drop: {on: "debug_%d*"}
`, 1000+i, i))
		code, out := g.reload()
		if code != 0 || !strings.Contains(out, "3 kept") || strings.Contains(out, " 0 keys with a past") {
			t.Fatalf("exit code %d\n%s", code, out)
		}
		if i == 0 {
			t.Logf("\n%s", out)
		}
		time.Sleep(300 * time.Millisecond)
	}
	after := g.alertLatencies()
	t.Logf("%.1f s with %d reloads: %s", time.Since(steady).Seconds()-1, reloads, after.since(before))
	report, ok := <-sent
	if !ok {
		t.FailNow()
	}
	s := accounted(t, lab, g, report)
	if s.Ledger.Written != s.Ledger.Received || s.Ledger.Received != report.Points {
		t.Fatalf("%d points sent: %+v, %+v", report.Points, s.Ledger, s.Packets)
	}
	if got := sink.Stats(); got.Points != report.Points {
		t.Fatalf("the sink has %d points of %d", got.Points, report.Points)
	}
	for line := range strings.Lines(g.output.String()) {
		if strings.Contains(line, `"msg":"reloaded"`) {
			t.Log(strings.TrimSpace(line[strings.Index(line, "pause"):]))
		}
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	told := map[string]int{}
	for len(came) > 0 {
		n := <-came
		told[n.Labels["alertname"]+" "+n.Status]++
	}
	if told["Kept firing"] != series || told["Window firing"] != series || len(told) != 2 {
		t.Fatalf("told %v, want each of %d keys twice and no more", told, series)
	}
}

// latencies are the buckets of a histogram, how many values were at most so many seconds.
type latencies map[float64]float64

// alertLatencies is how long alerts took since the gateway began.
func (g *gateway) alertLatencies() latencies {
	g.t.Helper()
	all := latencies{}
	for series, count := range g.figures() {
		text, ok := strings.CutPrefix(series, `culvert_alert_latency_seconds_bucket{le="`)
		if !ok {
			continue
		}
		bound, err := strconv.ParseFloat(strings.TrimSuffix(text, `"}`), 64)
		if err != nil {
			g.t.Fatalf("bucket %q: %v", series, err)
		}
		all[bound] = count
	}
	if len(all) < 2 {
		g.t.Fatal("alerts have no histogram of latencies")
	}
	return all
}

// since says what lies between an earlier look and this one: counts, and the bucket of each quantile.
func (l latencies) since(before latencies) string {
	bounds := slices.Sorted(maps.Keys(l))
	total := l[bounds[len(bounds)-1]] - before[bounds[len(bounds)-1]]
	said := fmt.Sprintf("%.0f alerts", total)
	for _, q := range []float64{0.5, 0.9, 0.99, 0.999} {
		low := 0.0
		for _, bound := range bounds {
			if l[bound]-before[bound] >= q*total {
				said += fmt.Sprintf(", P%g %.0f to %.0f us", 100*q, low*1e6, bound*1e6)
				break
			}
			low = bound
		}
	}
	return said
}

// datagramSink takes datagrams and keeps nothing.
func datagramSink(t *testing.T, lab *testenv.Lab) (port int) {
	t.Helper()
	var conn net.PacketConn
	err := lab.Gateway.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		into := make([]byte, 2000)
		for {
			if _, _, err := conn.ReadFrom(into); err != nil {
				return
			}
		}
	}()
	return conn.LocalAddr().(*net.UDPAddr).Port
}

// Goal: what a reload does and does not is said, and what is wrong changes nothing. Method: the command, the
// URL and SIGHUP on one gateway, with files that are right, wrong, and changed beyond rules and notifiers.
func TestPrivReloadSaysWhatChanged(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	first, came := webhook(t, lab)
	second, moved := webhook(t, lab)
	dir := t.TempDir()
	configure := func(url, more, rule string) string {
		write(t, dir, "rules.yaml", "groups:\n  - name: g\n    rules:\n      - {alert: Hot, on: motor, "+
			"expr: temperature > 95, by: [machine], actions: [ops]}\n"+rule)
		return write(t, dir, "culvert.yaml", fmt.Sprintf(`interfaces: [{name: gw0, mode: native}]
listeners: [{name: plant, port: %d}]
workers: {frames: 1024%s}
rules: {files: [rules.yaml]}
notifiers: [{name: ops, type: webhook, url: "%s"}]
sinks: [{name: main, urls: [%s], database: telemetry}]
`, port, more, url, sink.url))
	}
	path := configure(first, "", "")
	g := start(t, lab, "run", "-c", path)
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	next := func(from chan notification, want string) {
		t.Helper()
		select {
		case n := <-from:
			if got := n.Labels["alertname"] + " " + n.Labels["machine"] + " " + n.Status; got != want {
				t.Fatalf("told %q, want %q", got, want)
			}
		case <-time.After(waitLimit):
			t.Fatalf("%q is not told", want)
		}
	}
	fmt.Fprint(conn, "motor,machine=a temperature=96")
	next(came, "Hot a firing")

	configure(second, "", "      - {alert: Bad, on: motor, expr: temprature >, actions: [opps]}\n")
	code, out := g.reload()
	if code != 78 || !strings.Contains(out, "rules.yaml:5:") || !strings.Contains(out, "nothing is changed") {
		t.Fatalf("a wrong file: exit code %d\n%s", code, out)
	}
	configure(second, ", batch: 16", "      - {alert: New, on: motor, expr: rpm > 1, by: [machine]}\n")
	code, out = g.reload()
	if code != 0 || !strings.Contains(out, "1 added, 0 changed, 0 removed, 1 kept") ||
		!strings.Contains(out, "+ g/alert/New") || !strings.Contains(out, "~ ops") ||
		!strings.Contains(out, "wait for a restart: workers.batch") {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	next(moved, "Hot a firing") // The new receiver is told what fires.
	fmt.Fprint(conn, "motor,machine=a temperature=90")
	next(moved, "Hot a resolved")
	fmt.Fprint(conn, "motor,machine=b temperature=99")
	next(moved, "Hot b firing")

	// The rule goes: its alert is ended, by SIGHUP this time.
	write(t, dir, "rules.yaml", "groups: [{name: g, rules: [{alert: Other, on: pump, expr: x > 1}]}]\n")
	g.command.Process.Signal(syscall.SIGHUP)
	next(moved, "Hot b resolved")
	fmt.Fprint(conn, "motor,machine=c temperature=99")
	s := g.settled(4)
	if s.Ledger.Written != 4 {
		t.Fatalf("%+v", s.Ledger)
	}
	if code, out = g.reload("--json"); code != 0 || !strings.Contains(out, `"removed": []`) {
		t.Fatalf("exit code %d\n%s", code, out)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	if len(came)+len(moved) > 0 {
		t.Fatalf("%d and %d notifications too many", len(came), len(moved))
	}
}
