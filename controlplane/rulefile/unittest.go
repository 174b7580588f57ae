package rulefile

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"culvert/dataplane/rules"
)

// TestResult is how one unit test of rules went.
type TestResult struct {
	Name     string
	Failures []string // one line each, with its place; none: it passed
}

// unitTest is one test as it is written.
type unitTest struct {
	name   string
	input  rules.Text
	expect []expectation
}

// expectation is what is to be found at a time.
type expectation struct {
	place  rules.Text
	at     int64
	alert  string // or record
	record string
	state  string
	labels map[string]string
	value  map[string]string // by the name of the value; "" for an alert's subject
}

var (
	testFileKeys = []string{"rule_files", "tests"}
	testKeys     = []string{"name", "input", "expect"}
)

// RunTests reads a file of unit tests and runs them. Errors are in the file itself, or in the rule files that
// it names; then nothing is run.
func RunTests(file string) ([]TestResult, []*rules.Error) {
	content, err := read(file)
	if err != nil {
		return nil, []*rules.Error{{Position: rules.Position{File: file}, Message: err.Error()}}
	}
	d, body := open(file, content, "a test file")
	if body == nil && len(d.errs) == 0 {
		return nil, []*rules.Error{{Position: rules.Position{File: file}, Message: "the file is empty"}}
	}
	if len(d.errs) > 0 {
		return nil, d.errs
	}
	patterns, tests := d.testFile(body)
	if len(d.errs) > 0 {
		rules.SortErrors(d.errs)
		return nil, d.errs
	}
	for i := range patterns {
		if !filepath.IsAbs(patterns[i]) {
			patterns[i] = filepath.Join(filepath.Dir(file), patterns[i])
		}
	}
	groups, errs := Load(patterns)
	if len(errs) > 0 {
		return nil, errs
	}
	set, errs := rules.Compile(groups)
	if len(errs) > 0 {
		return nil, errs
	}
	var results []TestResult
	for i := range tests {
		results = append(results, tests[i].run(set))
	}
	return results, nil
}

func (d *decoder) testFile(n ast.Node) (patterns []string, tests []unitTest) {
	for _, e := range d.entries(n, "the file") {
		switch e.key {
		case "rule_files":
			for _, name := range d.names(e.value, "rule_files") {
				patterns = append(patterns, name.Source)
			}
		case "groups":
			d.fail(e.node, "`culvert rules check` reads it", "this is a file of rules, not of tests")
			return nil, nil
		case "tests":
			for _, t := range d.elements(e.value, "tests") {
				tests = append(tests, d.unitTest(t))
			}
		default:
			d.unknown(e, testFileKeys, "the file")
		}
	}
	if len(patterns) == 0 && len(d.errs) == 0 {
		d.fail(n, "", "the file names no rule_files")
	}
	return patterns, tests
}

func (d *decoder) unitTest(n ast.Node) unitTest {
	t := unitTest{}
	for _, e := range d.entries(n, "a test") {
		switch e.key {
		case "name":
			t.name = d.text(e.value, "name").Source
		case "input":
			t.input = d.text(e.value, "input")
		case "expect":
			for _, x := range d.elements(e.value, "expect") {
				t.expect = append(t.expect, d.expectation(x))
			}
		default:
			d.unknown(e, testKeys, "a test")
		}
	}
	if len(t.expect) == 0 && len(d.errs) == 0 {
		d.fail(n, "", "test %q expects nothing", t.name)
	}
	slices.SortStableFunc(t.expect, func(a, b expectation) int { return cmp.Compare(a.at, b.at) })
	return t
}

