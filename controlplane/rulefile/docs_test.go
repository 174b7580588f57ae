package rulefile

import (
	"os"
	"strings"
	"testing"

	"culvert/dataplane/rules"
)

// TestExamplesOfTheReference compiles every example of docs/rules.md.
func TestExamplesOfTheReference(t *testing.T) {
	content, err := os.ReadFile("../../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(content), "```yaml\n")[1:]
	for _, block := range blocks {
		body, _, _ := strings.Cut(block, "```")
		groups, errs := Parse("docs/rules.md", []byte(body))
		_, more := rules.Compile(groups)
		for _, e := range append(errs, more...) {
			t.Error(e.Detail())
		}
	}
	if len(blocks) < 2 {
		t.Errorf("%d examples, want at least 2", len(blocks))
	}
}
