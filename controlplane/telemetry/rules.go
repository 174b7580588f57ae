package telemetry

import "github.com/prometheus/client_golang/prometheus"

// RuleGroup is what all rules with a past of one group counted.
type RuleGroup struct {
	Name string
	Keys int // that are remembered
	// Late values came too late for their window; points Ahead were too far in the future; Missed ones found
	// no room on their way to their key's owner.
	Late, Ahead, Missed uint64
	// Early, OnTime and Final are the lateness of the group's watermarks, in nanoseconds; 0 without records.
	Early, OnTime, Final int64
}

// ruleFamilies are the metrics of rules beside those that alerts have.
type ruleFamilies struct {
	pending, transitions, derived, tooLong *prometheus.Desc
	keys, late, ahead, missed, lateness    *prometheus.Desc
}

func (f *families) rulesInside() {
	r := &f.inside
	r.pending = f.add("alerts_pending",
		"Keys of a rule whose condition holds, but not yet for as long as its for asks.", "rule")
	r.transitions = f.add("rule_transitions_total",
		"Changes of a rule's alerts. Many: the rule flaps, give it a clear or a for.", "rule")
	r.derived = f.add("rule_derived_total", "Points that a record made, corrections included.", "rule")
	r.tooLong = f.add("rule_too_long_total",
		"Points that a rule could not judge, since the text of their key is too long: use fewer tags in "+
			"by.", "rule")
	r.keys = f.add("rule_keys",
		"Keys whose past the rules of a group remember; rules.max_keys bounds those of one rule.", "group")
	r.late = f.add("rule_late_total",
		"Values that came too late for a window of a group, and were left out of it. Mend the sender's "+
			"clock or raise the group's lateness_min.", "group")
	r.ahead = f.add("rule_ahead_total",
		"Points that the windows of a group left out, since they lie further in the future than the "+
			"listener's max_ahead.", "group")
	r.missed = f.add("rule_missed_total",
		"Points that the windows of a group missed, since the way to the worker that owns their key was "+
			"full: that worker does not keep up.", "group")
	r.lateness = f.add("rule_lateness_seconds",
		"How far behind the clock the watermarks of a group with records are: half of all points are no "+
			"later than early, nine of ten no later than on_time, when records are made, and all but one in "+
			"a thousand no later than final, after which they are not corrected any more.",
		"group", "watermark")
}

// ruleGroups shows groups of one name, in several files, as one.
func (w *writer) ruleGroups() {
	f := &w.families.inside
	sums := map[string]RuleGroup{}
	for _, g := range w.snapshot.RuleGroups {
		sum := sums[g.Name]
		sums[g.Name] = RuleGroup{Keys: sum.Keys + g.Keys, Late: sum.Late + g.Late, Ahead: sum.Ahead + g.Ahead,
			Missed: sum.Missed + g.Missed, Early: max(sum.Early, g.Early), OnTime: max(sum.OnTime, g.OnTime),
			Final: max(sum.Final, g.Final)}
	}
	for name, g := range sums {
		w.gauge(f.keys, float64(g.Keys), name)
		w.counter(f.late, g.Late, name)
		w.counter(f.ahead, g.Ahead, name)
		w.counter(f.missed, g.Missed, name)
		w.gauge(f.lateness, float64(g.Early)/1e9, name, "early")
		w.gauge(f.lateness, float64(g.OnTime)/1e9, name, "on_time")
		w.gauge(f.lateness, float64(g.Final)/1e9, name, "final")
	}
}
