package testenv

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// lookTime bounds a look at the dashboard: a cold Chromium on a busy machine takes its time.
const lookTime = 3 * time.Minute

// Look is a look at a dashboard by web/look in Chromium. Start it where its network shall be.
type Look struct {
	*exec.Cmd
	t    *testing.T
	out  io.Reader
	said strings.Builder
}

// LookAt prepares a look at the dashboard at url; screenshots go to build/screenshots/NAME. An alert is named
// that is raised once Moving has returned. The test is
// skipped where a browser, or what drives it, is missing.
func LookAt(t *testing.T, url, name, alert string) *Look {
	t.Helper()
	for program, debian := range map[string]string{"node": "nodejs", "chromium": "chromium"} {
		if _, err := exec.LookPath(program); err != nil {
			Skip(t, program+" is missing (Debian: "+debian+")")
		}
	}
	_, here, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(here), "../..")
	if _, err := os.Stat(filepath.Join(root, "web/node_modules/playwright-core")); err != nil {
		Skip(t, "playwright-core is missing: `make web` installs it")
	}
	folder := filepath.Join(root, "build/screenshots", name)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	t.Cleanup(cancel)
	look := &Look{t: t, Cmd: exec.CommandContext(ctx, "node", "look/look.mjs", url, folder, alert)}
	look.Dir, look.Stderr = filepath.Join(root, "web"), &look.said
	out, err := look.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	look.out = out
	return look
}

// Moving waits until the page shows moving figures.
func (l *Look) Moving() {
	l.t.Helper()
	line, err := bufio.NewReader(l.out).ReadString('\n')
	if err != nil || line != "moving\n" {
		l.Wait()
		l.t.Fatalf("the figures do not move: %q, %v\n%s", line, err, l.said.String())
	}
}

// Done waits for the end of the look, and fails the test with all that was wrong.
func (l *Look) Done() {
	l.t.Helper()
	if err := l.Wait(); err != nil {
		l.t.Errorf("look at the dashboard: %v:\n%s", err, l.said.String())
	}
}