func (d *decoder) expectation(n ast.Node) expectation {
	x := expectation{place: d.at(n), labels: map[string]string{}}
	before, timed := len(d.errs), false
	for _, e := range d.entries(n, "an expectation") {
		switch e.key {
		case "at":
			at, err := time.ParseDuration(d.scalar(e.value, "at"))
			if err != nil {
				d.fail(e.value, "such as 1.5s, counted from 1970", "at is no time: %q", d.scalar(e.value,
					"at"))
			}
			x.at, timed = int64(at), true
		case "alert":
			x.alert = d.scalar(e.value, e.key)
		case "record":
			x.record = d.scalar(e.value, e.key)
		case "state":
			if x.state = d.scalar(e.value, e.key); !slices.Contains([]string{"ok", "pending", "firing"},
				x.state) {
				d.fail(e.value, "states are ok, pending and firing", "unknown state %q", x.state)
			}
		case "value":
			x.value = d.values(e.value)
		default:
			x.labels[e.key] = d.scalar(e.value, e.key)
		}
	}
	if len(d.errs) > before {
		return x
	}
	switch {
	case !timed:
		d.fail(n, "", "the expectation has no at")
	case (x.alert == "") == (x.record == ""):
		d.fail(n, "", "an expectation names an alert or a record")
	case x.alert != "" && x.state == "":
		d.fail(n, "states are ok, pending and firing", "the expectation has no state")
	case x.record != "" && x.state != "":
		d.fail(n, "", "a record has no state")
	}
	return x
}

// scalar is a string, a number or a bool as it stands.
func (d *decoder) scalar(n ast.Node, what string) string {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value
	}
	d.fail(n, "", "%s is %s, want a plain value", what, kindOf(n))
	return ""
}

// values reads one value, or values by their names.
func (d *decoder) values(n ast.Node) map[string]string {
	values := map[string]string{}
	switch n.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		for _, e := range d.entries(n, "value") {
			values[e.key] = d.scalar(e.value, e.key)
		}
	default:
		values[""] = d.scalar(n, "value")
	}
	return values
}

// run plays a test's points and looks at what is expected when its time has come: after all points up to and
// including it, and all timers due by then.
func (t *unitTest) run(set *rules.Set) TestResult {
	result := TestResult{Name: t.name}
	p := NewPlayer(set)
	var made []rules.Made
	p.OnRecord = func(m rules.Made) { made = append(made, m) }
	next := 0
	check := func(until int64) {
		for next < len(t.expect) && t.expect[next].at < until {
			x := &t.expect[next]
			next++
			p.Advance(x.at)
			if found := x.check(set, p, made); found != "" {
				at := x.place.At(0)
				result.Failures = append(result.Failures, fmt.Sprintf("%s:%d:%d: %s",
					at.File, at.Line, at.Column, found))
			}
		}
	}
	for _, r := range p.Play([]byte(t.input.Source), func(eventTime int64, _ bool) int64 {
		arrival := max(eventTime, p.Now())
		check(arrival)
		return arrival
	}) {
		at := t.input.At(lineOffset(t.input.Source, r.Line) + r.Column - 1)
		result.Failures = append(result.Failures, fmt.Sprintf("%s:%d:%d: the input is no point: %s",
			at.File, at.Line, at.Column, r.Reason))
	}
	check(math.MaxInt64)
	return result
}

// lineOffset is where a line begins in a text.
func lineOffset(text string, line int) int {
	offset := 0
	for ; line > 1; line-- {
		offset += strings.IndexByte(text[offset:], '\n') + 1
	}
	return offset
}

// check compares an expectation with what is there, and says what was found instead.
func (x *expectation) check(set *rules.Set, p *Player, made []rules.Made) string {
	if unknown := x.unknown(set); unknown != "" {
		return unknown
	}
	if x.record != "" {
		return x.checkRecord(made)
	}
	var found []string
	for _, a := range p.Alerts() {
		if a.Rule != x.alert || !x.labelsMatch(a.Labels) {
			continue
		}
		wrong := x.wrongValue(a.Values, set.Subject(a.Rule))
		if a.State == x.state && wrong == "" {
			return ""
		}
		found = append(found, a.State+labelText(a.Labels)+wrong)
	}
	if len(found) == 0 && x.state == "ok" {
		return ""
	}
	if len(found) == 0 {
		found = []string{"ok"}
	}
	return fmt.Sprintf("at %s %s%s is expected to be %s, is %s", time.Duration(x.at), x.alert,
		labelText(x.labels), x.state, strings.Join(found, ", "))
}

