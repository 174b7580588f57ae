package notify

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// Goal: an answer that speaks of the message is a refusal, every other failure is tried again.
func TestWebhookAnswers(t *testing.T) {
	for code, refused := range map[int]bool{500: false, 502: false, 503: false, 429: false, 408: false,
		404: false, 401: false, 403: false, 302: false, 400: true, 413: true, 415: true, 422: true} {
		h := newHook(t, func(w http.ResponseWriter, i int) int {
			w.Header().Set("Location", "/elsewhere")
			if i < 2 {
				return code
			}
			return 0
		})
		n := start(t, nil, Config{Name: "ops", Type: "webhook", URLs: []string{h.URL},
			First: time.Millisecond})
		n.Send(alert("Hot", 1, true, "ops"))
		finish(t, n)
		s := n.Stats()[0]
		if refused && (s.Refused != 1 || s.Retries != 0 || s.Delivered != 0) ||
			!refused && (s.Refused != 0 || s.Retries != 2 || s.Delivered != 1) {
			t.Errorf("%d: counted %+v", code, s)
		}
	}
}

// Goal: who configured an address that has moved reads where to, without the secret that it may hold.
func TestWebhookThatMoved(t *testing.T) {
	h := newHook(t, func(w http.ResponseWriter, i int) int {
		if i > 0 {
			return 0
		}
		w.Header().Set("Location", "https://elsewhere.example/secret")
		return http.StatusPermanentRedirect
	})
	var text bytes.Buffer
	n, err := New([]Config{{Name: "ops", Type: "webhook", First: time.Millisecond, URLs: []string{h.URL}}},
		slog.New(slog.NewTextHandler(&text, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	n.Send(alert("Hot", 1, true, "ops"))
	finish(t, n)
	const want = "308 Permanent Redirect and sends elsewhere, to https://elsewhere.example/…, where " +
		"alerts do not follow"
	if !strings.Contains(text.String(), want) || strings.Contains(text.String(), "secret") {
		t.Errorf("the log says %s", text.String())
	}
}

// Goal: a receiver that needs longer than the time-out is not told the same for ever. Method: one that takes
// five times as long.
func TestWebhookThatIsSlow(t *testing.T) {
	h := newHook(t, func(http.ResponseWriter, int) int {
		time.Sleep(100 * time.Millisecond)
		return 0
	})
	n := start(t, nil, Config{Name: "ops", Type: "webhook", URLs: []string{h.URL}, First: time.Millisecond,
		Timeout: 20 * time.Millisecond})
	n.Send(alert("Hot", 1, true, "ops"))
	waitFor(t, n, func(s *Stats) bool { return s.Delivered == 1 })
	if s := n.Stats()[0]; s.Retries == 0 || s.Queued != 0 {
		t.Errorf("counted %+v", s)
	}
}

// Goal: no receiver is told of an end before the begin. Method: a point that comes late ends the alert.
func TestWebhookEndedByALatePoint(t *testing.T) {
	h := newHook(t, always())
	n := start(t, nil, Config{Name: "ops", Type: "webhook", URLs: []string{h.URL}})
	n.Send(alert("Hot", 1, true, "ops"))
	waitFor(t, n, func(s *Stats) bool { return s.Delivered == 1 })
	end := alert("Hot", 1, false, "ops")
	end.Time = end.Since.Add(-time.Minute)
	n.Send(end)
	finish(t, n)
	last := h.messages[len(h.messages)-1].Alerts[0]
	if last.Status != "resolved" || !last.EndsAt.Equal(last.StartsAt) {
		t.Errorf("told %+v", last)
	}
}

// Goal: a receiver that is not there is waited for, and the log says why without its secret path.
func TestWebhookReceiverThatComesLater(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	var text bytes.Buffer
	n, err := New([]Config{{Name: "ops", Type: "webhook", First: time.Millisecond,
		URLs: []string{"http://" + closed.Addr().String() + "/secret"}}},
		slog.New(slog.NewTextHandler(&text, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	n.Send(alert("Hot", 1, true, "ops"))
	waitFor(t, n, func(s *Stats) bool { return s.Retries > 2 })
	h := &hook{}
	listener, err := net.Listen("tcp", closed.Addr().String())
	if err != nil {
		t.Skipf("the port was taken meanwhile: %v", err)
	}
	server := &http.Server{Handler: h.handler(t, always())}
	go server.Serve(listener)
	defer server.Close()
	finish(t, n)
	if got := h.changes(); len(got) != 1 || got[0] != "m1 firing" {
		t.Errorf("got %v", got)
	}
	if log := text.String(); strings.Contains(log, "secret") || !strings.Contains(log, "connection refused") {
		t.Errorf("logged %s", log)
	}
}

// Goal: alerts of one rule share messages, those of several don't, and none is lost. Method: 10 000 alerts of
// four rules, in turn, against a receiver that fails now and then.
func TestWebhookBatches(t *testing.T) {
	h := newHook(t, func(_ http.ResponseWriter, i int) int {
		if i%7 == 3 {
			return 500
		}
		return 0
	})
	n := start(t, nil, Config{Name: "ops", Type: "webhook", URLs: []string{h.URL}, First: time.Microsecond})
	const alerts = 10_000
	for i := range alerts {
		n.Send(alert(fmt.Sprint("Rule", i%4), i, true, "ops"))
	}
	finish(t, n)
	seen := map[string]bool{}
	for _, m := range h.messages {
		for _, a := range m.Alerts {
			if a.Labels["alertname"] != m.GroupLabels["alertname"] {
				t.Fatalf("%v in a message of %v", a.Labels, m.GroupLabels)
			}
			if seen[a.Fingerprint] {
				t.Fatalf("%s came twice", a.Fingerprint)
			}
			seen[a.Fingerprint] = true
		}
	}
	if len(seen) != alerts {
		t.Errorf("%d alerts came, want %d", len(seen), alerts)
	}
	if len(h.messages) > alerts/webhookBatchMax*2 {
		t.Errorf("%d messages for %d alerts", len(h.messages), alerts)
	}
}

// Goal: a receiver is reached through the proxy that is named for it, which looks its name up, and no
// password of the proxy is shown. Method: a name that nobody knows, and a server that answers for it.
func TestWebhookThroughAProxy(t *testing.T) {
	var mutex sync.Mutex
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mutex.Lock()
		defer mutex.Unlock()
		asked = append(asked, r.Method+" "+r.URL.String()+" "+r.Header.Get("Proxy-Authorization"))
	}))
	t.Cleanup(proxy.Close)
	var text bytes.Buffer
	c := Config{Name: "ops", Type: "webhook", URLs: []string{"http://alerts.invalid/hook"},
		First: time.Millisecond, Proxy: func(*http.Request) (*url.URL, error) {
			return url.Parse(strings.Replace(proxy.URL, "http://", "http://user:secret@", 1))
		}}
	n, err := New([]Config{c}, slog.New(slog.NewTextHandler(&text, nil)), nil)
	if err != nil {
		t.Fatal(err)
	}
	n.Send(alert("Hot", 1, true, "ops"))
	finish(t, n)
	mutex.Lock()
	defer mutex.Unlock()
	if len(asked) != 1 || asked[0] != "POST http://alerts.invalid/hook Basic dXNlcjpzZWNyZXQ=" {
		t.Errorf("the proxy was asked for %q", asked)
	}
	if log := text.String(); !strings.Contains(log, "through the environment's proxy") ||
		!strings.Contains(log, "host=alerts.invalid") || strings.Contains(log, "secret") {
		t.Errorf("the log says %s", log)
	}

	c.Proxy = func(*http.Request) (*url.URL, error) {
		return nil, errors.New(`invalid "http://user:secret@"`)
	}
	if _, err = New([]Config{c}, quiet(), nil); err == nil || strings.Contains(err.Error(), "secret") ||
		!strings.Contains(err.Error(), "for alerts.invalid is no URL: see HTTPS_PROXY") {
		t.Errorf("the error is %v", err)
	}
}
