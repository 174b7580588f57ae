package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// hot is a rule file with one rule; actions may be empty.
func hot(actions string) string {
	return fmt.Sprintf(`groups:
  - name: motors
    rules:
      - alert: Hot
        on: motor
        expr: temperature > 95.0
        by: [machine]
        labels: {severity: critical}
        annotations: {summary: "{{ tags.machine }} is at {{ temperature }}"}
%s`, actions)
}

// configureAlerts is a gateway with the rule above and these notifiers.
func configureAlerts(t *testing.T, lab *testenv.Lab, url, actions, notifiers string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "rules.yaml", hot(actions))
	return write(t, dir, "culvert.yaml", fmt.Sprintf(`interfaces: [{name: %s, mode: native}]
listeners: [{name: plant, port: %d}]
workers: {frames: 1024}
rules: {files: [rules.yaml]}
notifiers: [%s]
sinks: [{name: main, urls: [%s], database: telemetry}]
`, lab.GatewayInterface, port, notifiers, url))
}

// told is what a notifier of type udp sends.
type told struct {
	Version     int
	Rule, State string
	Fingerprint string
	Labels      map[string]string
	Annotations map[string]string
}

// listenDatagrams is a receiver of notifications in the gateway's namespace.
func listenDatagrams(t *testing.T, lab *testenv.Lab) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	err := lab.Gateway.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// Goal: a change of state reaches a PLC as one datagram of JSON, a person by the log, and both again after
// the gateway was started anew. Method: two lives, two machines each.
func TestPrivAlertsByDatagramAndLog(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 2)
	sink := newRecorder(t, lab)
	plc := listenDatagrams(t, lab)
	config := configureAlerts(t, lab, sink.url, "        actions: [plc, journal]\n", fmt.Sprintf(
		"{name: plc, type: udp, address: %q}, {name: journal, type: log}", plc.LocalAddr()))
	for life := range 2 {
		g := start(t, lab, "run", "-c", config)
		g.ready()
		conn := udpSender(t, lab, lab.GatewayIPv4)
		fingerprints := map[string]string{}
		for n, line := range []string{
			"motor,machine=m1 temperature=96.5 1", "motor,machine=m2 temperature=99 2",
			"motor,machine=m1 temperature=90 3",
		} {
			if _, err := fmt.Fprint(conn, line); err != nil {
				t.Fatal(err)
			}
			var got told
			plc.SetReadDeadline(time.Now().Add(waitLimit))
			into := make([]byte, 2000)
			size, err := plc.Read(into)
			if err != nil {
				t.Fatalf("life %d, change %d: %v", life, n, err)
			}
			if err := json.Unmarshal(into[:size], &got); err != nil {
				t.Fatalf("%q: %v", into[:size], err)
			}
			machine, state := []string{"m1", "m2", "m1"}[n], []string{"firing", "firing", "resolved"}[n]
			if got.Version != 1 || got.Rule != "Hot" || got.State != state ||
				got.Labels["machine"] != machine || got.Labels["severity"] != "critical" ||
				!strings.HasPrefix(got.Annotations["summary"], machine) {
				t.Fatalf("life %d, change %d: %q", life, n, into[:size])
			}
			if before, known := fingerprints[machine]; known && before != got.Fingerprint {
				t.Fatalf("%s is %s when it begins and %s when it ends", machine, before, got.Fingerprint)
			}
			fingerprints[machine] = got.Fingerprint
		}
		if fingerprints["m1"] == fingerprints["m2"] {
			t.Fatal("two alerts have one fingerprint")
		}
		g.settled(3)
		eventually(t, "both notifiers have delivered", func() error {
			s, err := g.status()
			if err != nil {
				return err
			}
			// A latency for each delivery of each notifier.
			if s.Latency["alert"].Count != 6 || len(s.Notifiers) != 2 || s.Notifiers[0].Delivered != 3 ||
				s.Notifiers[1].Delivered != 3 || s.Rules[0].Firing != 1 || s.Rules[0].Transitions != 3 {
				return fmt.Errorf("%+v, %+v, %+v", s.Notifiers, s.Rules, s.Latency["alert"])
			}
			return nil
		})
		if code := g.stop(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		firing, resolved := 0, 0
		for lines := bufio.NewScanner(strings.NewReader(g.output.String())); lines.Scan(); {
			if strings.Contains(lines.Text(), "Hot") {
				firing += strings.Count(lines.Text(), "alert firing")
				resolved += strings.Count(lines.Text(), "alert resolved")
			}
		}
		if firing != 2 || resolved != 1 {
			t.Fatalf("%d alerts begin and %d end in the log, want 2 and 1", firing, resolved)
		}
	}
}

