package gateway

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"culvert/controlplane/telemetry"
)

const secretWord = "hush-4711-hush"

// secretForms are the ways in which a secret can show itself.
func secretForms() []string {
	return []string{secretWord, base64.StdEncoding.EncodeToString([]byte("user:" + secretWord))}
}

// noSecret fails if a text holds the secret.
func noSecret(t *testing.T, where string, text []byte) {
	t.Helper()
	for _, form := range secretForms() {
		if i := bytes.Index(text, []byte(form)); i >= 0 {
			t.Errorf("%s: …%s…", where, text[max(i-80, 0):min(i+60, len(text))])
		}
	}
}

// repeating answers so, with all that authorized the request in its words.
func repeating(status int, format string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if !bytes.Contains(body, []byte("m v=1")) {
			w.WriteHeader(http.StatusNoContent) // asked whether it is in order
			return
		}
		said := r.Header.Get("Authorization")
		w.Header().Set("WWW-Authenticate", said)
		w.WriteHeader(status)
		fmt.Fprintf(w, format, said+" or "+secretWord)
	}
}

// hangUp sends bytes that are no answer, the request's token among them, and closes.
func hangUp(w http.ResponseWriter, r *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		fmt.Fprintf(conn, "HTTP/1.1 999 %s\r\n\r\n", r.Header.Get("Authorization"))
		conn.Close()
	}
}

// Goal: however a sink fails, its token is nowhere in the log, the status, the metrics and the rejects, even
// if the server repeats it. Method: servers that fail in many ways, with and without TLS, for each version's
// way to authorize; and a token's file that holds what it should not.
func TestSecretsAreNotShown(t *testing.T) {
	const one = "token_file: %q"
	quote := `{"error":"%s"}`
	for i, row := range []struct {
		name, keys string
		handler    http.HandlerFunc
		fails      func(g *Gateway) bool
	}{
		{"400", one, repeating(400, quote), trouble},
		{"400 of a point", one, repeating(400, `{"error":"unable to parse 'm v=1 1': %s"}`), refused},
		{"partial write", "version: 3, " + one, repeating(400, `{"error":"partial write of line protocol `+
			`occurred","data":[{"original_line":"m v=1 1","line_number":1,"error_message":"%s"}]}`), refused},
		{"401", one, repeating(401, quote), trouble},
		{"401 of version 2", "org: o, bucket: b, database: \"\", " + one, repeating(401, `{"message":"%s"}`),
			trouble},
		{"403 of version 3", "version: 3, " + one, repeating(403, quote), trouble},
		{"404", one, repeating(404, quote), trouble},
		{"413", one, repeating(413, quote), refused},
		{"500", one, repeating(500, quote), trouble},
		{"503 in plain words", one, repeating(503, "%s"), trouble},
		{"no answer", one, hangUp, trouble},
	} {
		// What the writer does with an answer is the same both ways.
		secure := i%2 == 0
		t.Run(fmt.Sprintf("%s tls=%t", row.name, secure), func(t *testing.T) {
			t.Parallel()
			server := httptest.NewUnstartedServer(row.handler)
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			folder := t.TempDir()
			token := filepath.Join(folder, "token")
			keys := fmt.Sprintf(row.keys, token)
			if secure {
				server.StartTLS()
				ca := filepath.Join(folder, "ca.pem")
				writePEM(t, ca, "CERTIFICATE", server.Certificate().Raw)
				keys += fmt.Sprintf(", tls: {ca_file: %q}", ca)
			} else {
				server.Start()
			}
			t.Cleanup(server.Close)
			if !strings.Contains(keys, "database") {
				keys += ", database: d"
			} else {
				keys = strings.Replace(keys, `database: "", `, "", 1)
			}
			text := secretWord
			if !strings.Contains(keys, "version") && !strings.Contains(keys, "bucket") {
				text = "user:" + secretWord
			}
			writeSecret(t, token, text)
			shown := showAll(t, server.URL, keys, row.fails, func() {
				// More than one line is no token: the error must not say what is in it.
				writeSecret(t, token, text+"\n"+text+"\n")
			})
			noSecret(t, row.name, shown)
		})
	}
}

func trouble(g *Gateway) bool { return g.Snapshot().Sinks[0].LastError != "" }
func refused(g *Gateway) bool { return len(g.Rejects(1)) > 0 }

func writeSecret(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// showAll starts a gateway, sends it a point and waits until its sink has failed and then, after a change,
// has read its token again; and returns all that the gateway shows.
func showAll(t *testing.T, url, keys string, fails func(*Gateway) bool, change func()) []byte {
	t.Helper()
	file, port := filepath.Join(t.TempDir(), "culvert.yaml"), freePort(t)
	writeSecret(t, file, fmt.Sprintf("interfaces: [{name: lo, mode: socket}]\n"+
		"listeners: [{name: plant, port: %d}]\nsinks: [{name: main, urls: [%q], "+
		"retry: {attempts: 2, first: 10ms, max: 50ms}, %s}]\n", port, url, keys))
	setup, wrong := Load(file)
	if len(wrong) > 0 {
		t.Fatal(wrong[0])
	}
	written := &lockedText{}
	g, err := Start(context.Background(), Options{Config: setup.Config, Rules: setup.Rules,
		Log: slog.New(slog.NewJSONHandler(written, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Stop()
	sendTo(t, port, "m v=1 1")
	var shown bytes.Buffer
	until(t, "the sink fails", func() bool {
		failed := fails(g)
		// Each state is looked at: a failure may be over with the next one.
		status, err := json.Marshal(telemetry.NewStatus(g.Snapshot()))
		if err != nil {
			t.Fatal(err)
		}
		shown.Write(status)
		return failed
	})
	change()
	until(t, "the token is read again", func() bool {
		written.mutex.Lock()
		defer written.mutex.Unlock()
		return strings.Contains(written.text.String(), "token not read again")
	})
	registry := prometheus.NewRegistry()
	registry.MustRegister(telemetry.NewCollector(g.Snapshot))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		shown.WriteString(family.String())
	}
	if err := g.Stop(); err != nil {
		t.Fatal(err)
	}
	rejects, err := json.Marshal(g.Rejects(100))
	if err != nil {
		t.Fatal(err)
	}
	shown.Write(rejects)
	shown.Write(written.text.Bytes())
	return shown.Bytes()
}

// freePort is a UDP port that nobody has just now.
func freePort(t *testing.T) int {
	t.Helper()
	free, err := net.ListenUDP("udp", &net.UDPAddr{})
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return free.LocalAddr().(*net.UDPAddr).Port
}
