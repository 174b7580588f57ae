package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Goal: tap shows what comes, as many points as are asked for, and nothing that steers a terminal; what the
// gateway refuses and a stream that ends are errors.
func TestTapCommand(t *testing.T) {
	const point = `{"taken":"2026-01-02T03:04:05.000006Z","listener":"plant","source":"10.0.0.1:9",` +
		`"worker":"0","line":"m v=1\u001b[2J 5","rules":[{"name":"Hot","kind":"alert","holds":"yes"},` +
		`{"name":"","kind":"drop","holds":"no"},{"name":"Mean","kind":"record","holds":"past"}]}`
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch match := r.URL.Query().Get("match"); {
		case r.URL.Path != "/api/v1/tap":
			t.Errorf("it asks for %s", r.URL.Path)
		case match == "v >":
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"error": "read the expression: it ends"}`)
		case match == "cut":
			fmt.Fprint(w, ": tapping\n\n")
			http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		default:
			for range 3 {
				fmt.Fprintf(w, ": tapping\n\nevent: point\ndata: %s\n\n", point)
			}
		}
	}))
	defer server.Close()
	f := func(code int, want string, arguments ...string) {
		t.Helper()
		var out, diagnostics bytes.Buffer
		got := execute(append([]string{"tap", "--url", server.URL}, arguments...), &out, &diagnostics)
		if all := out.String() + diagnostics.String(); got != code || !strings.Contains(all, want) ||
			strings.Contains(all, "\x1b") {
			t.Errorf("%q ends with %d, want %d and %q:\n%s", arguments, got, code, want, all)
		}
	}
	const shown = "03:04:05.000006  plant  10.0.0.1:9  worker 0  rules: +Hot -drop ~Mean\n    m v=1·[2J 5\n"
	f(0, shown+shown, "-n", "2")
	f(0, point+"\n", "-n", "1", "--json")
	f(0, "rules: + holds, - does not hold, ~ looks at the past\n", "-n", "1")
	f(1, "has ended")
	f(1, "has ended", "--match", "cut")
	f(1, "read the expression: it ends", "--match", "v >")
	f(2, "unknown command", "x")
	var out, diagnostics bytes.Buffer
	if code := execute([]string{"tap", "--url", "http://127.0.0.1:1"}, &out, &diagnostics); code != 1 ||
		!strings.Contains(diagnostics.String(), "is one running there?") {
		t.Errorf("nobody there: %d %s", code, diagnostics.String())
	}
}
