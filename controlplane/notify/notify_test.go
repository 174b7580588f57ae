package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"culvert/dataplane/wire"
)

// limit is how long a test waits for what takes milliseconds.
const limit = time.Minute

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func alert(rule string, number int, firing bool, actions ...string) Alert {
	return Alert{Rule: rule, Firing: firing, Fingerprint: fmt.Sprintf("%016x", number), Actions: actions,
		Labels:      map[string]string{"machine": fmt.Sprint("m", number), "severity": "critical"},
		Annotations: map[string]string{"summary": "it is hot"},
		Time:        time.Unix(1_700_000_000, int64(number)), Since: time.Unix(1_700_000_000, int64(number)),
		Arrival: monotonic()}
}

func start(t *testing.T, sent func(*Alert, int64), configs ...Config) *Notifiers {
	t.Helper()
	n, err := New(configs, quiet(), sent)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		n.Close(ctx)
	})
	return n
}

// waitFor polls the first notifier's counters until they are as they should be.
func waitFor(t *testing.T, n *Notifiers, done func(s *Stats) bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(time.Millisecond) {
		s := n.Stats()[0]
		if done(&s) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("counted %+v", s)
		}
	}
}

func finish(t *testing.T, n *Notifiers) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if err := n.Close(ctx); err != nil {
		t.Fatal(err)
	}
}

// datagram is what type udp sends as JSON.
type datagram struct {
	Version                  int
	Rule, State, Fingerprint string
	Time, Since              time.Time
	Labels, Annotations      map[string]string
	Truncated                bool
}

// hook is a webhook receiver that keeps what it accepted.
type hook struct {
	*httptest.Server
	mutex    sync.Mutex
	messages []message
}

// newHook answers the i-th request by answer(i); 0 stands for 200.
func newHook(t *testing.T, answer func(w http.ResponseWriter, i int) int) *hook {
	t.Helper()
	h := &hook{}
	h.Server = httptest.NewServer(h.handler(t, answer))
	t.Cleanup(h.Server.Close)
	return h
}

func (h *hook) handler(t *testing.T, answer func(w http.ResponseWriter, i int) int) http.Handler {
	requests := 0
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m message
		err := json.NewDecoder(r.Body).Decode(&m)
		if err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s request of type %q: %v", r.Method, r.Header.Get("Content-Type"), err)
		}
		h.mutex.Lock()
		i := requests
		requests++
		h.mutex.Unlock()
		if code := answer(w, i); code != 0 {
			w.WriteHeader(code)
			return
		}
		h.mutex.Lock()
		h.messages = append(h.messages, m)
		h.mutex.Unlock()
	})
}

// changes are the accepted alerts in order, as "m1 firing".
func (h *hook) changes() []string {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	var all []string
	for _, m := range h.messages {
		for _, a := range m.Alerts {
			all = append(all, a.Labels["machine"]+" "+a.Status)
		}
	}
	return all
}

func always() func(http.ResponseWriter, int) int {
	return func(http.ResponseWriter, int) int { return 0 }
}

func TestWebhookSpeaksAlertmanagersVersion4(t *testing.T) {
	h := newHook(t, always())
	n := start(t, nil, Config{Name: "ops", Type: "webhook", URLs: []string{h.URL}})
	n.Send(alert("Hot", 1, true, "ops"))
	waitFor(t, n, func(s *Stats) bool { return s.Delivered == 1 })
	end := alert("Hot", 1, false, "ops")
	end.Time = end.Time.Add(time.Minute)
	n.Send(end)
	finish(t, n)
	if got := h.changes(); len(got) != 2 || got[0] != "m1 firing" || got[1] != "m1 resolved" {
		t.Fatalf("got %v", got)
	}
	first, last := h.messages[0], h.messages[len(h.messages)-1]
	if first.Version != "4" || first.Status != "firing" || first.Receiver != "ops" ||
		first.GroupLabels["alertname"] != "Hot" || first.CommonLabels["severity"] != "critical" ||
		first.CommonAnnotations["summary"] != "it is hot" {
		t.Errorf("message %+v", first)
	}
	a, b := first.Alerts[0], last.Alerts[len(last.Alerts)-1]
	if a.Labels["alertname"] != "Hot" || a.Fingerprint != "0000000000000001" || !a.EndsAt.IsZero() {
		t.Errorf("firing %+v", a)
	}
	if last.Status != "resolved" || !b.StartsAt.Equal(a.StartsAt) || !b.EndsAt.Equal(end.Time) {
		t.Errorf("resolved %+v", b)
	}
}

