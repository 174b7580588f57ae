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
	// Environment is added to this process's own (optional).
	Environment []string
}

// Run runs benchmarks and returns their results in their order.
func Run(ctx context.Context, c Config) ([]Result, error) {
	arguments := []string{"test", "-run", "^$", "-bench", c.Pattern, "-benchtime", c.Time,
		"-count", strconv.Itoa(max(c.Count, 1))}
	command := exec.CommandContext(ctx, "go", append(append(arguments, c.Arguments...), c.Packages...)...)
	command.Dir = c.Folder
	command.Env = append(os.Environ(), c.Environment...)
	var out, errs bytes.Buffer
	command.Stdout, command.Stderr = &out, &errs
	// The test binary ends with its own clean-up when it is interrupted.
	command.Cancel = func() error { return command.Process.Signal(os.Interrupt) }
	err := command.Run()
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
