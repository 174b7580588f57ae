package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"culvert/scripts/testenv"
)

// Goal: what is posted is what Alertmanager takes, whatever clocks and names the points have.
func TestAlertsForAlertmanager(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	m := &alertmanager{external: "http://gw:9490", refresh: time.Minute}
	a := alert("Hot & dry", 1, true)
	a.Labels = map[string]string{"odd name": "x", "odd-name": "y", "odd_name": "z", "1st": "1", "empty": "",
		"ü": "u"}
	p := m.postable(&a, now)
	want := map[string]string{"alertname": "Hot & dry", "odd_name": "z", "odd_name_": "x", "odd_name__": "y",
		"_1st": "1", "_": "u"}
	if !maps.Equal(p.Labels, want) {
		t.Errorf("labels %v, want %v", p.Labels, want)
	}
	if !p.StartsAt.Equal(a.Since) || !p.EndsAt.Equal(now.Add(4*time.Minute)) ||
		p.GeneratorURL != "http://gw:9490/?rule=Hot+%26+dry" || p.Annotations["summary"] != "it is hot" {
		t.Errorf("%+v", p)
	}
	// The source's clock is ahead: what would begin or end in the future does so now.
	a.Since, a.Time = now.Add(30*time.Second), now.Add(40*time.Second)
	if p = m.postable(&a, now); !p.StartsAt.Equal(now) || !p.EndsAt.After(now) {
		t.Errorf("%+v", p)
	}
	a.Firing = false
	if p = m.postable(&a, now); !p.StartsAt.Equal(now) || !p.EndsAt.Equal(now) {
		t.Errorf("%+v", p)
	}
	a.Since, a.Time = now.Add(-time.Hour), now.Add(-2*time.Hour)
	if p = m.postable(&a, now); !p.EndsAt.Equal(p.StartsAt) {
		t.Errorf("it ends before it starts: %+v", p)
	}
}

// Goal: each of several Alertmanagers gets every alert, and one that is gone holds up no other.
func TestSeveralAlertmanagers(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	urls := []string{"http://" + gone.Addr().String() + "/"}
	var counts [2]chan int
	for i := range counts {
		counts[i] = make(chan int, 100)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var alerts []postableAlert
			err := json.NewDecoder(r.Body).Decode(&alerts)
			if err != nil || r.URL.Path != "/am/api/v2/alerts" {
				t.Errorf("%s: %v", r.URL.Path, err)
			}
			counts[i] <- len(alerts)
		}))
		t.Cleanup(server.Close)
		urls = append(urls, server.URL+"/am/")
	}
	n := start(t, nil, Config{Name: "ops", Type: "alertmanager", URLs: urls})
	n.Send(alert("Hot", 1, true, "ops"))
	for i := range counts {
		select {
		case got := <-counts[i]:
			if got != 1 {
				t.Errorf("number %d gets %d alerts", i, got)
			}
		case <-time.After(limit):
			t.Fatalf("number %d gets nothing", i)
		}
	}
	waitFor(t, n, func(s *Stats) bool {
		return s.Delivered == 2 && s.ByRule["Hot"] == 1 && s.Queued == 1 && s.Retries > 0
	})
}

// manager is a private Alertmanager, and what its own webhook said.
type manager struct {
	t    *testing.T
	url  string
	came chan messageAlert
}

// newManager starts an Alertmanager that tells a webhook at once.
func newManager(t *testing.T, resolveTimeout time.Duration) *manager {
	t.Helper()
	program, err := exec.LookPath("prometheus-alertmanager")
	if err != nil {
		testenv.Skip(t, "prometheus-alertmanager is missing (install the package of that name)")
	}
	m := &manager{t: t, came: make(chan messageAlert, 1000)}
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var message message
		if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
			t.Error(err)
		}
		for _, a := range message.Alerts {
			m.came <- a
		}
	}))
	t.Cleanup(receiver.Close)
	dir := t.TempDir()
	config := fmt.Sprintf(`global: {resolve_timeout: %s}
route: {receiver: test, group_by: ["..."], group_wait: 0s, group_interval: 200ms, repeat_interval: 1h}
receivers: [{name: test, webhook_configs: [{url: %q, send_resolved: true}]}]
`, resolveTimeout, receiver.URL)
	if err := os.WriteFile(filepath.Join(dir, "config.yml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freePort(t)
	m.url = "http://" + address
	var log bytes.Buffer
	command := exec.Command(program, "--config.file="+filepath.Join(dir, "config.yml"),
		"--storage.path="+filepath.Join(dir, "data"), "--web.listen-address="+address,
		"--cluster.listen-address=")
	command.Stdout, command.Stderr = &log, &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
		if t.Failed() {
			t.Logf("Alertmanager's output:\n%s", &log)
		}
	})
	poll(t, "Alertmanager is ready", func() error {
		answer, err := http.Get(m.url + "/-/ready")
		if err != nil {
			return err
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("%s", answer.Status)
		}
		return nil
	})
	return m
}

// freePort is an address on which nobody listens now.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// poll waits for a condition that another process brings about.
func poll(t *testing.T, what string, condition func() error) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		err := condition()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
	}
}

// shownAlert is an alert as Alertmanager's API shows it.
type shownAlert struct {
	Labels           map[string]string
	StartsAt, EndsAt time.Time
	Status           struct{ State string }
}