func TestWebhookIsTriedAgain(t *testing.T) {
	h := newHook(t, func(w http.ResponseWriter, i int) int {
		return []int{500, 503, 429, 502, 0, 0, 0}[i]
	})
	var mutex sync.Mutex
	hooks := 0
	n := start(t, func(a *Alert, at int64) {
		mutex.Lock()
		defer mutex.Unlock()
		hooks++
		if at < a.Arrival {
			t.Errorf("sent at %d, before the arrival at %d", at, a.Arrival)
		}
	}, Config{Name: "ops", Type: "webhook", URLs: []string{h.URL}, First: time.Millisecond,
		Max: 2 * time.Millisecond})
	n.Send(alert("Hot", 1, true, "ops"))
	finish(t, n)
	if got := h.changes(); len(got) != 1 {
		t.Errorf("got %v", got)
	}
	if s := n.Stats()[0]; s.Delivered != 1 || s.Lost() != 0 || s.Retries != 4 || s.Queued != 0 ||
		s.ByRule["Hot"] != 1 {
		t.Errorf("counted %+v", s)
	}
	if hooks != 1 {
		t.Errorf("the hook was told %d times, want once for one alert", hooks)
	}
}

func TestDatagrams(t *testing.T) {
	receiver, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer receiver.Close()
	n := start(t, nil, Config{Name: "plc", Type: "udp", Address: receiver.LocalAddr().String()})
	large := alert("Large", 2, false, "plc")
	large.Annotations = map[string]string{"summary": strings.Repeat("x", wire.TextMax)}
	huge := alert("Huge", 3, true, "plc")
	huge.Labels = map[string]string{"x": strings.Repeat("x", wire.TextMax)}
	n.Send(alert("Hot", 1, true, "plc"))
	n.Send(large)
	n.Send(huge)
	finish(t, n)
	frame := make([]byte, 1<<16)
	read := func() (d datagram) {
		t.Helper()
		receiver.SetReadDeadline(time.Now().Add(limit))
		size, _, err := receiver.ReadFrom(frame)
		if err != nil {
			t.Fatal(err)
		}
		if frame[size-1] != '\n' || bytes.IndexByte(frame[:size-1], '\n') >= 0 {
			t.Errorf("not one line: %q", frame[:size])
		}
		if err := json.Unmarshal(frame[:size], &d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := read()
	if d.Version != 1 || d.Rule != "Hot" || d.State != "firing" || d.Labels["machine"] != "m1" ||
		d.Annotations["summary"] != "it is hot" || d.Fingerprint != "0000000000000001" || d.Truncated ||
		!d.Time.Equal(time.Unix(1_700_000_000, 1)) {
		t.Errorf("got %+v", d)
	}
	if d = read(); d.Rule != "Large" || d.State != "resolved" || !d.Truncated || d.Annotations != nil {
		t.Errorf("got %+v", d)
	}
	if s := n.Stats()[0]; s.Delivered != 2 || s.Refused != 1 {
		t.Errorf("counted %+v", s)
	}
}

// Goal: a datagram is not lost because an earlier one met a closed port.
func TestDatagramsAfterAClosedPort(t *testing.T) {
	receiver, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := receiver.LocalAddr().String()
	receiver.Close()
	n := start(t, nil, Config{Name: "plc", Type: "udp", Address: address, First: time.Millisecond})
	wait := func(delivered uint64) {
		t.Helper()
		deadline := time.Now().Add(limit)
		for n.Stats()[0].Delivered < delivered {
			if time.Now().After(deadline) {
				t.Fatalf("counted %+v", n.Stats()[0])
			}
			time.Sleep(time.Millisecond)
		}
	}
	n.Send(alert("Hot", 1, true, "plc"))
	wait(1)
	if receiver, err = net.ListenPacket("udp", address); err != nil {
		t.Skipf("the port was taken meanwhile: %v", err)
	}
	defer receiver.Close()
	n.Send(alert("Hot", 2, true, "plc"))
	wait(2)
	receiver.SetReadDeadline(time.Now().Add(limit))
	frame := make([]byte, 1<<16)
	size, _, err := receiver.ReadFrom(frame)
	if err != nil || !bytes.Contains(frame[:size], []byte(`"m2"`)) {
		t.Errorf("got %q, %v", frame[:size], err)
	}
}

func TestLogAndAlertsWithoutActions(t *testing.T) {
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	n, err := New([]Config{{Name: "a", Type: "log"}, {Name: "b", Type: "log"}}, log, nil)
	if err != nil {
		t.Fatal(err)
	}
	n.Send(alert("Hot", 1, true))
	n.Send(alert("Hot", 1, false, "b", "b"))
	n.Send(alert("Hot", 1, false, "nobody"))
	finish(t, n)
	s := n.Stats()
	if s[0].Delivered != 1 || s[1].Delivered != 2 {
		t.Errorf("counted %+v", s)
	}
	for _, want := range []string{`level=WARN msg="alert firing" notifier=a rule=Hot labels.machine=m1`,
		`level=INFO msg="alert resolved" notifier=b`,
		`msg="a rule's action names no notifier" rule=Hot action=nobody`} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, &text)
		}
	}

	text.Reset()
	if n, err = New(nil, log, nil); err != nil {
		t.Fatal(err)
	}
	n.Send(alert("Cold", 1, true))
	finish(t, n)
	if !strings.Contains(text.String(), `msg="alert firing" notifier=log rule=Cold`) {
		t.Errorf("without any notifier: %s", &text)
	}
}

