package telemetry

import "testing"

// Goal: what rules count inside is shown, and groups of one name are one series.
func TestRulesInside(t *testing.T) {
	snapshot := full()
	snapshot.Rules = []Rule{{Name: "Hot", Firing: 2, Pending: 3, Transitions: 6, Derived: 0, TooLong: 4},
		{Name: "Hot", Pending: 1, Transitions: 1}, {Name: "r", Derived: 9}}
	snapshot.RuleGroups = []RuleGroup{{Name: "g", Keys: 5, Late: 1, Ahead: 2, Missed: 3, OnTime: 2e9},
		{Name: "g", Keys: 1, Late: 10, OnTime: 1e9, Early: 5e8}, {Name: "h", Keys: 7}}
	families := gather(t, snapshot)
	f := func(want float64, name string, labels ...string) {
		t.Helper()
		expectMetric(t, families, want, name, labels...)
	}
	f(4, "alerts_pending", "Hot")
	f(7, "rule_transitions_total", "Hot")
	f(4, "rule_too_long_total", "Hot")
	f(9, "rule_derived_total", "r")
	f(6, "rule_keys", "g")
	f(7, "rule_keys", "h")
	f(11, "rule_late_total", "g")
	f(2, "rule_ahead_total", "g")
	f(3, "rule_missed_total", "g")
	f(2, "rule_lateness_seconds", "g", "on_time")
	f(0.5, "rule_lateness_seconds", "g", "early")
	f(0, "rule_lateness_seconds", "h", "final")
}
