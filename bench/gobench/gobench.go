// Package gobench runs ordinary Go benchmarks and reads what they print.
package gobench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"culvert/scripts/lab"
)

// Result is one line of a benchmark's output.
type Result struct {
	Package string
	Name    string             // without "Benchmark" and without the number of CPUs
	Values  map[string]float64 // by unit: ns/op, MB/s, allocs/op, …
}

// Config says what is run.
type Config struct {
	Folder    string // of the module
	Packages  []string
	Pattern   string // of names, as `go test -bench`
	Time      string // as `go test -benchtime`
	Count     int
	Arguments []string // further ones of `go test` (optional)
	// Urgent gives them the CPU before everybody else, which takes root.
	Urgent bool
	// Environment is added to this process's own (optional).
	Environment []string
}

// urgency is the niceness of urgent benchmarks.
const urgency = -20

// Run runs benchmarks and returns their results in their order.
func Run(ctx context.Context, c Config) ([]Result, error) {
	arguments := []string{"test", "-run", "^$", "-bench", c.Pattern, "-benchtime", c.Time,
		"-count", strconv.Itoa(max(c.Count, 1))}
	words := append(append([]string{"go"}, append(arguments, c.Arguments...)...), c.Packages...)
	if c.Urgent {
		words = append([]string{"nice", "-n", strconv.Itoa(urgency)}, words...)
	}
	command := exec.CommandContext(ctx, words[0], words[1:]...)
	command.Dir = c.Folder
	command.Env = append(os.Environ(), c.Environment...)
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	// A session of its own, so that an interruption ends the test binary together with the go command.
	command.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGINT) }
	err := command.Start()
	if err == nil {
		if c.Urgent {
			lab.UrgeSession(command.Process.Pid, urgency)
		}
		err = command.Wait()
	}
	results := Parse(out.String())
	if err != nil {
		return results, fmt.Errorf("run benchmarks %q of %s: %w\n%s%s", c.Pattern,
			strings.Join(c.Packages, " "), err, last(out.String()), last(errs.String()))
	}
	if len(results) == 0 {
		return nil, errors.New("run benchmarks: none matches " + c.Pattern)
	}
	return results, nil
}

// last is the end of a text.
func last(text string) string {
	const lines = 15
	all := strings.SplitAfter(text, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "")
}

var (
	line = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)
	pair = regexp.MustCompile(`(\S+) (\S+)`)
)

// Parse reads the output of `go test -bench`.
func Parse(text string) []Result {
	var results []Result
	pkg := ""
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		if name, found := strings.CutPrefix(l, "pkg: "); found {
			pkg = name
			continue
		}
		match := line.FindStringSubmatch(l)
		if match == nil {
			continue
		}
		r := Result{Package: pkg, Name: match[1], Values: map[string]float64{}}
		for _, p := range pair.FindAllStringSubmatch(match[2], -1) {
			if value, err := strconv.ParseFloat(p[1], 64); err == nil {
				r.Values[p[2]] = value
			}
		}
		results = append(results, r)
	}
	return results
}

// Values are those of one unit in all results with a name, in their order.
func Values(results []Result, name, unit string) []float64 {
	var values []float64
	for _, r := range results {
		if value, found := r.Values[unit]; found && r.Name == name {
			values = append(values, value)
		}
	}
	return values
}
