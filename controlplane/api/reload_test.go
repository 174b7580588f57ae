package api

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"culvert/controlplane/telemetry"
)

// Goal: a reload is posted, by who may, and answers with what changed or with what is wrong.
func TestReloadIsPosted(t *testing.T) {
	var err error
	calls := 0
	s := start(t, Config{Reload: func() (*telemetry.Reload, error) {
		calls++
		return &telemetry.Reload{Alerts: 7}, err
	}})
	f := func(method, path string, code int, part string) {
		t.Helper()
		if got, body, _ := ask(t, s, method, path); got != code || !strings.Contains(body, part) {
			t.Errorf("%s %s: %d, want %d and %q in\n%s", method, path, got, code, part, body)
		}
	}
	f("POST", "/api/v1/reload", 200, `"alerts": 7`)
	f("POST", "/pipeline/reload", 200, `"alerts": 7`)
	f("GET", "/api/v1/reload", 405, `"error": "/api/v1/reload takes POST, not GET"`)
	if calls != 2 {
		t.Errorf("%d reloads, want 2", calls)
	}
	err = &telemetry.Refused{File: "c.yaml", Mistakes: []string{"c.yaml:1:2: bad", "worse"}}
	f("POST", "/api/v1/reload", 422, `"error": "c.yaml: 2 mistakes, nothing is changed"`)
	f("POST", "/api/v1/reload", 422, `"c.yaml:1:2: bad"`)
	err = errors.New("stopping")
	f("POST", "/api/v1/reload", 503, `"error": "stopping"`)
	s = start(t, Config{})
	f("POST", "/api/v1/reload", 404, "there is nothing")
}

// Goal: nobody changes the gateway from elsewhere without the token. Method: servers that listen here and
// everywhere, with a token and without, asked in every way.
func TestReloadTakesTheToken(t *testing.T) {
	const here, everywhere = "127.0.0.1:0", "0.0.0.0:0"
	f := func(listen, token string, want int, header ...string) {
		t.Helper()
		s := &Server{config: Config{Listen: listen, Token: token, Log: slog.New(slog.DiscardHandler),
			Reload: func() (*telemetry.Reload, error) { return &telemetry.Reload{}, nil }}}
		request, err := http.NewRequest("POST", "http://127.0.0.1:9490/api/v1/reload", nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(header); i += 2 {
			request.Header.Set(header[i], header[i+1])
		}
		if got, why := s.mayChange(request); got != want || want != 0 && why == "" {
			t.Errorf("%s, token %q, %q: %d %s, want %d", listen, token, header, got, why, want)
		}
	}
	f(here, "", 0)
	f("[::1]:1", "", 0)
	f("localhost:1", "", 0)
	f(everywhere, "", 403)
	f(":1", "", 403)
	f("10.0.0.1:1", "", 403)
	f(here, "secret", 401)
	f(everywhere, "secret", 401)
	f(everywhere, "secret", 401, "Authorization", "Bearer wrong")
	f(everywhere, "secret", 401, "Authorization", "Basic secret")
	f(everywhere, "secret", 0, "Authorization", "Bearer secret")
	f(everywhere, "secret", 0, "Authorization", "bearer secret")
	f(here, "", 403, "Origin", "http://evil.example")
	f(here, "", 403, "Origin", "null")
	f(here, "", 0, "Origin", "http://127.0.0.1:9490")
	f(here, "secret", 403, "Origin", "http://evil.example", "Authorization", "Bearer secret")
}

// Goal: the answer is the document, with lists where there is nothing to tell.
func TestReloadIsTheDocument(t *testing.T) {
	s := start(t, Config{Reload: func() (*telemetry.Reload, error) {
		r := &telemetry.Reload{Rules: telemetry.Difference{Added: []string{"g/alert/A"}}}
		r.Fill()
		return r, nil
	}})
	_, body, _ := ask(t, s, "POST", "/api/v1/reload")
	var r telemetry.Reload
	if err := json.Unmarshal([]byte(body), &r); err != nil || r.Rules.Added[0] != "g/alert/A" ||
		strings.Contains(body, "null") {
		t.Errorf("%v\n%s", err, body)
	}
	r.Render(io.Discard)
}
