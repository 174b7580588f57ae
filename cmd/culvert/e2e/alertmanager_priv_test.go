package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// alertmanager is a private Alertmanager in the gateway's namespace.
const alertmanager = "http://127.0.0.1:9093"

func startAlertmanager(t *testing.T, lab *testenv.Lab) {
	t.Helper()
	program, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		testenv.Skip(t, "prometheus-alertmanager is not installed")
	}
	dir := t.TempDir()
	// It would resolve alerts after a second if nobody told it how long they last.
	config := write(t, dir, "config.yml", "global: {resolve_timeout: 1s}\nroute: {receiver: none}\n"+
		"receivers: [{name: none}]\n")
	command := exec.Command(program, "--config.file="+config, "--storage.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+strings.TrimPrefix(alertmanager, "http://"), "--cluster.listen-address=")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	command.Stdout, command.Stderr = log, log
	if err := lab.Gateway.Do(command.Start); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
	})
	eventually(t, "Alertmanager is ready", func() error {
		response, err := namespaceClient(lab).Get(alertmanager + "/-/ready")
		if err != nil {
			return err
		}
		response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", response.Status)
		}
		return nil
	})
}

// shown is an alert as Alertmanager's API shows it.
type shown struct {
	Labels, Annotations map[string]string
	GeneratorURL        string
	StartsAt            time.Time
}

func shownAlerts(lab *testenv.Lab) (alerts []shown, err error) {
	response, err := namespaceClient(lab).Get(alertmanager + "/api/v2/alerts")
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s", response.Status)
	}
	return alerts, json.NewDecoder(response.Body).Decode(&alerts)
}

// Goal: a state change goes from a packet to a real Alertmanager, as a point to a real InfluxDB, and to a
// unix socket that was not there when it began, and its end does as well. Method: one machine gets hot and
// cools down, under a gateway with these three notifiers.
func TestPrivAlertToAlertmanagerInfluxDBAndUnixSocket(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	startAlertmanager(t, lab)
	d := newDatabase(t, lab)
	d.start()
	socket := filepath.Join(t.TempDir(), "alerts")
	g := start(t, lab, "run", "-c", configureAlerts(t, lab, d.url, "        actions: [ops, plc, history]\n",
		fmt.Sprintf("{name: ops, type: alertmanager, url: %q}, {name: history, type: influxdb}, "+
			"{name: plc, type: unix, address: %q, format: line}", alertmanager, socket)))
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	begin := time.Now().Add(-time.Minute)
	fmt.Fprintf(conn, "motor,machine=m1 temperature=96 %d", begin.UnixNano())
	eventually(t, "Alertmanager shows the alert", func() error {
		alerts, err := shownAlerts(lab)
		if err != nil {
			return err
		}
		if len(alerts) != 1 || alerts[0].Labels["alertname"] != "Hot" ||
			alerts[0].Labels["machine"] != "m1" || alerts[0].Annotations["summary"] != "m1 is at 96" ||
			!alerts[0].StartsAt.Equal(begin.Truncate(time.Millisecond)) ||
			alerts[0].GeneratorURL != "http://127.0.0.1:9490/?rule=Hot" {
			return fmt.Errorf("%+v", alerts)
		}
		return nil
	})
	receiver, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	// The gateway may be another user (make test-user), and a socket is written to like a file.
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	read := func(want string) {
		t.Helper()
		into := make([]byte, 2000)
		receiver.SetReadDeadline(time.Now().Add(waitLimit))
		size, err := receiver.Read(into)
		if err != nil || !strings.Contains(string(into[:size]), want) {
			t.Fatalf("%q, %v, want %q", into[:size], err, want)
		}
	}
	read("firing=true")
	end := begin.Add(30 * time.Second)
	fmt.Fprintf(conn, "motor,machine=m1 temperature=80 %d", end.UnixNano())
	read("firing=false")
	eventually(t, "Alertmanager shows that it is over", func() error {
		alerts, err := shownAlerts(lab)
		if err == nil && len(alerts) != 0 {
			err = fmt.Errorf("%+v", alerts)
		}
		return err
	})
	eventually(t, "the database has both changes", func() error {
		rows, err := d.query("SELECT * FROM culvert_alert")
		if err != nil {
			return err
		}
		var got string
		for _, r := range rows {
			got += fmt.Sprintf("%v %v %v %v\n", r["time"], r["firing"], r["state"], r["machine"])
		}
		want := fmt.Sprintf("%d true firing m1\n%d false resolved m1\n", begin.UnixNano(), end.UnixNano())
		if got != want {
			return fmt.Errorf("%v", rows)
		}
		return nil
	})
	s := g.settled(2)
	for _, n := range s.Notifiers[:3] {
		if n.Delivered != 2 || n.Failed != 0 {
			t.Errorf("%+v", n)
		}
	}
	_, metrics, err := g.get("/metrics")
	if err != nil || !strings.Contains(metrics, `culvert_alerts_total{action="ops",rule="Hot"} 2`) ||
		!strings.Contains(metrics, `culvert_notify_dropped_total{notifier="plc",reason="refused"} 0`) {
		t.Errorf("%v\n%s", err, metrics)
	}
	if code := g.stop(); code != 0 {
		t.Fatalf("exit code %d", code)
	}
}
