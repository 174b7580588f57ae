package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"culvert/controlplane/telemetry"
)

// Goal: a point that the database refuses is found in the reject ring and on disk, with the server's words,
// and the others of its packet are written.
func TestRefusedPointsAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rejects")
	g, port := startTowards(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		at := bytes.Index(body, []byte("m v=2 2\n"))
		if at < 0 {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":"partial write of line protocol occurred","data":[`+
			`{"original_line":"m v=2 2",`+
			`"line_number":%d,"error_message":"no twos"}]}`, 1+bytes.Count(body[:at], []byte{'\n'}))
	}), "version: 3}]\nrejects: {dir: "+dir+"}\n#[{")
	sendTo(t, port, "m v=1 1\nm v=2 2\nm v=3 3\n")
	until(t, "the reject is shown", func() bool { return len(g.Rejects(10)) == 1 })
	r := g.Rejects(10)[0]
	if r.Stage != "sink" || r.Reason != "400" || r.Text != "m v=2 2" || r.Words != "no twos" ||
		r.Sink != "main" || !strings.HasPrefix(r.URL, "http://127.0.0.1:") {
		t.Fatalf("%+v", r)
	}
	var text []byte
	until(t, "the reject is on disk", func() bool {
		text, _ = os.ReadFile(filepath.Join(dir, rejectsFile))
		return len(text) > 0
	})
	var kept telemetry.Reject
	if err := json.Unmarshal(text, &kept); err != nil || kept.Text != r.Text || kept.Words != r.Words {
		t.Fatalf("%q: %v", text, err)
	}
	s := g.Snapshot().Sinks[0].Points
	if s.Written != 2 || s.Stored != 3 || s.Stored != s.Out() {
		t.Fatalf("%+v", s)
	}
}

// Goal: the files of rejects stay within their bound, and an error is said once until it is over. Method: a
// keeper by hand.
func TestRejectKeeper(t *testing.T) {
	dir := t.TempDir()
	k := newRejectKeeper(dir)
	defer k.close()
	one := telemetry.Reject{Text: strings.Repeat("x", 1000)}
	k.add(&one)
	if err := k.flush(); err != nil {
		t.Fatal(err)
	}
	k.size = rejectsFileMax - 10
	k.add(&one)
	if err := k.flush(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{rejectsFile, rejectsOld} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || bytes.Count(text, []byte{'\n'}) != 1 {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
	}
	blocked := newRejectKeeper(filepath.Join(dir, rejectsFile, "below a file"))
	for i, want := range []bool{true, false} {
		blocked.add(&one)
		if err := blocked.flush(); (err != nil) != want {
			t.Errorf("flush %d: %v", i, err)
		}
	}
}

// Goal: a token that is mended in its file is in use within seconds, without a restart; the points that were
// held meanwhile are written, and neither token is shown anywhere.
func TestTokenIsReadAgain(t *testing.T) {
	folder := t.TempDir()
	t.Setenv(credentialsVariable, folder)
	write := func(token string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, "influx"), []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("secret-old")
	g, port := startTowards(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		if r.Header.Get("Authorization") != "Bearer secret-new" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"the request was not authorized"}`)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}), "version: 3, token_file: influx")
	sendTo(t, port, "m v=1 1")
	until(t, "the token is refused", func() bool { return g.Snapshot().Sinks[0].Requests["401"] > 0 })
	s := g.Snapshot()
	text, err := json.Marshal(telemetry.NewStatus(s))
	if err != nil || strings.Contains(string(text), "secret") || s.Ready || s.Sinks[0].LastError == "" {
		t.Fatalf("ready %t, %v: %s", s.Ready, err, text)
	}
	write("secret-new")
	until(t, "the point is written", func() bool { return g.Snapshot().Sinks[0].Points.Written == 1 })
}
