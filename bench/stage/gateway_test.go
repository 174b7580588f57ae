package stage

import (
	"os"
	"path/filepath"
	"testing"

	"culvert/controlplane/config"
)

// Goal: what the gateway is given is a configuration that it takes, with what was asked for in it.
func TestConfiguration(t *testing.T) {
	f := func(values map[string]any, rules, connections int) {
		t.Helper()
		all := map[string]any{
			"Interface": "gw0", "Mode": "native", "Port": Port, "CPUs": "1-2", "Wait": "sleep", "Rules": "",
			"URL": "http://127.0.0.1:8087", "Database": Database, "Listen": gatewayAddress, "Connections": 0,
			"Batch": "",
		}
		for key, value := range values {
			all[key] = value
		}
		file := filepath.Join(t.TempDir(), "culvert.yaml")
		out, err := os.Create(file)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if err := configuration.Execute(out, all); err != nil {
			t.Fatal(err)
		}
		c, mistakes := config.Load(file)
		for _, mistake := range mistakes {
			t.Fatal(mistake.Detail())
		}
		if c.Workers.Wait != "sleep" || c.Interfaces[0].Mode != "native" || c.Listeners[0].Port != Port ||
			len(c.Workers.CPUs) != 2 || len(c.Rules.Files) != rules || c.Sinks[0].Connections != connections {
			t.Errorf("the gateway would run with %+v", c)
		}
	}
	f(nil, 0, 2)
	f(map[string]any{"Rules": "/tmp/rules.yaml"}, 1, 2)
	f(map[string]any{"Connections": 4, "Batch": "{bytes: 64KiB, points: 1000}"}, 0, 4)
}
