package rules

import (
	"slices"
	"testing"
)

// Goal: a point meets the rules of its measurement, by name and by pattern, with what their conditions come
// to; asking changes nothing.
func TestMeets(t *testing.T) {
	set := compileOf(t,
		ruleOf("Hot", "motor", "temperature > 95"),
		ruleOf("Line", "motor", `tags.line == "b"`),
		ruleOf("Mean", "motor", "avg(temperature[10s]) > 95"),
		ruleOf("Any", "mo*", "has(temperature)"),
		ruleOf("Other", "pump", "temperature > 95"))
	e := alone(set)
	f := func(line string, want ...Meet) {
		t.Helper()
		for range 2 {
			if got := e.Meets(pointOf(t, line), nil); !slices.Equal(got, want) {
				t.Errorf("%s meets %+v, want %+v", line, got, want)
			}
		}
	}
	f("motor,line=a temperature=96", Meet{0, true, false}, Meet{1, false, false}, Meet{2, false, true},
		Meet{3, true, false})
	f("motor,line=b temperature=95", Meet{0, false, false}, Meet{1, true, false}, Meet{2, false, true},
		Meet{3, true, false})
	f("motion x=1", Meet{3, false, false})
	f("pump temperature=96", Meet{4, true, false})
	f("fan temperature=96")
	if len(e.Transitions()) != 0 || len(e.Alerts()) != 0 {
		t.Errorf("asking made alerts: %+v", e.Alerts())
	}
}
