package config

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

// Goal: what differs is named by its key, down to the last one, and what is written otherwise but means the
// same is not.
func TestDifferences(t *testing.T) {
	load := func(text string) *Config {
		t.Helper()
		file := filepath.Join(t.TempDir(), "culvert.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, wrong := Load(file)
		if len(wrong) > 0 {
			t.Fatal(wrong[0])
		}
		return c
	}
	const sinks = "sinks: [{name: main, urls: [http://h:1], database: d}]\n"
	base := "interfaces: [{name: lo, mode: socket}]\n" +
		"listeners: [{name: a, port: 1000, sources: [10.0.0.0/8]}]\n" + sinks
	f := func(text string, want ...string) {
		t.Helper()
		if got := Differences(load(base), load(text)); !slices.Equal(got, want) {
			t.Errorf("%s\ndiffers in %q, want %q", text, got, want)
		}
	}
	f(base)
	f("interfaces: [{name: lo, mode: socket}]\nlisteners:\n- port: 1000\n  name: a\n" +
		"  sources: [10.0.0.0/8]\ntenants: []\nworkers: {wait: adaptive}\n" + sinks)
	f("interfaces: [{name: lo, mode: socket}]\nlisteners: [{name: b, port: 1001, sources: [10.0.0.0/9]}]\n"+
		"workers: {batch: 7, cpus: [0]}\n"+sinks, "listeners[0].name", "listeners[0].port",
		"listeners[0].sources", "workers.cpus", "workers.batch")
	f(base+"notifiers: [{name: ops, type: log}]\nrules: {max_keys: 5}\nstate_dir: \"\"\n",
		"rules.max_keys", "notifiers", "state_dir")
}
