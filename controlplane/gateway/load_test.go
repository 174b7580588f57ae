package gateway

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Goal: what no later stage could make good is found when the file is read. Method: whole files, one mistake
// each.
func TestLoadFindsMistakes(t *testing.T) {
	f := func(tags, want string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "culvert.yaml")
		text := "interfaces: [{name: eth1}]\nlisteners: [{name: p, port: 8089, " + tags + "}]\n" +
			"sinks: [{name: m, urls: [\"http://127.0.0.1:8086\"], database: d}]\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, mistakes := Load(path)
		if want == "" && len(mistakes) == 0 {
			return
		}
		if len(mistakes) != 1 || !strings.Contains(mistakes[0].Error(), want) {
			t.Fatalf("%s: mistakes %v, want one that says %q", tags, mistakes, want)
		}
	}
	f(`tags: {site: "ber lin, =1"}`, "")
	f(`tags: {site: 'berlin\'}`, ":2:48: listeners[0].tags.site: ")
	f(`source_tag: 'sender\'`, ":2:47: listeners[0].source_tag: ")
}

// Goal: a probe that there is none of is a mistake with its place.
func TestLoadKnowsTheProbes(t *testing.T) {
	f := func(except, want string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "culvert.yaml")
		text := "interfaces: [{name: eth1}]\nprobes: {except: [" + except + "]}\n" +
			"sinks: [{name: m, urls: [\"http://127.0.0.1:8086\"], database: d}]\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, mistakes := Load(path)
		if want == "" && len(mistakes) == 0 {
			return
		}
		if len(mistakes) != 1 || !strings.Contains(mistakes[0].Error(), want) {
			t.Fatalf("%s: mistakes %v, want one that says %q", except, mistakes, want)
		}
	}
	f("tcp_rtt, packet_drops", "")
	f("tcp_rtt, tcp", `:2:28: probes.except[1]: there is no probe "tcp", only runqueue, napi_poll`)
}

// Goal: a token that can't be had is a mistake with its place, not a failure while running. Method: files
// that are missing, empty, and of two lines.
func TestLoadReadsTokens(t *testing.T) {
	f := func(token, want string) {
		t.Helper()
		dir := t.TempDir()
		text := "interfaces: [{name: eth1}]\n" +
			"sinks: [{name: m, urls: [\"http://127.0.0.1:8086\"], org: o, bucket: b, token_file: token}]\n"
		files := map[string]string{"culvert.yaml": text, "token": token}
		for name, content := range files {
			if content == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, mistakes := Load(filepath.Join(dir, "culvert.yaml"))
		if want == "" && len(mistakes) == 0 {
			return
		}
		if len(mistakes) != 1 ||
			!strings.Contains(mistakes[0].Error(), ":2:83: sinks[0].token_file: read the token: ") ||
			!strings.HasSuffix(mistakes[0].Error(), want) {
			t.Fatalf("%q: mistakes %v, want one that says %q", token, mistakes, want)
		}
	}
	f("secret\n", "")
	f("", "no such file or directory")
	f(" \n", "is empty")
	f("secret\nsecret\n", "holds more than one line")
}
