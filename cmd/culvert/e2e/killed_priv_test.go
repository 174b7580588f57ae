package e2e

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// Goal: a gateway that is killed in the middle of many alerts neither tells them anew nor loses the end of
// one. Method: 200 machines are hot and 20 turn too fast, at a real Alertmanager and a webhook that counts;
// after a kill -9 half of the machines have cooled down, and the rule about turning is gone. In the end
// Alertmanager shows those that are hot, and the webhook was told each beginning and each end once.
func TestPrivKilledInTheMiddleOfAlerts(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	startAlertmanager(t, lab)
	sink := newRecorder(t, lab)
	hook, came := webhook(t, lab)
	dir, state := t.TempDir(), t.TempDir()
	const hot, fast = 200, 20
	hotRule := `groups:
  - name: motors
    rules:
      - {alert: Hot, on: motor, expr: temperature > 95, by: [machine], actions: [ops, hook]}
`
	write(t, dir, "rules.yaml", hotRule+
		"      - {alert: Fast, on: motor, expr: rpm > 3000, by: [machine], actions: [ops, hook]}\n")
	path := write(t, dir, "culvert.yaml", fmt.Sprintf(`interfaces: [{name: gw0, mode: native}]
listeners: [{name: plant, port: %d}]
workers: {frames: 1024}
rules: {files: [rules.yaml], checkpoint: 2s}
state_dir: %s
notifiers: [{name: ops, type: alertmanager, url: %q}, {name: hook, type: webhook, url: %q}]
sinks: [{name: main, urls: [%s], database: telemetry}]
`, port, state, alertmanager, hook, sink.url))
	g := start(t, lab, "run", "-c", path)
	g.ready()
	told := map[string]int{}
	hears := func(what string, want map[string]int) {
		t.Helper()
		eventually(t, what, func() error {
			for len(came) > 0 {
				n := <-came
				told[n.Labels["alertname"]+" "+n.Status]++
			}
			if !maps.Equal(told, want) {
				return fmt.Errorf("the webhook was told %v, want %v", told, want)
			}
			return nil
		})
	}
	shows := func(what string, want int) {
		t.Helper()
		eventually(t, what, func() error {
			alerts, err := shownAlerts(lab)
			if err == nil && len(alerts) != want {
				err = fmt.Errorf("Alertmanager shows %d alerts, want %d", len(alerts), want)
			}
			return err
		})
	}
	points := func(temperature func(machine int) int) {
		t.Helper()
		var lines []string
		for i := range hot {
			lines = append(lines, fmt.Sprintf("motor,machine=m%d temperature=%d,rpm=%d", i, temperature(i),
				2000+max(fast-i, 0)*1500))
		}
		sendLines(t, udpSender(t, lab, lab.GatewayIPv4), lines)
	}
	points(func(int) int { return 99 })
	hears("all alerts", map[string]int{"Hot firing": hot, "Fast firing": fast})
	shows("all alerts", hot+fast)
	began := time.Now()
	eventually(t, "the state is saved", func() error {
		for _, name := range []string{"rules-0.checkpoint", "rules-1.checkpoint", "notifiers.state"} {
			about, err := os.Stat(filepath.Join(state, name))
			if err != nil {
				return err
			}
			if !about.ModTime().After(began) {
				return fmt.Errorf("%s is of %s", name, about.ModTime())
			}
		}
		return nil
	})
	g.kill()

	write(t, dir, "rules.yaml", hotRule)
	g = start(t, lab, "run", "-c", path)
	g.ready()
	points(func(machine int) int { return 90 + machine%2*10 })
	want := map[string]int{"Hot firing": hot, "Fast firing": fast, "Hot resolved": hot / 2,
		"Fast resolved": fast}
	hears("the ends", want)
	shows("those that are hot", hot/2)
	eventually(t, "the log says what was ended", func() error {
		if !strings.Contains(g.output.String(), fmt.Sprintf(`"alerts":%d}`, 2*fast)) {
			return fmt.Errorf("%s", g.output)
		}
		return nil
	})
	// Killed again, and once more at once: nothing changes.
	time.Sleep(3 * time.Second)
	g.kill()
	g = start(t, lab, "run", "-c", path)
	g.ready()
	g.kill()
	g = start(t, lab, "run", "-c", path)
	g.ready()
	points(func(machine int) int { return 90 + machine%2*10 })
	time.Sleep(3 * time.Second)
	hears("nothing twice", want)
	shows("those that are hot", hot/2)
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	hears("nothing at the stop", want)
	shows("those that are hot", hot/2)
}
