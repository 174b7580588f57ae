package e2e

import (
	"strings"
	"testing"

	"culvert/scripts/testenv"
)

// Goal: who starts a gateway on the interface of the host's default route is told so, once, by check and by
// run; not where generic XDP leaves the card's driver alone, nor without such a route. Method: the packaged
// configuration's `mode: auto` on a veth.
func TestPrivWarnsOfDefaultRoute(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	sink := newRecorder(t, lab)
	dir := t.TempDir()
	auto := write(t, dir, "auto.yaml", minimal(lab.GatewayInterface, sink.url))
	generic := write(t, dir, "generic.yaml", strings.Replace(minimal(lab.GatewayInterface, sink.url),
		"}]", ", mode: generic}]", 1))
	f := func(config string, times int) {
		t.Helper()
		const warning = "the host's default route leaves by gw0"
		code, said := once(t, lab, "check", "-c", config)
		if code != 0 || strings.Count(said, "warning: "+warning) != times {
			t.Errorf("check: exit code %d, want %d warnings:\n%s", code, times, said)
		}
		g := start(t, lab, "run", "-c", config)
		g.ready()
		if code := g.stop(); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		warned := 0
		for line := range strings.Lines(g.output.String()) {
			if strings.Contains(line, warning) && strings.Contains(line, "WARN") {
				warned++
			}
		}
		if warned != times {
			t.Errorf("run: %d warnings, want %d:\n%s", warned, times, g.output)
		}
	}
	f(auto, 0)
	shell(t, lab, "ip route add default via 10.88.0.2")
	f(auto, 1)
	f(generic, 0)
}
