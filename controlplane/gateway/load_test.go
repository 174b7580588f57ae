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
	f(`tags: {site: 'berlin\'}`, "listeners[0].tags.site")
	f(`source_tag: 'sender\'`, "listeners[0].source_tag")
}
