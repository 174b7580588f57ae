package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// Goal: the state of rules outlives a gateway that is killed. Method: two alerts begin, the gateway is killed
// after a checkpoint; the one that starts then tells neither of them again, ends the one whose next point
// says so, and does not begin the other anew. A corrupt checkpoint is said, and rules begin anew.
func TestPrivRuleStateOutlivesTheGateway(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	url, came := webhook(t, lab)
	dir, state := t.TempDir(), t.TempDir()
	write(t, dir, "rules.yaml", `groups:
  - name: motors
    rules:
      - {alert: Hot, on: motor, expr: temperature > 95, by: [machine], actions: [ops]}
`)
	path := write(t, dir, "culvert.yaml", fmt.Sprintf(`interfaces: [{name: gw0, mode: native}]
listeners: [{name: plant, port: %d}]
workers: {frames: 1024}
rules: {files: [rules.yaml], checkpoint: 1s}
state_dir: %s
notifiers: [{name: ops, type: webhook, url: "%s"}]
sinks: [{name: main, urls: [%s], database: telemetry}]
`, port, state, url, sink.url))
	notified := func(what string, count int) map[string]int {
		t.Helper()
		got := map[string]int{}
		eventually(t, what, func() error {
			select {
			case n := <-came:
				got[n.Labels["machine"]+" "+n.Status]++
			default:
			}
			if total := len(got); total < count {
				return fmt.Errorf("%v came, want %d", got, count)
			}
			return nil
		})
		return got
	}
	g := start(t, lab, "run", "-c", path)
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	fmt.Fprint(conn, "motor,machine=a temperature=96\nmotor,machine=b temperature=96")
	notified("both alerts", 2)
	checkpoint := filepath.Join(state, "rules-0.checkpoint")
	began := time.Now()
	eventually(t, "a checkpoint after the alerts", func() error {
		about, err := os.Stat(checkpoint)
		if err == nil && about.ModTime().Before(began.Add(time.Second)) {
			err = fmt.Errorf("the checkpoint is of %s", about.ModTime())
		}
		return err
	})
	g.kill()

	g = start(t, lab, "run", "-c", path)
	g.ready()
	conn = udpSender(t, lab, lab.GatewayIPv4)
	fmt.Fprint(conn, "motor,machine=a temperature=90\nmotor,machine=b temperature=97")
	if got := notified("the one that ended", 1); got["a resolved"] != 1 {
		t.Fatalf("after the points %v came", got)
	}
	g.stop()
	select {
	case extra := <-came:
		t.Fatalf("one notification too many: %+v", extra)
	default:
	}

	data, err := os.ReadFile(checkpoint)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	if err := os.WriteFile(checkpoint, data, 0o600); err != nil {
		t.Fatal(err)
	}
	g = start(t, lab, "run", "-c", path)
	g.ready()
	if log := g.output.String(); !strings.Contains(log, "rules begin without a checkpoint") {
		t.Fatalf("a corrupt checkpoint is not said:\n%s", log)
	}
}
