package gateway

import (
	"slices"
	"strings"
	"testing"

	"culvert/bpf"
)

// Goal: a reload applies the probes' keys, and none of them waits for a restart: those that go are off, and
// one that comes measures, or it is said why not. Method: probes of a gateway on loopback; without privileges
// none comes.
func TestReloadOfProbes(t *testing.T) {
	r := newReloadRig(t, hotRule, logOps)
	reload := func(section string) (added, removed, kept, warnings []string) {
		t.Helper()
		r.write(t, hotRule, logOps, section)
		report, err := r.Reload()
		if err != nil {
			t.Fatal(err)
		}
		if len(report.Restart) > 0 {
			t.Errorf("%q waits for a restart: %q", section, report.Restart)
		}
		return report.Probes.Added, report.Probes.Removed, report.Probes.Kept, report.Warnings
	}
	// The start may still be attaching; whatever it did is gone after this.
	reload("probes: {enabled: false}\n")
	for _, s := range r.Probes().Status() {
		if s.On || s.Err != nil {
			t.Errorf("%s is switched off and is %+v", s.Name, s)
		}
	}
	others := slices.DeleteFunc(bpf.ProbeNames(), func(name string) bool { return name == "tcp_rtt" })
	one := "probes: {except: [" + strings.Join(others, ", ") + "]}\n"
	added, removed, kept, warnings := reload(one)
	switch {
	case slices.Equal(added, []string{"tcp_rtt"}) && len(warnings) == 0:
	case len(added) == 0 && len(warnings) == 1 && strings.HasPrefix(warnings[0], "probes are missing: ") &&
		strings.Contains(warnings[0], "tcp_rtt"):
	default:
		t.Errorf("one comes: %q, warnings %q", added, warnings)
	}
	if len(removed)+len(kept) > 0 {
		t.Errorf("nothing was there, and it says %q go and %q stay", removed, kept)
	}
	again, removed, kept, _ := reload(one)
	if len(again)+len(removed) > 0 || !slices.Equal(kept, added) {
		t.Errorf("nothing changes, and %q come, %q go, %q stay", again, removed, kept)
	}
	_, removed, _, warnings = reload("probes: {enabled: false}\n")
	if !slices.Equal(removed, added) || len(warnings) > 0 {
		t.Errorf("%q go, want %q, warnings %q", removed, added, warnings)
	}
	if m, err := r.Probes().Read(); err != nil || m.TCPRTT.Count() != 0 {
		t.Errorf("%+v, %v from probes that are off", m, err)
	}
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	if d, warnings := r.probes.change(&r.options.Config.Probes, r.workers); len(d.Added)+len(warnings) > 0 {
		t.Errorf("after the stop %q come, warnings %q", d.Added, warnings)
	}
}
