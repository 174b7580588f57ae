package gateway

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"culvert/controlplane/attach"
	"culvert/controlplane/config"
	"culvert/controlplane/nic"
	"culvert/controlplane/telemetry"
)

// clockFile is a card's clock where this machine has one. Elsewhere it is a file that is no clock, as that of
// a card whose driver has died.
func clockFile() (path string, runs bool) {
	const first = "/dev/ptp0"
	if _, err := os.Stat(first); err == nil {
		return first, true
	}
	return "/dev/null", false
}

// Goal: where a card tells when it got each packet, the program that asks for it takes the place of the other
// and the clock is measured; switched off, or where the clock or the kernel refuses, everything is as before,
// and is not tried again without need. No packet is lost over it. Method: a veth that is said to be such a
// card. Its driver answers the program, with no time, since no clock is behind it.
func TestPrivCardTimesOfAGateway(t *testing.T) {
	if !inOwnNamespace(t) {
		return
	}
	b := newBench(t, 1, `
interfaces: [{name: gw0, mode: native}]
workers: {frames: 512}
rules: {files: [rules.yaml]}`)
	g, p := b.gateway, b.gateway.interfaces[0]
	sent := b.flood(0, 2, 100)
	file, runs := clockFile()
	answer, failure := nic.CardTimes{Clock: file, Every: true, On: true}, error(nil)
	g.probes.askCard = func(on attach.State) (nic.CardTimes, error) {
		if on.Name != "gw0" {
			t.Errorf("%q is asked", on.Name)
		}
		return answer, failure
	}
	// reload is what a reload does about it; it tells whether the program was exchanged.
	reload := func(c config.Probes) (report telemetry.Reload, exchanged bool) {
		t.Helper()
		before := p.attachment
		g.reloadCardTimes(&c, &report)
		sent = b.flood(sent, 2, 100)
		return report, p.attachment != before
	}
	says := func(words string) {
		t.Helper()
		if in := telemetry.NewStatus(g.Snapshot()).Interfaces[0]; !strings.Contains(in.CardTimes, words) {
			t.Errorf("the status says %q, want %q", in.CardTimes, words)
		}
	}
	up := func() bool {
		for _, s := range g.Probes().Status() {
			if s.Name == nicTimestamps {
				return s.On
			}
		}
		t.Fatal("there is no such probe")
		return false
	}
	says("switched off")
	if up() {
		t.Error("it is on, and the configuration has no probes")
	}

	on := config.Probes{Enabled: true}
	report, exchanged := reload(on)
	asks, why := p.attachment.CardTime()
	if !exchanged || asks != (why == nil) || p.attachment.Mode() != attach.Native {
		t.Fatalf("exchanged %t, asks %t, %v", exchanged, asks, why)
	}
	if asks {
		says("by " + file)
	} else {
		says("none: the kernel refuses")
	}
	if up() != asks || slices.Contains(report.Probes.Added, nicTimestamps) != asks {
		t.Errorf("it is on: %t, asks %t, %+v", up(), asks, report.Probes)
	}
	b.until("the clock is measured", func(*telemetry.Status) bool {
		return g.Snapshot().Interfaces[0].CardClock == (runs && asks)
	})
	if stages, _ := g.histograms(); stages["nic_to_steer"] != nil {
		t.Errorf("%d waits, and the driver told no time", stages["nic_to_steer"].Count)
	}
	report, exchanged = reload(on)
	if exchanged || slices.Contains(report.Probes.Kept, nicTimestamps) != asks {
		t.Errorf("nothing changed, exchanged %t, %+v", exchanged, report.Probes)
	}
	// The link's coming back binds the sockets anew, to the same program.
	b.flap()
	sent = b.flood(sent, 2, 100)

	for _, c := range []config.Probes{{Enabled: true, Except: []string{nicTimestamps}}, {}} {
		report, exchanged = reload(c)
		says("switched off")
		if !exchanged || up() || slices.Contains(report.Probes.Removed, nicTimestamps) != asks {
			t.Errorf("switched off by %+v: exchanged %t, %+v", c, exchanged, report.Probes)
		}
		reload(on)
	}

	for _, c := range []struct {
		answer  nic.CardTimes
		failure error
		says    string
	}{
		{answer: nic.CardTimes{}, says: telemetry.NoCardTimes},
		{answer: nic.CardTimes{Clock: file}, says: "time protocol"},
		{answer: nic.CardTimes{Clock: file, Every: true, On: true, Untold: true}, says: "XDP programs"},
		{answer: nic.CardTimes{Clock: file, Every: true}, says: "hwstamp_ctl -i gw0 -r 1"},
		{answer: nic.CardTimes{Clock: "/dev/ptp-of-none", Every: true, On: true}, says: "/dev/ptp-of-none"},
		{failure: fmt.Errorf("the driver is dead"), says: "the driver is dead"},
	} {
		reload(config.Probes{})
		answer, failure = c.answer, c.failure
		reload(on)
		g.mutex.Lock()
		g.report(p, g.lower(p))
		g.report(p, g.raise(p))
		g.mutex.Unlock()
		says(c.says)
		if up() {
			t.Errorf("%s: it is on", c.says)
		}
		sent = b.flood(sent, 2, 100)
	}
}
