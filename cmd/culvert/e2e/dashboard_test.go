package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// Goal: a person who opens the dashboard of a gateway under load sees it move, and sees an alert the moment
// it fires; nothing comes from another host. Method: Chromium runs inside of the gateway's namespace, which
// has no way out, while the lab's sender sends; then one point makes a rule true. It is no TestPriv…, since
// the virtual machines of those have no browser.
func TestDashboardInTheLab(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	sink := newRecorder(t, lab)
	dir := t.TempDir()
	write(t, dir, "rules.yaml", `groups:
  - name: motors
    rules:
      - alert: Hot
        on: [motor, plant]
        expr: temperature > 95.0
        by: [machine, sensor]
        annotations: {summary: "{{ tags.machine }} is at {{ temperature }}"}
      - alert: HotOnAverage
        on: plant
        expr: avg(temperature[10s]) > 99.0
        by: [sensor]
`)
	path := write(t, dir, "culvert.yaml", fmt.Sprintf(`gateway: {id: plant-7}
interfaces: [{name: gw0, mode: native}]
listeners: [{name: plant, port: %d}]
workers: {frames: 1024}
rules: {files: [rules.yaml]}
notifiers: [{name: log, type: log}]
sinks: [{name: main, urls: [%s], database: telemetry}]
`, port, sink.url))
	g := start(t, lab, "run", "-c", path)
	g.ready()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	load := exec.CommandContext(ctx, culvert, "load", "--to", fmt.Sprintf("%s:%d", lab.GatewayIPv4, port),
		"--rate", "20000", "--points-per-packet", "10", "--series", "100", "--duration", "10m")
	load.Cancel = func() error { return load.Process.Signal(os.Interrupt) }
	load.WaitDelay = time.Second
	if err := lab.Sender.Do(load.Start); err != nil {
		t.Fatal(err)
	}
	defer load.Wait()
	defer cancel()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	look := testenv.LookAt(t, "http://127.0.0.1:9490/", "lab", "Hot")
	if err := lab.Gateway.Do(look.Start); err != nil {
		t.Fatal(err)
	}
	look.Moving()
	fmt.Fprint(conn, "motor,machine=m1 temperature=96.5\nmotor,machine=m2 temperature=1x")
	look.Done()
	if s, err := g.status(); err != nil || s.Ledger.Residue != 0 || s.Rules[0].Firing != 1 {
		t.Errorf("%+v, %v", s, err)
	}
}
