package gateway

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"culvert/controlplane/telemetry"
)

// reloadRig is a gateway on loopback whose files a test rewrites.
type reloadRig struct {
	*Gateway
	dir, sink string
	port      int
	log       *lockedText
}

// lockedText is a log that is read while it is written.
type lockedText struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.Write(p)
}

func newReloadRig(t *testing.T, rules, notifiers string) *reloadRig {
	t.Helper()
	sink := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(sink.Close)
	free, err := net.ListenUDP("udp", &net.UDPAddr{})
	if err != nil {
		t.Fatal(err)
	}
	rig := &reloadRig{dir: t.TempDir(), sink: sink.URL, port: free.LocalAddr().(*net.UDPAddr).Port,
		log: &lockedText{}}
	free.Close()
	setup, wrong := Load(rig.write(t, rules, notifiers, ""))
	if len(wrong) > 0 {
		t.Fatal(wrong[0])
	}
	rig.Gateway, err = Start(context.Background(), Options{Config: setup.Config, Rules: setup.Rules,
		Log: slog.New(slog.NewTextHandler(rig.log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { rig.Stop() })
	return rig
}

// write writes the files and returns the configuration's path.
func (r *reloadRig) write(t *testing.T, rules, notifiers, more string) string {
	t.Helper()
	file := filepath.Join(r.dir, "culvert.yaml")
	for name, text := range map[string]string{
		"rules.yaml": "groups: [{name: g, rules: [" + rules + "]}]\n",
		"culvert.yaml": fmt.Sprintf("interfaces: [{name: lo, mode: socket}]\n"+
			"listeners: [{name: plant, port: %d}]\nrules: {files: [rules.yaml]}\nnotifiers: [%s]\n"+
			"sinks: [{name: main, urls: [%q], database: telemetry}]\n%s", r.port, notifiers, r.sink, more),
	} {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return file
}

const (
	hotRule  = "{alert: Hot, on: m, expr: x > 1, actions: [ops]}"
	coldRule = "{alert: Cold, on: m, expr: x < -1}"
	logOps   = "{name: ops, type: log}"
)

// Goal: a reload applies rules and notifiers, names the rest, and keeps what stays; whatever is wrong leaves
// everything as it was.
func TestReload(t *testing.T) {
	r := newReloadRig(t, hotRule, logOps)
	reload := func() *telemetry.Reload {
		t.Helper()
		report, err := r.Reload()
		if err != nil {
			t.Fatal(err)
		}
		return report
	}
	said := func(report *telemetry.Reload, want string) {
		t.Helper()
		got := fmt.Sprint(report.Rules.Added, report.Rules.Changed, report.Rules.Removed, report.Rules.Kept,
			report.Notifiers.Added, report.Notifiers.Changed, report.Notifiers.Removed,
			report.Notifiers.Kept, report.Restart, report.Warnings)
		if got != want {
			t.Errorf("reported %s, want %s", got, want)
		}
	}
	said(reload(), "[] [] [] [g/alert/Hot] [] [] [] [ops] [] []")

	r.write(t, hotRule+", "+coldRule, logOps+", {name: more, type: log, limit: 3}",
		"workers: {batch: 9}\nstate_dir: \"\"\n")
	said(reload(), "[g/alert/Cold] [] [] [g/alert/Hot] [more] [] [] [ops] [workers.batch state_dir] []")
	if n := r.rules.current().Len(); n != 2 || len(r.Snapshot().Rules) != 2 {
		t.Errorf("%d rules run, want 2", n)
	}
	if n := len(r.Snapshot().Notifiers); n != 2 {
		t.Errorf("%d notifiers run, want 2", n)
	}

	before := r.rules.current()
	for _, wrong := range []struct{ rules, notifiers, more, want string }{
		{"{alert: Hot, on: m, expr: x >, actions: [ops]}", logOps, "", "rules.yaml:1:"},
		{"{alert: Hot, on: m, expr: x > 1, actions: [oops]}", logOps, "", "did you mean \"ops\""},
		{hotRule, "{name: ops, type: pigeon}", "", "culvert.yaml:4:"},
		{hotRule, logOps, "http: {token_file: /nowhere}\n", "http.token_file"},
	} {
		r.write(t, wrong.rules, wrong.notifiers, wrong.more)
		_, err := r.Reload()
		var refused *telemetry.Refused
		if !errors.As(err, &refused) || !strings.Contains(strings.Join(refused.Mistakes, "\n"), wrong.want) {
			t.Errorf("%+v is refused with %v, want %q", wrong, refused, wrong.want)
		}
		if r.rules.current() != before || len(r.Snapshot().Notifiers) != 2 {
			t.Fatalf("%+v changed something", wrong)
		}
	}

	r.write(t, "{alert: Hot, on: m, expr: x > 2, actions: [ops]}", logOps, "")
	said(reload(), "[] [g/alert/Hot] [g/alert/Cold] [] [] [] [more] [ops] [] []")
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Reload(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a reload after the stop gives %v", err)
	}
}

// Goal: alerts go by TX rings only for notifiers that are as they were at the start; others wait for a
// restart, and say so.
func TestReloadOfNotifiersViaXDP(t *testing.T) {
	const plc = "{name: plc, type: udp, address: \"127.0.0.1:7000\", via: xdp}"
	const rule = "{alert: Hot, on: m, expr: x > 1, actions: [plc]}"
	r := newReloadRig(t, rule, plc)
	named := func(want string) {
		t.Helper()
		setup, wrong := Load(filepath.Join(r.dir, "culvert.yaml"))
		if len(wrong) > 0 {
			t.Fatal(wrong[0])
		}
		if got, _ := r.departuresOf(setup); fmt.Sprint(got) != want {
			t.Errorf("alerts depart %v, want %s", got, want)
		}
	}
	restart := func(want ...string) {
		t.Helper()
		report, err := r.Reload()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(report.Restart, want) {
			t.Errorf("a restart is needed for %q, want %q", report.Restart, want)
		}
	}
	r.write(t, coldRule+", "+rule, plc, "")
	named("[[false true]]")
	restart()
	r.write(t, rule, strings.Replace(plc, "7000", "7001", 1), "")
	named("[[false]]")
	restart("notifiers[0].via")
	// Back to what it was: the notifier is another one now, whose queue the workers do not know.
	r.write(t, rule, plc, "")
	named("[[false]]")
	restart("notifiers[0].via")
	r.write(t, coldRule, "", "")
	restart()
}
