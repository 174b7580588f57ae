package api

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"

	"culvert/controlplane/telemetry"
)

// Goal: points come as events with the expression handed on, an expression that is wrong is an answer, and
// nobody from elsewhere gets any.
func TestTap(t *testing.T) {
	s := start(t, Config{Tap: func(_ context.Context, match string,
		send func(*telemetry.TappedPoint) error) error {
		if match == "wrong" {
			return errors.New("read the expression: it is wrong")
		}
		return errors.Join(send(nil), send(&telemetry.TappedPoint{Listener: "plant", Line: "m v=1 " + match}))
	}})
	code, body, header := ask(t, s, "GET", "/api/v1/tap?match=v%20%3E%200")
	if kind := header.Get("Content-Type"); code != 200 || kind != "text/event-stream" ||
		!strings.HasPrefix(body, ": tapping\n\nevent: point\ndata: {") ||
		!strings.Contains(body, `"listener":"plant"`) || !strings.Contains(body, `m v=1 v \u003e 0`) {
		t.Errorf("%d %s: %s", code, kind, body)
	}
	code, body, header = ask(t, s, "GET", "/api/v1/tap?match=wrong")
	if code != 400 || !strings.Contains(body, "it is wrong") ||
		header.Get("Content-Type") != "application/json" {
		t.Errorf("a wrong expression: %d %s", code, body)
	}
	request, answer := httptest.NewRequest("GET", "/api/v1/tap", nil), httptest.NewRecorder()
	request.RemoteAddr = "192.0.2.1:1234"
	s.tap(answer, request)
	if answer.Code != 403 || strings.Contains(answer.Body.String(), "plant") {
		t.Errorf("from elsewhere: %d %s", answer.Code, answer.Body)
	}
	if code, _, _ := ask(t, start(t, Config{}), "GET", "/api/v1/tap"); code != 404 {
		t.Errorf("without a tap: %d", code)
	}
}
