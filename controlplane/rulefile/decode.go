package rulefile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"culvert/dataplane/rules"
)

// The keys of the file format.
var (
	fileKeys  = []string{"groups"}
	groupKeys = []string{"name", "rules", "lateness_min", "affinity"}
	alertKeys = []string{
		"alert", "on", "expr", "absent", "by", "for", "clear", "keep_firing_for", "stale", "labels",
		"annotations", "actions",
	}
	recordKeys = []string{"record", "on", "by", "every", "fields"}
	filterKeys = []string{"on", "expr"}
)

// decoder turns the nodes of one file into groups and collects what is wrong.
type decoder struct {
	document *rules.Document
	errs     []*rules.Error
	// isTests tells that the file holds unit tests of rules. That is its only error.
	isTests bool
	line    spreadLine // the one at hand
}

func (d *decoder) fail(n ast.Node, hint, format string, args ...any) {
	text := d.at(n)
	d.errs = append(d.errs, rules.ErrorAt(&text, 0, fmt.Sprintf(format, args...), hint))
}

// at is an empty text at a node's place.
func (d *decoder) at(n ast.Node) rules.Text {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 {
		// A mapping's own token is a colon or brace; where it begins is its first key.
		n = m.Values[0].Key
	}
	at := rules.Position{File: d.document.Name, Line: 1, Column: 1}
	if t := n.GetToken(); t != nil && t.Position != nil {
		at.Line, at.Column = t.Position.Line, max(t.Position.Column, 1)
	}
	return rules.Text{Position: at, Document: d.document}
}

// kindOf says in words what a node is.
func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.StringNode, *ast.LiteralNode:
		return "a string"
	case *ast.NullNode:
		return "nothing"
	case *ast.BoolNode:
		return "a bool"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "a number"
	case *ast.AnchorNode, *ast.AliasNode:
		return "an anchor or alias"
	case *ast.TagNode:
		return "tagged"
	}
	return "something else"
}

// entry is one key of a mapping with its value.
type entry struct {
	key   string
	node  ast.Node // of the key
	value ast.Node
}

// entries are the keys and values of a mapping in their order; nil with an error if it is none.
func (d *decoder) entries(n ast.Node, what string) []entry {
	var values []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		d.fail(n, "", "%s is %s, want a mapping", what, kindOf(n))
		return nil
	}
	out := []entry{}
	for _, v := range values {
		name, ok := v.Key.(*ast.StringNode)
		if !ok {
			d.fail(v.Key, "", "a key of %s is no plain name", what)
			continue
		}
		out = append(out, entry{key: name.Value, node: v.Key, value: v.Value})
	}
	return out
}

// elements are the elements of a list; nil with an error if it is none. Nothing is an empty list.
func (d *decoder) elements(n ast.Node, what string) []ast.Node {
	switch n := n.(type) {
	case *ast.SequenceNode:
		return n.Values
	case *ast.NullNode:
		return nil
	}
	d.fail(n, "", "%s is %s, want a list", what, kindOf(n))
	return nil
}

// meantKeys are what people write who come from other tools.
var meantKeys = map[string]string{
	"measurement": "on", "from": "on", "group_by": "by", "groupby": "by", "name": "alert",
	"condition": "expr", "when": "expr", "where": "expr", "interval": "every", "resolve": "clear",
	"notify": "actions", "notifiers": "actions", "field": "fields",
}

// unknown reports a key that is none of the known ones.
func (d *decoder) unknown(e entry, known []string, what string) {
	hint := rules.DidYouMean(e.key, known)
	if meant := meantKeys[strings.ToLower(e.key)]; slices.Contains(known, meant) {
		hint = fmt.Sprintf("did you mean %q?", meant)
	}
	if slices.Contains(known, "labels") && (e.key == "severity" || e.key == "summary") {
		hint = map[string]string{"severity": "write labels: {severity: …}",
			"summary": "write annotations: {summary: …}"}[e.key]
	}
	if hint == "" {
		hint = "known are " + strings.Join(known, ", ")
	}
	d.fail(e.node, hint, "unknown key %q of %s", e.key, what)
}

// file reads the whole document.
func (d *decoder) file(n ast.Node) []rules.Group {
	var groups []rules.Group
	entries := d.entries(n, "the file")
	has := func(key string) bool {
		return slices.ContainsFunc(entries, func(e entry) bool { return e.key == key })
	}
	if has("rule_files") && !has("groups") && len(d.errs) == 0 {
		d.isTests = true
		d.fail(entries[0].node, "`culvert rules test` runs it", "this is a file of tests, not of rules")
		return nil
	}
	for _, e := range entries {
		if e.key != "groups" {
			d.unknown(e, fileKeys, "the file")
			continue
		}
		for _, g := range d.elements(e.value, "groups") {
			groups = append(groups, d.group(g))
		}
	}
	return groups
}

func (d *decoder) group(n ast.Node) rules.Group {
	g := rules.Group{Name: d.at(n)}
	before, named := len(d.errs), false
	for _, e := range d.entries(n, "a group") {
		switch e.key {
		case "name":
			g.Name, named = d.text(e.value, "name"), true
			if g.Name.Source == "" && len(d.errs) == before {
				d.fail(e.value, "", "group has no name")
			}
		case "rules":
			for _, r := range d.elements(e.value, "rules") {
				if rule, ok := d.rule(r); ok {
					g.Rules = append(g.Rules, rule)
				}
			}
		case "lateness_min":
			g.LatenessMin = d.text(e.value, "lateness_min")
		case "affinity":
			g.Affinity = d.text(e.value, "affinity")
		default:
			d.unknown(e, groupKeys, "a group")
		}
	}
	if !named && len(d.errs) == before {
		d.fail(n, "", "group has no name")
	}
	return g
}

// names reads one name or a list of names.
func (d *decoder) names(n ast.Node, what string) []rules.Text {
	if _, ok := n.(*ast.SequenceNode); !ok {
		if _, ok := n.(*ast.StringNode); !ok {
			d.fail(n, stringHint(n, what), "%s is %s, want a string or a list of strings", what, kindOf(n))
			return nil
		}
		one := d.text(n, what)
		if strings.Contains(one.Source, ",") {
			d.fail(n, "a list is written [a, b]", "%s is one name with a comma in it", what)
		}
		return []rules.Text{one}
	}
	names := []rules.Text{}
	for _, e := range d.elements(n, what) {
		names = append(names, d.text(e, "one of "+what))
	}
	return names
}

// pairs reads a mapping of strings.
func (d *decoder) pairs(n ast.Node, what string) []rules.Pair {
	var pairs []rules.Pair
	for _, e := range d.entries(n, what) {
		name := d.at(e.node)
		name.Source = e.key
		pairs = append(pairs, rules.Pair{Name: name, Value: d.text(e.value, what+"."+e.key)})
	}
	return pairs
}

// durationKeys are those of durations, which people write as bare seconds.
var durationKeys = []string{"for", "keep_firing_for", "stale", "absent", "every", "lateness_min"}

func stringHint(n ast.Node, what string) string {
	switch number := n.(type) {
	case *ast.IntegerNode:
		if slices.Contains(durationKeys, what) {
			return "did you mean " + number.GetToken().Value + "s?"
		}
		return "put it in quotes"
	case *ast.BoolNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "put it in quotes"
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "put it in quotes: rule files take no anchors, aliases and YAML tags"
	}
	return ""
}
