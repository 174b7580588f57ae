package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tree is a directory that dpkg takes for a host.
type tree struct {
	t    *testing.T
	root string
}

func newTree(t *testing.T) *tree {
	t.Helper()
	for _, program := range []string{"dpkg", "systemd-sysusers", "systemd-tmpfiles"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is missing", program)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("dpkg gives files to root, and this is another user")
	}
	h := &tree{t: t, root: t.TempDir()}
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"} {
		if err := os.MkdirAll(filepath.Join(h.root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	h.write("var/lib/dpkg/status", "")
	return h
}

func (h *tree) write(name, text string) {
	h.t.Helper()
	if err := os.WriteFile(filepath.Join(h.root, name), []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *tree) read(name string) string {
	text, err := os.ReadFile(filepath.Join(h.root, name))
	if errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return string(text)
}

// owned checks that folders are there and the gateway's user's, by the tree's own numbers.
func (h *tree) owned(names ...string) {
	h.t.Helper()
	user := regexp.MustCompile(`(?m)^culvert:[^:]*:(\d+:\d+):`).FindStringSubmatch(h.read("etc/passwd"))
	for _, name := range names {
		about, err := os.Stat(filepath.Join(h.root, name))
		if err != nil {
			h.t.Error(err)
			continue
		}
		owner := about.Sys().(*syscall.Stat_t)
		if got := fmt.Sprintf("%d:%d", owner.Uid, owner.Gid); user == nil || got != user[1] ||
			about.Mode().Perm() != 0o750 {
			h.t.Errorf("%s is %s's with mode %o, want %q", name, got, about.Mode().Perm(), user)
		}
	}
}

// dpkg works on the tree; the package's scripts run outside of it and are told where it is.
func (h *tree) dpkg(arguments ...string) string {
	h.t.Helper()
	command := exec.Command("dpkg", append([]string{"--root=" + h.root, "--force-script-chrootless",
		"--log=" + filepath.Join(h.root, "dpkg.log")}, arguments...)...)
	output, err := command.CombinedOutput()
	if err != nil {
		h.t.Fatalf("dpkg %q: %v\n%s", arguments, err, output)
	}
	return string(output)
}

// Goal: the package is installed, runs, is upgraded with the administrator's configuration kept, removed with
// it kept, and purged without a trace. Method: a directory that dpkg takes for a host.
func installDebian(t *testing.T, old made, date time.Time) {
	t.Helper()
	h := newTree(t)
	recent := packages(t, top, "v1.2.4", date)
	h.dpkg("--install", old.files["deb"])
	for _, name := range wanted {
		if h.read(name) == "" {
			t.Errorf("%s is not there", name)
		}
	}
	if passwd := h.read("etc/passwd"); !strings.Contains(passwd, "culvert:") ||
		!strings.Contains(passwd, "/var/lib/culvert") {
		t.Errorf("there is no user culvert: %q", passwd)
	}
	if about, err := os.Stat(filepath.Join(h.root, "etc/culvert/tokens")); err != nil ||
		about.Mode().Perm() != 0o700 {
		t.Errorf("tokens: %v, %v", about, err)
	}
	if changed := h.dpkg("--verify", "culvert"); strings.TrimSpace(changed) != "" {
		t.Errorf("dpkg --verify: %s", changed)
	}
	h.owned("var/lib/culvert", "var/lib/culvert/spool", "var/lib/culvert/state")
	program := filepath.Join(h.root, "usr/bin/culvert")
	version := func(want string) {
		t.Helper()
		output, err := exec.Command(program, "version").CombinedOutput()
		if err != nil || !strings.Contains(string(output), "culvert "+want) {
			t.Errorf("version: %v: %s", err, output)
		}
	}
	version("v1.2.3")
	const edited = "# the administrator was here\n"
	h.write("etc/culvert/culvert.yaml", edited)
	h.write("etc/culvert/rules/mine.yaml", "groups: []\n")
	h.dpkg("--install", recent.files["deb"])
	version("v1.2.4")
	if h.read("etc/culvert/culvert.yaml") != edited {
		t.Error("the upgrade overwrote the configuration")
	}
	if err := os.MkdirAll(filepath.Join(h.root, "var/lib/culvert/spool"), 0o755); err != nil {
		t.Fatal(err)
	}
	h.write("var/lib/culvert/spool/segment", "points")
	h.dpkg("--remove", "culvert")
	if _, err := os.Stat(program); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("after the removal: %v", err)
	}
	if h.read("etc/culvert/culvert.yaml") != edited || h.read("var/lib/culvert/spool/segment") == "" {
		t.Error("the removal took configuration or spool")
	}
	h.dpkg("--purge", "culvert")
	for _, name := range []string{"etc/culvert", "var/lib/culvert"} {
		if _, err := os.Stat(filepath.Join(h.root, name)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("after the purge %s: %v", name, err)
		}
	}
}
