package rulefile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestExamples runs the unit tests of every example of docs/examples/rules; each rule file has some.
func TestExamples(t *testing.T) {
	files, _ := filepath.Glob("../../docs/examples/rules/*.yaml")
	if len(files) < 14 {
		t.Fatalf("%d files, want seven examples with their tests", len(files))
	}
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.yaml") {
			if found, _ := filepath.Glob(strings.TrimSuffix(file, ".yaml") + "_test.yaml"); len(found) == 0 {
				t.Errorf("%s has no tests", file)
			}
			continue
		}
		results, wrong := RunTests(file)
		for _, e := range wrong {
			t.Error(e.Detail())
		}
		for _, r := range results {
			for _, failure := range r.Failures {
				t.Errorf("%s: %s", r.Name, failure)
			}
		}
		if len(results) == 0 {
			t.Errorf("%s: no tests", file)
		}
	}
}

func writeFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