// active are the alerts that Alertmanager's API shows, by machine.
func (m *manager) active() (map[string]shownAlert, error) {
	answer, err := http.Get(m.url + "/api/v2/alerts")
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body) // Some MiB for ten thousand.
	if err != nil || answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s, %w", answer.Status, text, err)
	}
	var list []shownAlert
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("%w in %d bytes", err, len(text))
	}
	alerts := map[string]shownAlert{}
	for _, a := range list {
		alerts[a.Labels["machine"]] = a
	}
	return alerts, nil
}

func (m *manager) shows(want int) map[string]shownAlert {
	m.t.Helper()
	var alerts map[string]shownAlert
	poll(m.t, "Alertmanager's API", func() (err error) {
		if alerts, err = m.active(); err == nil && len(alerts) != want {
			err = fmt.Errorf("%d alerts are active, want %d", len(alerts), want)
		}
		return err
	})
	return alerts
}

func (m *manager) told(status, machine string) messageAlert {
	m.t.Helper()
	select {
	case a := <-m.came:
		if a.Status != status || a.Labels["machine"] != machine {
			m.t.Fatalf("Alertmanager tells %+v, want %s %s", a, status, machine)
		}
		return a
	case <-time.After(limit):
		m.t.Fatalf("Alertmanager does not tell that %s is %s", machine, status)
	}
	return messageAlert{}
}

// Goal: a real Alertmanager shows what fires, for as long as it does and not by its own timeout, and tells
// begin and end, each once.
func TestRealAlertmanager(t *testing.T) {
	m := newManager(t, time.Second)
	const refresh = 300 * time.Millisecond
	n := start(t, nil, Config{Name: "ops", Type: "alertmanager", URLs: []string{m.url}, Refresh: refresh,
		External: "http://gw:9490"})
	a := alert("Hot", 1, true, "ops")
	a.Since = time.Now().Add(-10 * time.Second)
	a.Labels["odd tag"] = "x y"
	n.Send(a)
	told := m.told("firing", "m1")
	if told.Labels["odd_tag"] != "x y" || told.Labels["alertname"] != "Hot" ||
		told.Annotations["summary"] != "it is hot" || !told.StartsAt.Equal(a.Since) ||
		told.GeneratorURL != "http://gw:9490/?rule="+url.QueryEscape("Hot") {
		t.Errorf("%+v", told)
	}
	// Longer than the timeout and than what one message promises.
	waitFor(t, n, func(s *Stats) bool { return s.Refreshed >= 8 })
	if shown := m.shows(1)["m1"]; shown.Status.State != "active" ||
		!shown.StartsAt.Equal(a.Since.Truncate(time.Millisecond)) || shown.EndsAt.Before(time.Now()) {
		t.Errorf("%+v", shown)
	}
	end := a
	end.Firing, end.Time = false, time.Now().Add(-time.Second)
	n.Send(end)
	told = m.told("resolved", "m1")
	if !told.StartsAt.Equal(a.Since) || told.EndsAt.After(time.Now()) {
		t.Errorf("%+v", told)
	}
	m.shows(0)
	if len(m.came) != 0 {
		t.Errorf("Alertmanager tells more: %+v", <-m.came)
	}
}

// Goal: a gateway that was away takes up its alerts where it left them. Method: two lives; in the second one
// alert fires again, one ends, and one is not heard of and ends by Reconcile.
func TestRealAlertmanagerOverARestart(t *testing.T) {
	m := newManager(t, time.Minute)
	config := Config{Name: "ops", Type: "alertmanager", URLs: []string{m.url}}
	n := start(t, nil, config)
	for i := range 3 {
		a := alert("Hot", i, true, "ops")
		n.Send(a)
		m.told("firing", fmt.Sprint("m", i))
	}
	finish(t, n)
	state, err := n.State()
	if err != nil {
		t.Fatal(err)
	}
	n = start(t, nil, config)
	if err := n.Restore(state); err != nil {
		t.Fatal(err)
	}
	n.Send(alert("Hot", 0, true, "ops"))
	end := alert("Hot", 1, false, "ops")
	end.Time = time.Now()
	n.Send(end)
	m.told("resolved", "m1")
	kept := alert("Hot", 0, true).Fingerprint
	n.Reconcile(func(fingerprint string) bool { return fingerprint == kept })
	m.told("resolved", "m2")
	if _, there := m.shows(1)["m0"]; !there || len(m.came) != 0 {
		t.Errorf("m0 is shown: %v, and Alertmanager tells %d more", there, len(m.came))
	}
	finish(t, n)
}

// Goal: ten thousand alerts at once are all shown.
func TestRealAlertmanagerOfTenThousand(t *testing.T) {
	m := newManager(t, time.Minute)
	m.came = make(chan messageAlert, 20_000)
	n := start(t, nil, Config{Name: "ops", Type: "alertmanager", URLs: []string{m.url}})
	const alerts = 10_000
	for i := range alerts {
		n.Send(alert("Hot", i, true, "ops"))
	}
	waitFor(t, n, func(s *Stats) bool { return s.Delivered == alerts })
	m.shows(alerts)
	for i := range alerts {
		end := alert("Hot", i, false, "ops")
		end.Time = time.Now()
		n.Send(end)
	}
	waitFor(t, n, func(s *Stats) bool { return s.Delivered == 2*alerts && s.Keys == 0 })
	m.shows(0)
}
