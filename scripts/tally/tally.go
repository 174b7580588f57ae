package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// Counts is how many tests ended in which way.
type Counts struct {
	Passed, Failed, Skipped int
}

// String is a suite's closing line. Skips stand in the report above it.
func (c Counts) String() string { return fmt.Sprintf("%d passed, %d failed", c.Passed, c.Failed) }

// Tally reads the events of go test -json.
type Tally struct {
	Out io.Writer
	// SkipFails makes a skipped test a failure.
	SkipFails bool
	// Step names what the events belong to, for the report.
	Step   string
	Counts Counts
	// Again are the tests that failed by themselves, which may pass when they run alone. One in which the
	// race detector found something is none of them, and neither is what died with its process.
	Again []TestID

	output   map[TestID]*strings.Builder // of tests that still run
	failing  map[string]bool             // packages in which a test failed
	passing  map[TestID]bool             // functions that passed in the last stream
	skips    []string
	failed   []string
	unsteady []string
}

// TestID is a package's import path and the name of a test in it.
type TestID struct{ Package, Test string }

// event is one line of go test -json, see `go doc test2json`.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build events
	Test        string
	Output      string
	FailedBuild string
}

// Read takes all events up to the end of the stream. A line that is no event is shown as it is.
func (t *Tally) Read(events io.Reader) error {
	t.output = map[TestID]*strings.Builder{}
	t.failing = map[string]bool{}
	t.passing = map[TestID]bool{}
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 16<<20) // One line of output is one event; a test may print a long one.
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(t.Out, lines.Text())
			continue
		}
		t.take(&e)
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read go test's events: %w", err)
	}
	// A test without an end died with its process, and its package's failure counts it.
	for id, text := range t.output {
		if t.failing[id.Package] {
			fmt.Fprintf(t.Out, "--- died within: %s\n%s", id.Test, text)
		}
	}
	return nil
}

func (t *Tally) take(e *event) {
	id := TestID{e.Package, e.Test}
	switch e.Action {
	case "build-output":
		fmt.Fprint(t.Out, e.Output)
	case "output":
		t.print(id, e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			t.endPackage(e)
		} else {
			t.endTest(id, e.Action)
		}
	}
}

// print keeps a test's output until the test ends. Of a package's own lines it shows those that go test
// itself shows without -v.
func (t *Tally) print(id TestID, output string) {
	if id.Test == "" {
		silent := output == "PASS\n" || output == "FAIL\n" || strings.HasPrefix(output, "testing: warning: ")
		if !silent {
			fmt.Fprint(t.Out, output)
		}
		return
	}
	text := t.output[id]
	if text == nil {
		text = new(strings.Builder)
		t.output[id] = text
	}
	text.WriteString(output)
}

func (t *Tally) endTest(id TestID, action string) {
	text := ""
	if kept := t.output[id]; kept != nil {
		text = kept.String()
		delete(t.output, id)
	}
	name := id.name()
	top := !strings.Contains(id.Test, "/")
	switch {
	case action == "skip":
		t.skips = append(t.skips, fmt.Sprintf("%s: %s", name, reason(text)))
		if t.SkipFails {
			t.fail(name + " was skipped")
		} else if top {
			t.Counts.Skipped++
		}
	case action == "fail":
		t.failing[id.Package] = true
		fmt.Fprint(t.Out, text)
		// A failed subtest fails the test above it, which is counted.
		if top {
			t.fail(name)
			// A panic ends the process, and with it tests that were still to come.
			if !strings.Contains(text, "race detected during execution of test") &&
				!strings.Contains(text, "panic: ") {
				t.Again = append(t.Again, id)
			}
		}
	case top:
		t.Counts.Passed++
		t.passing[id] = true
	}
}

func (id TestID) name() string { return id.Package + " " + id.Test }

// Amend takes the events of a run of tests that failed before. One that passed now is unsteady: it counts as
// passed, and the report names it.
func (t *Tally) Amend(tests []TestID, events io.Reader) error {
	second := &Tally{Out: t.Out, SkipFails: t.SkipFails, Step: t.Step}
	if err := second.Read(events); err != nil {
		return err
	}
	for _, id := range tests {
		if !second.passing[id] {
			continue
		}
		what := fmt.Sprintf("%s (%s)", id.name(), t.Step)
		t.failed = slices.DeleteFunc(t.failed, func(failed string) bool { return failed == what })
		t.unsteady = append(t.unsteady, what)
		t.Counts.Failed--
		t.Counts.Passed++
	}
	return nil
}

// Add takes over what another one has counted and reports.
func (t *Tally) Add(other *Tally) {
	t.Counts.Passed += other.Counts.Passed
	t.Counts.Failed += other.Counts.Failed
	t.Counts.Skipped += other.Counts.Skipped
	t.skips = append(t.skips, other.skips...)
	t.failed = append(t.failed, other.failed...)
	t.unsteady = append(t.unsteady, other.unsteady...)
}

func (t *Tally) fail(what string) {
	t.Counts.Failed++
	t.failed = append(t.failed, fmt.Sprintf("%s (%s)", what, t.Step))
}

// endPackage counts a package that failed although none of its tests did: it did not build, or its process
// died.
func (t *Tally) endPackage(e *event) {
	if e.Action != "fail" || t.failing[e.Package] {
		return
	}
	t.failing[e.Package] = true
	what := "failed outside its tests"
	if e.FailedBuild != "" {
		what = "did not build"
	}
	t.fail(e.Package + " " + what)
}

// reason finds the text that a test gave to t.Skip, which stands behind "file.go:12: ".
func reason(output string) string {
	for _, line := range strings.Split(output, "\n") {
		_, place, found := strings.Cut(line, ".go:")
		if _, text, colon := strings.Cut(place, ": "); found && colon {
			return text
		}
	}
	return "no reason given"
}

// Report names what failed, what did so once, and what was skipped, after all steps.
func (t *Tally) Report() {
	t.list("skipped, and why", t.skips)
	t.list("unsteady: failed, and passed when run again", t.unsteady)
	t.list("failed", t.failed)
}

func (t *Tally) list(title string, lines []string) {
	if len(lines) == 0 {
		return
	}
	fmt.Fprintf(t.Out, "== %s (%d)\n", title, len(lines))
	for _, line := range lines {
		fmt.Fprintln(t.Out, "  "+line)
	}
}

// record appends a suite's counts to a file; without a file's name it does nothing.
func record(file, suite string, c Counts) error {
	if file == "" {
		return nil
	}
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open the tally: %w", err)
	}
	defer f.Close()
	if _, err := fmt.Fprintf(f, "%s %d %d %d\n", suite, c.Passed, c.Failed, c.Skipped); err != nil {
		return fmt.Errorf("append to the tally: %w", err)
	}
	return nil
}

// addUp prints one line a suite and returns their sum.
func addUp(file string, out io.Writer) (Counts, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Counts{}, fmt.Errorf("read the tally: %w", err)
	}
	var sum Counts
	for _, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		var suite string
		var c Counts
		if _, err := fmt.Sscanf(line, "%s %d %d %d", &suite, &c.Passed, &c.Failed, &c.Skipped); err != nil {
			return sum, fmt.Errorf("read line %q of the tally: %w", line, err)
		}
		fmt.Fprintf(out, "%-12s %6d passed %4d failed %4d skipped\n", suite, c.Passed, c.Failed, c.Skipped)
		sum.Passed += c.Passed
		sum.Failed += c.Failed
		sum.Skipped += c.Skipped
	}
	return sum, nil
}
