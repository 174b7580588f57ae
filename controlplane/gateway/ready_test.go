package gateway

import (
	"strings"
	"testing"

	"culvert/controlplane/config"
	"culvert/controlplane/telemetry"
	"culvert/dataplane"
	"culvert/dataplane/spool"
)

// Goal: a server that is away makes the gateway unready only where its points have nowhere else to go, and is
// told in either case. Method: a sink of two servers, a and b, in each state and with each routing.
func TestSinksDown(t *testing.T) {
	const room, most = 1, 100
	withSpool := func(bytes int64, trouble string) *dataplane.SpoolerState {
		return &dataplane.SpoolerState{Disk: spool.Stats{Bytes: bytes}, DiskError: trouble}
	}
	f := func(routing string, up [2]bool, spools [2]*dataplane.SpoolerState, unready, degraded string) {
		t.Helper()
		g := &Gateway{sinks: []*sink{
			{config: &config.Sink{Name: "first"}},
			{config: &config.Sink{Name: "main", Routing: routing}},
		}}
		main := &sinkTarget{config: g.sinks[1].config}
		targets := []*sinkTarget{{config: g.sinks[0].config}, main, main}
		urls := []telemetry.Sink{{Name: "first", Up: true}}
		for i, url := range []string{"a", "b"} {
			urls = append(urls, telemetry.Sink{
				Name: "main", URL: url, Up: up[i], Spool: spools[i], SpoolMax: most,
			})
		}
		named := func(reasons []string) (urls string) {
			for _, reason := range reasons {
				rest, found := strings.CutPrefix(reason, "sink main: ")
				url, why, cut := strings.Cut(rest, " does not take points: ")
				if !found || !cut || why != "no answer yet" {
					t.Errorf("reason %q", reason)
				}
				urls += url
			}
			return urls
		}
		reasons, impaired := g.sinksDown(targets, urls)
		if named(reasons) != unready || named(impaired) != degraded {
			t.Errorf("%s, up %v: unready by %q, degraded by %q; want %q, %q", routing, up, named(reasons),
				named(impaired), unready, degraded)
		}
	}
	none, open := [2]*dataplane.SpoolerState{}, withSpool(room, "")
	full, broken := withSpool(most, ""), withSpool(room, "no space left")
	for _, routing := range []string{"hash", "load_aware", "replicate", "failover"} {
		f(routing, [2]bool{true, true}, none, "", "")
		f(routing, [2]bool{false, false}, none, "ab", "")
		f(routing, [2]bool{false, false}, [2]*dataplane.SpoolerState{open, open}, "", "ab")
		f(routing, [2]bool{false, true}, [2]*dataplane.SpoolerState{open, nil}, "", "a")
	}
	for _, routing := range []string{"hash", "load_aware", "replicate"} {
		f(routing, [2]bool{false, true}, none, "a", "")
		f(routing, [2]bool{false, false}, [2]*dataplane.SpoolerState{full, open}, "a", "b")
		f(routing, [2]bool{false, false}, [2]*dataplane.SpoolerState{open, broken}, "b", "a")
	}
	f("failover", [2]bool{false, true}, none, "", "a")
	f("failover", [2]bool{true, false}, none, "", "b")
	f("failover", [2]bool{false, false}, [2]*dataplane.SpoolerState{full, open}, "", "ab")
	f("failover", [2]bool{false, false}, [2]*dataplane.SpoolerState{full, broken}, "ab", "")
}
