package rulefile

import (
	"slices"

	"github.com/goccy/go-yaml/ast"

	"culvert/dataplane/rules"
)

// rule reads one rule, of the kind that its keys say. It is false where something is missing or unknown: then
// there is no sense in judging the rest.
func (d *decoder) rule(n ast.Node) (rules.Rule, bool) {
	before := len(d.errs)
	entries := d.entries(n, "a rule")
	if len(d.errs) > before {
		return rules.Rule{}, false
	}
	r := rules.Rule{Alert: d.at(n), Record: d.at(n)}
	has := func(key string) bool {
		return slices.ContainsFunc(entries, func(e entry) bool { return e.key == key })
	}
	var wanted []string
	switch {
	case has("record"):
		r.Kind = rules.KindRecord
		d.keys(&r, entries, recordKeys, "a record")
		wanted = []string{"on", "fields"}
	case has("keep") || has("drop"):
		d.filter(&r, entries)
	default:
		d.keys(&r, entries, alertKeys, "a rule")
		wanted = []string{"alert", "on", "expr"}
	}
	if len(d.errs) > before {
		return r, false
	}
	for _, key := range wanted {
		if !has(key) && (key != "expr" || !has("absent")) {
			d.fail(n, "", "rule has no %s", key)
		}
	}
	return r, len(d.errs) == before
}

// keys reads the keys of a rule, those that are known.
func (d *decoder) keys(r *rules.Rule, entries []entry, known []string, what string) {
	texts := map[string]*rules.Text{
		"alert": &r.Alert, "record": &r.Record, "expr": &r.Expr, "for": &r.For, "keep_firing_for": &r.KeepFor,
		"stale": &r.Stale, "absent": &r.Absent, "clear": &r.Clear, "every": &r.Every,
	}
	for _, e := range entries {
		if !slices.Contains(known, e.key) {
			d.unknown(e, known, what)
			continue
		}
		switch e.key {
		case "on":
			r.On = d.names(e.value, "on")
		case "by":
			r.By, r.HasBy = d.names(e.value, "by"), true
		case "labels":
			r.Labels = d.pairs(e.value, "labels")
		case "annotations":
			r.Annotations = d.pairs(e.value, "annotations")
		case "fields":
			r.Fields = d.pairs(e.value, "fields")
		case "actions":
			r.Actions = d.names(e.value, "actions")
		default:
			*texts[e.key] = d.text(e.value, e.key)
		}
	}
}

// filter reads keep: {on: …, expr: …} and drop.
func (d *decoder) filter(r *rules.Rule, entries []entry) {
	for _, e := range entries {
		switch {
		case len(entries) > 1:
			d.fail(entries[1].node, "write it into the braces, or make it a rule of its own",
				"%s stands beside %s", entries[1].key, entries[0].key)
			return
		case e.key == "drop":
			r.Kind = rules.KindDrop
		default:
			r.Kind = rules.KindKeep
		}
		inner := d.entries(e.value, e.key)
		d.keys(r, inner, filterKeys, e.key)
		if inner == nil {
			continue // That it is no mapping was said.
		}
		if !slices.ContainsFunc(inner, func(e entry) bool { return e.key == "on" }) {
			d.fail(e.value, "", "%s has no on", e.key)
		}
	}
}
