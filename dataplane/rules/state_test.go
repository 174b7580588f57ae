package rules

import (
	"strings"
	"testing"
)

// told takes all transitions and writes them as "rule state key=value …".
func told(e *Evaluator) string {
	var out []string
	for i := range e.Transitions() {
		a := e.set.Render(&e.Transitions()[i])
		text := a.Rule + " " + a.State
		for _, k := range []string{"machine", "line", "measurement"} {
			if v, ok := a.Labels[k]; ok {
				text += " " + k + "=" + v
			}
		}
		out = append(out, text)
	}
	e.Taken(len(e.Transitions()))
	return strings.Join(out, "; ")
}

func TestStatesOfKeys(t *testing.T) {
	overload := ruleOf("Overload", "motor", "temperature > 95", "machine")
	overload.Labels = []Pair{{textOf("severity"), textOf("critical")}}
	overload.Annotations = []Pair{{textOf("summary"), textOf("{{ tags.machine }}: {{ temperature }} °C")}}
	overload.Actions = textsFrom("ops")
	e := alone(compileOf(t, overload))
	f := func(line string, arrival int64, want string) {
		t.Helper()
		e.Eval(pointOf(t, line), arrival)
		if got := told(e); got != want {
			t.Errorf("%s at %d: %q, want %q", line, arrival, got, want)
		}
	}
	f("motor,machine=a,line=x temperature=96 10", 1, "Overload firing machine=a")
	f("motor,machine=a,line=x temperature=97 11", 2, "")
	f("motor,machine=b,line=x temperature=90 12", 3, "")
	f("motor,machine=b,line=x temperature=99 13", 4, "Overload firing machine=b")
	f("motor,machine=a,line=x temperature=94i 14", 5, "Overload ok machine=a")
	f("motor,machine=a,line=x temperature=94 15", 6, "")
	f("motor,machine=b temperature=1 9", 3, "") // older than what b's state comes from
	f("motor,machine=b speed=1 16", 7, "Overload ok machine=b")
	f("motor temperature=100 17", 8, "Overload firing")
	f("pump,machine=a temperature=100 18", 9, "")
	var stats [1]RuleStats
	if e.Stats(stats[:]); stats[0].Firing != 1 || stats[0].Transitions != 5 {
		t.Errorf("stats %+v, want 1 firing after 5 transitions", stats[0])
	}
}

func TestRenderedAlert(t *testing.T) {
	overload := ruleOf("Overload", "motor", "temperature > 95 && rpm > 1", "machine")
	overload.Labels = []Pair{{textOf("team"), textOf("t-{{ tags.machine }}")}}
	summary := "{{tags.machine}} on {{ tags.line }}: {{ temperature }} °C{{ none }}"
	overload.Annotations = []Pair{{textOf("summary"), textOf(summary)}}
	overload.Actions = textsFrom("ops")
	set := compileOf(t, overload)
	e := alone(set)
	e.Eval(pointOf(t, "motor,machine=a,line=x temperature=96.5,rpm=7i 10"), 1)
	first := set.Render(&e.Transitions()[0])
	e.Taken(1)
	e.Eval(pointOf(t, "motor,machine=a,line=x temperature=1.5,rpm=7i 12"), 5)
	second := set.Render(&e.Transitions()[0])
	if first.Labels["alertname"] != "Overload" || first.Labels["team"] != "t-a" ||
		first.Labels["machine"] != "a" || len(first.Labels) != 3 ||
		first.Annotations["summary"] != "a on x: 96.5 °C" ||
		first.Actions[0] != "ops" || first.Time != 10 || first.Arrival != 1 || first.State != StateFiring {
		t.Errorf("first alert is %+v", first)
	}
	if first.Values["temperature"] != 96.5 || first.Values["rpm"] != int64(7) ||
		first.Values["tags.line"] != "x" {
		t.Errorf("values are %v", first.Values)
	}
	if second.State != StateOK || second.Annotations["summary"] != "a on x: 1.5 °C" || second.Since != 10 ||
		second.Time != 12 || second.Fingerprint != first.Fingerprint || second.Fingerprint == "" {
		t.Errorf("second alert is %+v", second)
	}
}

// TestAlertsOfOneName: two alerts of one name and with the same labels are told apart by their fingerprints,
// so that the end of one does not end the other, and the first one's is what it is alone.
func TestAlertsOfOneName(t *testing.T) {
	hot := ruleOf("Trouble", "m", "temperature > 95", "machine")
	shaky := ruleOf("Trouble", "m", "vibration > 5", "machine")
	prints := func(rules ...Rule) (all []string) {
		t.Helper()
		e := alone(compileOf(t, rules...))
		e.Eval(pointOf(t, "m,machine=a temperature=96,vibration=6 1"), 1)
		for i := range e.Transitions() {
			all = append(all, e.set.Render(&e.Transitions()[i]).Fingerprint)
		}
		return all
	}
	alone, both, again := prints(hot), prints(hot, shaky), prints(hot, shaky)
	if len(both) != 2 || both[0] == both[1] || both[0] != alone[0] || both[1] != again[1] {
		t.Errorf("fingerprints are %q, of the first alone %q, in another run %q", both, alone, again)
	}
}
