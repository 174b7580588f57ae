package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"culvert/controlplane/telemetry"
)

// Goal: rejects come oldest first with all that is known of them, and go to a file as JSON when asked to.
// Method: a server that answers like a gateway.
func TestRejects(t *testing.T) {
	taken := time.Date(2026, 1, 2, 3, 4, 5, 6_000_000, time.UTC)
	list := []telemetry.Reject{
		{Taken: taken.Add(time.Second), Stage: "sink", Reason: "400", Sink: "main", URL: "http://db:8086",
			Words: "no twos", Text: "m v=2 2"},
		{Taken: taken, Stage: "decode", Reason: "bad_number", Source: "10.0.0.1:99", Listener: "plant",
			Column: 5, Text: "m v=x"},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/api/v1/rejects" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"rejects": list})
	}))
	defer server.Close()
	var said bytes.Buffer
	run := func(arguments ...string) string {
		t.Helper()
		command := newRejectsCommand()
		var out bytes.Buffer
		command.SetOut(&out)
		command.SetErr(&said)
		command.SetArgs(append(arguments, "--url", server.URL))
		if err := command.ExecuteContext(t.Context()); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	want := "03:04:05.006  decode/bad_number  10.0.0.1:99  column 5  \"m v=x\"\n" +
		"03:04:06.006  sink/400  main http://db:8086  no twos  \"m v=2 2\"\n"
	if got := run(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	dir := filepath.Join(t.TempDir(), "kept")
	if got := run("--write", dir); got != "" {
		t.Errorf("%q", got)
	}
	text, err := os.ReadFile(filepath.Join(dir, rejectsWritten))
	if err != nil || strings.Count(string(text), "\n") != 2 || !strings.Contains(string(text), `"no twos"`) {
		t.Errorf("%q, %v", text, err)
	}
	list = []telemetry.Reject{}
	if got := run(); got != "" || said.String() != "nothing was rejected\n" {
		t.Errorf("with nothing to show: %q, %q", got, &said)
	}
}