// Goal: names tell notifiers apart, the built-in one's too. Method: a notifier of another type has its name.
func TestBuiltinNameIsTaken(t *testing.T) {
	n := start(t, nil, Config{Name: "log", Type: "udp", Address: "127.0.0.1:9"})
	seen := map[string]string{}
	for _, s := range n.Stats() {
		if other, twice := seen[s.Name]; twice {
			t.Errorf("both %s and %s are called %q", other, s.Type, s.Name)
		}
		seen[s.Name] = s.Type
	}
	if len(seen) != 2 || seen["log"] != "udp" {
		t.Errorf("notifiers %v", seen)
	}
}

func TestNewRefuses(t *testing.T) {
	for _, c := range []Config{{Name: "a", Type: "pigeon"}, {Name: "a", Type: "webhook", URLs: []string{"x"}},
		{Name: "a", Type: "udp", Address: "x"}} {
		_, err := New([]Config{c}, quiet(), nil)
		if err == nil || !strings.Contains(err.Error(), `notifier "a"`) {
			t.Errorf("%+v gives %v", c, err)
		}
	}
	twice := Config{Name: "a", Type: "log"}
	if _, err := New([]Config{twice, twice}, quiet(), nil); err == nil {
		t.Error("a name may be there twice")
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	f := func(text string, want time.Duration) {
		t.Helper()
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q gives %v, want %v", text, got, want)
		}
	}
	f("", 0)
	f("soon", 0)
	f("-1", 0)
	f("3", 3*time.Second)
	f("99999", retryAfterMax)
	f(now.Add(20*time.Second).Format(http.TimeFormat), 20*time.Second)
	f(now.Add(-20*time.Second).Format(http.TimeFormat), 0)
}

// Goal: the notifier for alerts without actions has a name of its own, whatever the others are called.
func TestNameOfTheBuiltInNotifier(t *testing.T) {
	n := start(t, nil, Config{Name: "log", Type: "udp", Address: "127.0.0.1:9"})
	s := n.Stats()
	if len(s) != 2 || s[0].Name != "log" || s[0].Type != "udp" || s[1].Name != "log_" || s[1].Type != "log" {
		t.Errorf("%+v", s)
	}
	n.Send(alert("Hot", 1, true))
	finish(t, n)
	if s = n.Stats(); s[0].Delivered != 0 || s[1].Delivered != 1 {
		t.Errorf("counted %+v", s)
	}
}
