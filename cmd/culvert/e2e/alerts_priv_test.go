package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"culvert/scripts/testenv"
)

// notification is what the webhook's body says of one alert, in Alertmanager's format.
type notification struct {
	Status string
	Labels map[string]string
}

// webhook receives notifications in the gateway's namespace.
func webhook(t *testing.T, lab *testenv.Lab) (url string, came chan notification) {
	t.Helper()
	listener := listen(t, lab)
	came = make(chan notification, 1000)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		var body struct{ Alerts []notification }
		if err := json.NewDecoder(request.Body).Decode(&body); err != nil {
			t.Errorf("read a notification: %v", err)
		}
		for _, alert := range body.Alerts {
			came <- alert
		}
	})}
	go server.Serve(listener)
	t.Cleanup(func() { server.Close() })
	return "http://" + listener.Addr().String(), came
}

// Goal: a key is one state, whichever queue or socket its points come by. Method: one sender's points
// alternate over two queues and the slow path; each changes the state, and each change is notified once.
func TestPrivOneKeyOverAllWaysIsOneState(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	sink := newRecorder(t, lab)
	url, came := webhook(t, lab)
	dir := t.TempDir()
	write(t, dir, "rules.yaml", `groups:
  - name: motors
    rules:
      - alert: Hot
        on: motor
        expr: temperature > 95.0 && tags.line == "a"
        by: [machine]
        labels: {severity: critical}
        annotations: {summary: "{{ tags.machine }}: {{ temperature }}"}
        actions: [ops]
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
	// Several flows, so that both queues are used; fragments go by the kernel.
	var ways []func(line string)
	for range 4 {
		conn := udpSender(t, lab, lab.GatewayIPv4)
		ways = append(ways, func(line string) { fmt.Fprint(conn, line) })
	}
	fragments := udpSender(t, lab, lab.GatewayIPv4)
	ways = append(ways, func(line string) {
		fmt.Fprintf(fragments, "# %s\n%s", strings.Repeat("x", 3000), line)
	})
	const rounds = 60
	for n := range rounds {
		temperature, want := 96, "firing"
		if n%2 == 1 {
			temperature, want = 90, "resolved"
		}
		ways[n%len(ways)](fmt.Sprintf("motor,machine=m1,line=a temperature=%d %d", temperature, n+1))
		var got notification
		eventually(t, fmt.Sprintf("notification %d", n), func() error {
			select {
			case got = <-came:
				return nil
			default:
				return fmt.Errorf("none came for temperature %d", temperature)
			}
		})
		if got.Status != want || got.Labels["machine"] != "m1" || got.Labels["severity"] != "critical" {
			t.Fatalf("notification %d is %+v, want %s", n, got, want)
		}
	}
	s := g.settled(rounds)
	if len(s.Rules) != 1 || s.Rules[0].Transitions != rounds || s.Rules[0].Firing != 0 {
		t.Fatalf("%+v", s.Rules)
	}
	if s.Packets.Kernel == 0 || s.Latency["alert"].Count != rounds {
		t.Fatalf("%d packets by the kernel, %d alert latencies", s.Packets.Kernel, s.Latency["alert"].Count)
	}
	select {
	case extra := <-came:
		t.Fatalf("one notification too many: %+v", extra)
	default:
	}
}