// unknown says what the expectation names that the rules do not know: its alert or record, or a label, which
// no alert would ever have. It is empty if there is nothing.
func (x *expectation) unknown(set *rules.Set) string {
	kind, name := rules.KindAlert, x.alert
	if x.record != "" {
		kind, name = rules.KindRecord, x.record
	}
	names, labels, anyLabel := []string{}, []string{"alertname", "measurement"}, false
	for _, r := range set.Rules() {
		if r.Kind != kind {
			continue
		}
		names = append(names, r.Name)
		if r.Name == name {
			labels = append(append(labels, r.By...), r.Labels...)
			anyLabel = anyLabel || r.By == nil
		}
	}
	if !slices.Contains(names, name) {
		return fmt.Sprintf("there is no %s %q", kind, name) + inParentheses(rules.DidYouMean(name, names))
	}
	for _, label := range slices.Sorted(maps.Keys(x.labels)) {
		if !anyLabel && !slices.Contains(labels, label) {
			return fmt.Sprintf("%s %q has no label %q", kind, name, label) +
				inParentheses(rules.DidYouMean(label, labels))
		}
	}
	return ""
}

func inParentheses(hint string) string {
	if hint == "" {
		return ""
	}
	return " (" + hint + ")"
}

// checkRecord looks at the last record of the expectation's name and labels.
func (x *expectation) checkRecord(made []rules.Made) string {
	for _, m := range slices.Backward(made) {
		if m.Record == x.record && x.labelsMatch(m.Tags) {
			if wrong := x.wrongValue(m.Fields, onlyName(m.Fields)); wrong != "" {
				return fmt.Sprintf("at %s the last %s%s, of %s, has%s", time.Duration(x.at), x.record,
					labelText(x.labels), time.Duration(m.Time), wrong)
			}
			return ""
		}
	}
	return fmt.Sprintf("at %s no %s%s was made yet", time.Duration(x.at), x.record, labelText(x.labels))
}

func (x *expectation) labelsMatch(labels map[string]string) bool {
	for name, want := range x.labels {
		if labels[name] != want {
			return false
		}
	}
	return true
}

// onlyName is the name of the only value there is; empty if there are several.
func onlyName(values map[string]any) string {
	if len(values) == 1 {
		for name := range values {
			return name
		}
	}
	return ""
}

// wrongValue says which value is not as expected; numbers may differ by a millionth. subject is the name of
// the value that is meant where the expectation gives none.
func (x *expectation) wrongValue(values map[string]any, subject string) string {
	for _, name := range slices.Sorted(maps.Keys(x.value)) {
		want := x.value[name]
		if name == "" {
			name = subject
		}
		value, known := values[name]
		switch {
		case name == "":
			return " more than one value or none (write value: {name: " + want + "})"
		case !known:
			return fmt.Sprintf(" no value of %s, not %s", name, want)
		}
		got := fmt.Sprint(value)
		f, err1 := strconv.ParseFloat(want, 64)
		g, err2 := strconv.ParseFloat(got, 64)
		near := err1 == nil && err2 == nil && math.Abs(f-g) <= 1e-6*max(1, math.Abs(f))
		if got != want && !near {
			return fmt.Sprintf(" %s = %s, not %s", name, got, want)
		}
	}
	return ""
}

// labelText writes labels as {a="b"}, in order; nothing if there are none.
func labelText(labels map[string]string) string {
	var parts []string
	for name, value := range labels {
		if name != "alertname" {
			parts = append(parts, name+"="+strconv.Quote(value))
		}
	}
	if len(parts) == 0 {
		return ""
	}
	slices.Sort(parts)
	return "{" + strings.Join(parts, ", ") + "}"
}
