package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
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

	output  map[testID]*strings.Builder // of tests that still run
	failing map[string]bool             // packages in which a test failed
	skips   []string
	failed  []string
}

type testID struct{ pkg, test string }

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
	t.output = map[testID]*strings.Builder{}
	t.failing = map[string]bool{}
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
		if t.failing[id.pkg] {
			fmt.Fprintf(t.Out, "--- died within: %s\n%s", id.test, text)
		}
	}
	return nil
}

func (t *Tally) take(e *event) {
	id := testID{e.Package, e.Test}
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
func (t *Tally) print(id testID, output string) {
	if id.test == "" {
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

func (t *Tally) endTest(id testID, action string) {
	text := ""
	if kept := t.output[id]; kept != nil {
		text = kept.String()
		delete(t.output, id)
	}
	name := id.pkg + " " + id.test
	top := !strings.Contains(id.test, "/")
	switch {
	case action == "skip":
		t.skips = append(t.skips, fmt.Sprintf("%s: %s", name, reason(text)))
		if t.SkipFails {
			t.fail(name + " was skipped")
		} else if top {
			t.Counts.Skipped++
		}
	case action == "fail":
		t.failing[id.pkg] = true
		fmt.Fprint(t.Out, text)
		// A failed subtest fails the test above it, which is counted.
		if top {
			t.fail(name)
		}
	case top:
		t.Counts.Passed++
	}
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

// Report names what failed and what was skipped, after all steps.
func (t *Tally) Report() {
	if len(t.skips) > 0 {
		fmt.Fprintf(t.Out, "== skipped, and why (%d)\n", len(t.skips))
		for _, line := range t.skips {
			fmt.Fprintln(t.Out, "  "+line)
		}
	}
	if len(t.failed) > 0 {
		fmt.Fprintf(t.Out, "== failed (%d)\n", len(t.failed))
		for _, line := range t.failed {
			fmt.Fprintln(t.Out, "  "+line)
		}
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
