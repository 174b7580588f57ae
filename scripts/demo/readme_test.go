package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"culvert/controlplane/config"
	"culvert/controlplane/rulefile"
	"culvert/dataplane/rules"
)

// loadFiles writes a configuration and its rules into a folder and reads them as the gateway does.
func loadFiles(t *testing.T, configuration, ruleFile, alerts string) {
	t.Helper()
	folder := t.TempDir()
	file := filepath.Join(folder, "culvert.yaml")
	if err := os.WriteFile(file, []byte(configuration), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, ruleFile)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, ruleFile), []byte(alerts), 0o644); err != nil {
		t.Fatal(err)
	}
	c, wrong := config.Load(file)
	for _, e := range wrong {
		t.Error(e.Detail())
	}
	if c == nil || t.Failed() {
		return
	}
	groups, bad := rulefile.Load(c.Rules.Files)
	for _, e := range bad {
		t.Error(e.Detail())
	}
	if _, bad = rules.Compile(groups); len(bad) > 0 {
		for _, e := range bad {
			t.Error(e.Detail())
		}
	}
}

// What the README shows as an example is a configuration that the gateway takes.
func TestReadmeExample(t *testing.T) {
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var examples []string
	for _, part := range strings.Split(string(text), "```yaml\n")[1:] {
		example, _, closed := strings.Cut(part, "```")
		if !closed {
			t.Fatal("an example in the README has no end")
		}
		examples = append(examples, example)
	}
	if len(examples) != 2 {
		t.Fatalf("got %d examples, want a configuration and a rule file", len(examples))
	}
	loadFiles(t, examples[0], "rules/motors.yaml", examples[1])
}

func TestDemoFiles(t *testing.T) {
	loadFiles(t, configuration("http://127.0.0.1:8086"), "rules.yaml", rulesText)
}
