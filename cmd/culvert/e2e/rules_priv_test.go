package e2e

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// Goal: rules with time and a past work in the running gateway. Method: one point begins an alert with `for`,
// which fires without a second one; points in a window raise another; a record and a filter show in the
// database and in the ledger.
func TestPrivRulesWithTimeAndPast(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	url, came := webhook(t, lab)
	dir := t.TempDir()
	write(t, dir, "rules.yaml", `groups:
  - name: motors
    rules:
      - drop: {on: "debug_*"}
      - alert: Held
        on: motor
        expr: temperature > 95
        by: [machine]
        for: 300ms
        actions: [ops]
      - alert: Window
        on: pump
        expr: count(flow[1s]) >= 3 && avg(flow[1s]) > 5
        by: [machine]
        actions: [ops]
      - record: pump_1s
        on: pump
        by: [machine]
        every: 1s
        fields: {n: "count(flow[1s])"}
`)
	path := write(t, dir, "culvert.yaml", fmt.Sprintf(`interfaces: [{name: gw0, mode: native}]
listeners: [{name: plant, port: %d}]
workers: {frames: 1024}
rules: {files: [rules.yaml]}
notifiers: [{name: ops, type: webhook, url: "%s"}]
sinks: [{name: main, urls: [%s], database: telemetry}]
`, port, url, sink.url))
	g := start(t, lab, "run", "-c", path)
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	notified := func(alert, status string) {
		t.Helper()
		eventually(t, alert+" "+status, func() error {
			select {
			case got := <-came:
				if got.Labels["alertname"] != alert || got.Status != status {
					t.Fatalf("notified of %+v, want %s %s", got, alert, status)
				}
				return nil
			default:
				return fmt.Errorf("%s is not %s", alert, status)
			}
		})
	}
	fmt.Fprint(conn, "debug_1 x=1\nmotor,machine=a temperature=96")
	notified("Held", "firing")
	fmt.Fprint(conn, "motor,machine=a temperature=90")
	notified("Held", "resolved")
	sent := uint64(3)
	// The first window begins with the first point of all; the windows of the next second are whole.
	fired := false
	for range 40 {
		fmt.Fprint(conn, "pump,machine=b flow=9")
		sent++
		time.Sleep(50 * time.Millisecond)
		select {
		case got := <-came:
			fired = got.Labels["alertname"] == "Window" && got.Status == "firing"
		default:
		}
	}
	if !fired {
		t.Fatal("the alert on a window does not fire")
	}
	eventually(t, "a record in the database", func() error {
		for _, line := range sink.all() {
			if strings.HasPrefix(line, "pump_1s,machine=b n=") {
				return nil
			}
		}
		return fmt.Errorf("no record came")
	})
	eventually(t, "the ledger", func() error {
		s, err := g.status()
		if err != nil {
			return err
		}
		l := s.Ledger
		if l.Received != sent || l.Filtered != 1 || l.Derived == 0 || l.Written != sent-1+l.Derived ||
			l.Residue != 0 {
			return fmt.Errorf("ledger is %+v, %d points were sent", l, sent)
		}
		return nil
	})
}
