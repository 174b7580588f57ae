package rulefile

import (
	"os"
	"path/filepath"
	"testing"

	"culvert/dataplane/rules"
)

// FuzzParse reads arbitrary files: no panic, and every error stands in the file and can be shown.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*/*.yaml")
	for _, file := range files {
		if content, err := os.ReadFile(file); err == nil {
			f.Add(content)
		}
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		groups, errs := Parse("f", content)
		_, more := rules.Compile(groups)
		for _, e := range append(errs, more...) {
			if e.Position.Line < 1 || e.Position.Column < 1 || e.Detail() == "" {
				t.Errorf("error without a place: %+v", e)
			}
		}
	})
}
