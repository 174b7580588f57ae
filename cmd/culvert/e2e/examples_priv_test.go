package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// examples is a gateway with some of the rule files in docs/examples/rules, as they are. Their alerts name no
// notifier, so they are in the log.
func examples(t *testing.T, lab *testenv.Lab, sinkURL string, files ...string) *gateway {
	t.Helper()
	var paths []string
	for _, file := range files {
		path, err := filepath.Abs("../../../docs/examples/rules/" + file)
		if err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	g := start(t, lab, "run", "-c", write(t, t.TempDir(), "culvert.yaml", fmt.Sprintf(
		`interfaces: [{name: gw0, mode: native}]
listeners: [{name: plant, port: %d}]
workers: {frames: 1024}
rules: {files: [%s]}
sinks: [{name: main, urls: [%s], database: telemetry}]
`, port, strings.Join(paths, ", "), sinkURL)))
	g.ready()
	return g
}

// alerts are what the log says of alerts: the rule, its key and the state, and how often each came.
func (g *gateway) alerts() map[string]int {
	said := map[string]int{}
	for line := range strings.Lines(g.output.String()) {
		var l struct {
			Message string `json:"msg"`
			Rule    string
			Labels  map[string]string
		}
		if json.Unmarshal([]byte(line), &l) != nil {
			continue
		}
		if state, ok := strings.CutPrefix(l.Message, "alert "); ok {
			said[l.Rule+" "+l.Labels["machine"]+l.Labels["line"]+" "+state]++
		}
	}
	return said
}

// sendLines sends lines, several to a datagram, and returns how many there were.
func sendLines(t *testing.T, conn net.Conn, lines []string) int {
	t.Helper()
	for part := range slices.Chunk(lines, 15) {
		if _, err := fmt.Fprint(conn, strings.Join(part, "\n")); err != nil {
			t.Fatal(err)
		}
	}
	return len(lines)
}

// Goal: every example of docs/examples/rules does in the running gateway what it says. Method: one machine
// for each gives cause for its alert, and beside it there is one that gives none; what takes minutes is sent
// with the times of its points, what the gateway's clock decides is waited for.
func TestPrivExamplesOfAlerts(t *testing.T) {
	need(t)
	besideOthers(t)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	g := examples(t, lab, sink.url, "overload.yaml", "bearing.yaml", "gradient.yaml", "sequence.yaml",
		"silent.yaml", "vibration.yaml")
	conn := udpSender(t, lab, lab.GatewayIPv4)
	begin := time.Now().Add(-5 * time.Minute)
	at := func(seconds float64) int64 { return begin.UnixNano() + int64(seconds*1e9) }
	var lines []string
	add := func(seconds float64, format string, arguments ...any) {
		lines = append(lines, fmt.Sprintf(format, arguments...)+fmt.Sprintf(" %d", at(seconds)))
	}
	for i := range 30 { // Bearings: one shakes, one is calm.
		add(float64(i), "motor,machine=shaky vibration=%d,baseline=1,rpm=1500i", i%2*8)
		add(float64(i), "motor,machine=calm vibration=%d,baseline=1,rpm=1500i", i%2*2)
	}
	for i := range 25 { // Gradients: one climbs from the second minute on, one stays, one jumps.
		add(float64(i*5), "motor,machine=climbs temperature=%d", 20+2*max(0, i-12))
		add(float64(i*5), "motor,machine=stays temperature=%d", 20+i%2)
	}
	add(1, "motor,machine=jumps temperature=20")
	add(2, "motor,machine=jumps temperature=26")
	for i := range 150 { // Vibration: one begins to beat, one hums below the bound.
		add(float64(i)*0.1, "motor,machine=beats vibration=%g", 1.5+float64(i/100)*4)
		add(float64(i)*0.1, "motor,machine=hums vibration=%g", 4.25)
	}
	// Sequences: the valve of line x closes before the pressure rises, that of y after it.
	add(1, `plant,line=x valve="closed"`)
	add(3, `plant,line=x pressure=9.1`)
	add(1, `plant,line=y pressure=9.1`)
	add(3, `plant,line=y valve="closed"`)
	// Overload: one on line a, and one on line b, which the rule does not ask for.
	lines = append(lines, "motor,machine=hot,line=a temperature=96",
		"motor,machine=cool,line=b temperature=96")
	sent := sendLines(t, conn, lines)

	want := map[string]int{
		"BearingWear shaky firing": 1, "TemperatureClimbs climbs firing": 1,
		"TemperatureJumps jumps firing": 1, "VibrationHigh beats firing": 1,
		"PumpAgainstValve x firing": 1, "MotorOverload hota firing": 1,
	}
	same := func(what string) {
		t.Helper()
		eventually(t, what, func() error {
			if got := g.alerts(); !maps.Equal(got, want) {
				return fmt.Errorf("alerts are\n%v, want\n%v", got, want)
			}
			return nil
		})
	}
	same("one alert of each example")
	// Hysteresis: 92 °C do not end it; 89 °C do, two seconds later.
	sent += sendLines(t, conn, []string{"motor,machine=hot,line=a temperature=92"})
	cooled := time.Now()
	sent += sendLines(t, conn, []string{"motor,machine=hot,line=a temperature=89"})
	want["MotorOverload hota resolved"] = 1
	same("the overload ends")
	if after := time.Since(cooled); after < 2*time.Second {
		t.Errorf("the overload ended %v after the machine had cooled, want 2 s", after)
	}
	// Ten seconds after their last points all machines are silent; one of them speaks again.
	for _, machine := range []string{"shaky", "calm", "climbs", "stays", "jumps", "beats", "hums", "hot",
		"cool"} {
		want["SensorSilent "+machine+" firing"] = 1
	}
	same("all sensors are silent")
	sent += sendLines(t, conn, []string{"motor,machine=calm vibration=1"})
	want["SensorSilent calm resolved"] = 1
	same("one speaks again")
	if s := g.settled(uint64(sent)); s.Ledger.Written != uint64(sent) {
		t.Errorf("%+v", s.Ledger)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}

// Goal: the example of records makes one point of ten seconds, and drops what it says. Method: points in real
// time, over more than two intervals; the whole interval's record against what was sent in it.
func TestPrivExampleOfRecords(t *testing.T) {
	need(t)
	besideOthers(t)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	g := examples(t, lab, sink.url, "downsampling.yaml")
	conn := udpSender(t, lab, lab.GatewayIPv4)
	// The gateway sees the whole interval that begins behind the end of this one.
	first := time.Now().Truncate(10 * time.Second).Add(10 * time.Second)
	end, within, sent := first.Add(10*time.Second), 0, uint64(0)
	for now := time.Now(); now.Before(end.Add(time.Second)); now = time.Now() {
		line := fmt.Sprintf("motor,machine=m1 temperature=%d,vibration=1 %d", 20+sent%2, now.UnixNano())
		if !now.Before(first) && now.Before(end) {
			within++
		}
		sent += uint64(sendLines(t, conn, []string{line, fmt.Sprintf("debug_x v=1 %d", now.UnixNano())})) / 2
		time.Sleep(50 * time.Millisecond)
	}
	eventually(t, "the record of the interval", func() error {
		for _, line := range sink.all() {
			if !strings.HasSuffix(line, fmt.Sprintf(" %d", end.UnixNano())) &&
				!strings.HasSuffix(line, fmt.Sprintf(" %d", first.UnixNano())) {
				continue
			}
			if strings.HasPrefix(line, "motor_10s,machine=m1 ") && !strings.Contains(line, "incomplete") &&
				strings.Contains(line, fmt.Sprintf("points=%di", within)) &&
				strings.Contains(line, "t_max=21") {
				return nil
			}
		}
		return fmt.Errorf("no record of %d points until %s in\n%s", within, end,
			strings.Join(slices.DeleteFunc(sink.all(), func(line string) bool {
				return !strings.HasPrefix(line, "motor_10s")
			}), "\n"))
	})
	eventually(t, "the ledger", func() error {
		s, err := g.status()
		if err != nil {
			return err
		}
		if l := s.Ledger; l.Received != 2*sent || l.Filtered != sent || l.Derived == 0 ||
			l.Written != sent+l.Derived || l.Residue != 0 {
			return fmt.Errorf("%d points of each kind were sent, the ledger is %+v", sent, l)
		}
		return nil
	})
	_, metrics, err := g.get("/metrics")
	if err != nil || !strings.Contains(metrics, `culvert_rule_late_total{group="downsampling"} 0`) ||
		!strings.Contains(metrics, `culvert_rule_keys{group="downsampling"} 1`) {
		t.Errorf("%v\n%s", err, metrics)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}
