package gateway

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Goal: every file that a configuration names may be used as the gateway uses it, and stay so when it is
// replaced by another of its name; nothing else but the host's own is there.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "culvert.yaml")
	text := `interfaces: [{name: eth1}]
listeners: [{name: p, port: 8089}]
rules: {files: [rules/*.yaml, /srv/plant*/hot.yaml]}
sinks: [{name: m, urls: [http://127.0.0.1:1], database: d}]
spool: {dir: /var/spool/culvert}
state_dir: /var/lib/culvert
rejects: {dir: rejects}
traces: {exporter: file, endpoint: /var/log/culvert/traces.json}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	setup, mistakes := Load(file)
	for _, m := range mistakes {
		// No file is there that the patterns match; everything else must be right.
		t.Log(m)
	}
	if setup == nil {
		t.Fatal("not loaded")
	}
	files := Files(setup.Config)
	for _, path := range []string{dir, filepath.Join(dir, "rules"), "/srv", "/proc", "/sys", "/etc"} {
		if !slices.Contains(files.Read, path) {
			t.Errorf("%s may not be read: %q", path, files.Read)
		}
	}
	want := []string{"/run/culvert/bpf", "/sys/fs/bpf/culvert", "/var/lib/culvert", "/var/spool/culvert",
		filepath.Join(dir, "rejects"), "/var/log/culvert"}
	if !slices.Equal(files.Write, want) {
		t.Errorf("may be written: %q, want %q", files.Write, want)
	}
	if slices.Contains(files.Read, "/") || slices.Contains(files.Read, "") {
		t.Errorf("everything may be read: %q", files.Read)
	}
}

// Goal: what stands before the first wildcard is found, whatever part of the path has it.
func TestBeforePattern(t *testing.T) {
	for pattern, want := range map[string]string{
		"/etc/culvert/rules/*.yaml": "/etc/culvert/rules/*.yaml", "/srv/plant*/hot.yaml": "/srv/plant*",
		"/srv/a?/b*/c": "/srv/a?", "/srv/[ab]/c": "/srv/[ab]", "/srv/hot.yaml": "/srv/hot.yaml",
	} {
		if got := beforePattern(pattern); got != want {
			t.Errorf("%s: %s, want %s", pattern, got, want)
		}
	}
}
