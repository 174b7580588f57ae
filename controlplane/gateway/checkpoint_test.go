package gateway

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"culvert/controlplane/config"
	"culvert/dataplane/rules"
)

// Goal: what was saved is found whole, and what is corrupt is said and left out. Method: a folder with one of
// each, written as the gateway writes them.
func TestCheckpointsAreReadBack(t *testing.T) {
	text := func(s string) rules.Text { return rules.Text{Source: s} }
	set, wrong := rules.Compile([]rules.Group{{Name: text("g"), Rules: []rules.Rule{
		{Alert: text("A"), On: []rules.Text{text("m")}, Expr: text("v > 1")},
	}}})
	if len(wrong) > 0 {
		t.Fatal(wrong[0])
	}
	dir := t.TempDir()
	whole := rules.NewEvaluator(set, rules.Config{Workers: 1}).Checkpoint(nil, 1)
	corrupt := bytes.Clone(whole)
	corrupt[9] ^= 1
	for name, data := range map[string][]byte{
		"rules-0.checkpoint": whole, "rules-1.checkpoint": corrupt, "rules-2.checkpoint": nil, "other": whole,
	} {
		if err := writeWhole(filepath.Join(dir, name), data); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	g := &Gateway{log: slog.New(slog.NewTextHandler(&log, nil))}
	g.options.Config = &config.Config{StateDir: dir}
	g.rules.begin(set)
	if err := g.openCheckpoints(); err != nil {
		t.Fatal(err)
	}
	if found := g.checkpoints.found; len(found) != 1 || !bytes.Equal(found[0], whole) {
		t.Errorf("%d checkpoints are found, want the whole one", len(found))
	}
	if n := strings.Count(log.String(), "begin without a checkpoint"); n != 2 {
		t.Errorf("%d corrupt files are told, want 2:\n%s", n, log.String())
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.new-*")); len(left) > 0 {
		t.Errorf("writing leaves %q", left)
	}
	g.options.Config.StateDir = filepath.Join(dir, "none")
	if err := g.openCheckpoints(); err == nil || !strings.Contains(err.Error(), "no such file") ||
		!strings.Contains(err.Error(), stateDirRemedy) {
		t.Errorf("a folder that is not there gives %v", err)
	}
	g.options.Config.StateDir = filepath.Join(dir, "other")
	if err := g.openCheckpoints(); err == nil ||
		!strings.Contains(err.Error(), "it is no folder; "+stateDirRemedy) {
		t.Errorf("a file gives %v", err)
	}
	if err := writeWhole(filepath.Join(dir, "none", "x"), nil); !os.IsNotExist(err) {
		t.Errorf("writing into a folder that is not there gives %v", err)
	}
}