// Goal: a rule without actions is told to the log, even where no notifier is configured or another is.
// Method: both configurations.
func TestPrivAlertWithoutActions(t *testing.T) {
	need(t)
	for _, notifiers := range []string{"", "{name: journal, type: log}"} {
		lab := testenv.NewLab(t, 1)
		sink := newRecorder(t, lab)
		g := start(t, lab, "run", "-c", configureAlerts(t, lab, sink.url, "", notifiers))
		g.ready()
		fmt.Fprint(udpSender(t, lab, lab.GatewayIPv4), "motor,machine=m7 temperature=100 1")
		eventually(t, "the alert is in the log", func() error {
			output := g.output.String()
			if !strings.Contains(output, "alert firing") || !strings.Contains(output, "m7") {
				return fmt.Errorf("notifiers %q: %q", notifiers, output)
			}
			return nil
		})
		if code := g.stop(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
	}
}

// Goal: a webhook that fails at first gets the newest state of an alert, once, and what follows. Method: it
// answers 500 until three changes of one alert have come.
func TestPrivWebhookThatFailsFirst(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	listener := listen(t, lab)
	came := make(chan string, 100)
	var healed atomic.Bool
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if !healed.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		var body struct{ Alerts []notification }
		if err := json.NewDecoder(request.Body).Decode(&body); err != nil {
			t.Errorf("read a notification: %v", err)
		}
		for _, alert := range body.Alerts {
			came <- alert.Status
		}
	})}
	go server.Serve(listener)
	defer server.Close()
	g := start(t, lab, "run", "-c", configureAlerts(t, lab, sink.url, "        actions: [ops]\n",
		fmt.Sprintf("{name: ops, type: webhook, url: \"http://%s\"}", listener.Addr())))
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	for n, temperature := range []int{96, 90, 97} {
		fmt.Fprintf(conn, "motor,machine=m1 temperature=%d %d", temperature, n+1)
	}
	eventually(t, "three changes", func() error {
		s, err := g.status()
		if err == nil && (s.Rules[0].Transitions != 3 || s.Latency["alert"].Count == 0) {
			err = fmt.Errorf("%+v, %+v", s.Rules, s.Latency["alert"])
		}
		return err
	})
	healed.Store(true)
	for n, want := range []string{"firing", "resolved"} {
		select {
		case got := <-came:
			if got != want {
				t.Fatalf("notification %d is %q, want %q", n, got, want)
			}
		case <-time.After(waitLimit):
			t.Fatalf("notification %d does not come", n)
		}
		if n == 0 {
			fmt.Fprint(conn, "motor,machine=m1 temperature=90 4")
		}
	}
	eventually(t, "delivered", func() error {
		s, err := g.status()
		if err == nil && (s.Notifiers[0].Delivered != 2 || s.Notifiers[0].Failed != 0 ||
			s.Notifiers[0].Queued != 0) {
			err = fmt.Errorf("%+v", s.Notifiers)
		}
		return err
	})
}

// Goal: a stop does not wait for a receiver that is gone, and says what was not delivered. Method: a webhook
// on a port that nobody has.
func TestPrivStopSaysWhatIsLeft(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	g := start(t, lab, "run", "-c", configureAlerts(t, lab, sink.url, "        actions: [ops, journal]\n",
		`{name: ops, type: webhook, url: "http://127.0.0.1:9"}, {name: journal, type: log}`))
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	for m := range 3 {
		fmt.Fprintf(conn, "motor,machine=m%d temperature=99 %d", m, m+1)
	}
	eventually(t, "the alerts wait", func() error {
		s, err := g.status()
		if err == nil && (s.Notifiers[0].Queued != 3 || s.Notifiers[1].Delivered != 3) {
			err = fmt.Errorf("%+v", s.Notifiers)
		}
		return err
	})
	begun := time.Now()
	code := g.stop()
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("the stop took %v", took)
	}
	if want := `3 are left: 3 of notifier "ops"`; code != 1 ||
		!strings.Contains(strings.ReplaceAll(g.output.String(), `\"`, `"`), want) {
		t.Errorf("exit code %d, and not %q in %s", code, want, g.output)
	}
}
