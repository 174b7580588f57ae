// Command tally runs suites of Go tests and counts what happened to each test.
//
//	go run ./scripts/tally -suite test -- ./...     runs one suite and ends with "N passed, N failed"
//	go run ./scripts/tally -sum FILE                adds up what earlier runs wrote to FILE
//
// It shows go test's own lines for packages, the output of failed tests, and every skip with its reason.
// Tests are counted by function, not by subtest, so that a table or a fuzz corpus counts as one. With
// CULVERT_REQUIRE_PRIV=1 a skipped test is a failure. With CULVERT_AGAIN=1 a test that failed runs once more,
// beside nothing else, and is reported as unsteady if it passes then. If CULVERT_TALLY names a file, each run
// appends its counts there.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	suite := flag.String("suite", "test", "what to run: test, race, priv or user")
	sum := flag.String("sum", "", "add up the counts in this file and exit")
	flag.Parse()
	var counts Counts
	var err error
	if *sum != "" {
		counts, err = addUp(*sum, os.Stdout)
	} else {
		counts, err = runSuite(*suite, flag.Args())
		if err == nil {
			err = record(os.Getenv("CULVERT_TALLY"), *suite, counts)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tally:", err)
		os.Exit(1)
	}
	fmt.Println(counts)
	if counts.Failed > 0 {
		os.Exit(1)
	}
}

// step is one call of go test within a suite.
type step struct {
	title    string
	folder   string
	env      []string
	flags    []string
	packages []string
}

// arguments are go's, for these packages.
func (s *step) arguments(packages []string, more ...string) []string {
	return slices.Concat([]string{"test", "-json"}, s.flags, more, packages)
}

func runSuite(suite string, packages []string) (Counts, error) {
	steps, err := stepsOf(suite, packages)
	if err != nil {
		return Counts{}, err
	}
	tally := &Tally{Out: os.Stdout, SkipFails: os.Getenv("CULVERT_REQUIRE_PRIV") == "1"}
	for _, s := range steps {
		if err := runStep(s, tally, os.Getenv("CULVERT_AGAIN") == "1"); err != nil {
			return tally.Counts, err
		}
	}
	tally.Report()
	return tally.Counts, nil
}

// stepsOf turns a suite's name into calls of go test. Modules below the root hold tests that need what the
// product itself must not depend on; they belong to the suite test.
func stepsOf(suite string, packages []string) ([]step, error) {
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	test := func(title string, env []string, flags ...string) step {
		return step{title: title, env: env, flags: flags, packages: packages}
	}
	switch suite {
	case "test":
		steps := []step{test("tests", nil)}
		// The tag changes packages below dataplane alone, and their tests play the kernel or ask it; the
		// gateway that the end-to-end tests start is built without it.
		steps = append(steps, step{title: "tests with the tag verify", flags: []string{"-tags", "verify"},
			packages: []string{"./dataplane/..."}})
		steps = append(steps, step{title: "the decoder without SIMD", env: []string{"GOEXPERIMENT=nosimd"},
			packages: []string{"./dataplane/lineproto"}})
		modules, err := innerModules(".")
		if err != nil {
			return nil, err
		}
		for _, folder := range modules {
			module := step{title: "module " + folder, folder: folder, packages: []string{"./..."}}
			steps = append(steps, module)
		}
		return steps, nil
	case "race":
		return []step{test("tests under the race detector", []string{"CGO_ENABLED=1"}, "-race")}, nil
	case "priv":
		return []step{test("privileged tests", nil, "-run", "^TestPriv")}, nil
	case "user":
		return []step{test("end-to-end tests, with gateways of the service's user",
			[]string{"CULVERT_AS_USER=1"})}, nil
	}
	return nil, fmt.Errorf("find suite %q: it is test, race, priv or user", suite)
}

// innerModules lists the folders below the root that have a go.mod of their own, and tests. Those that have
// benchmarks alone compare with other people's programs, and are built where they are measured.
func innerModules(root string) ([]string, error) {
	var folders []string
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && slices.Contains([]string{".git", "build", "bin", "testdata"}, entry.Name()) {
			return filepath.SkipDir
		}
		if entry.Name() == "go.mod" && filepath.Dir(path) != root {
			folders = append(folders, filepath.Dir(path))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for modules: %w", err)
	}
	return slices.DeleteFunc(folders, func(folder string) bool { return !hasTests(folder) }), nil
}

var testFunction = regexp.MustCompile(`(?m)^func (Test|Fuzz)[A-Z]\w*\(`)

// hasTests tells whether a folder or one below it has a test. What cannot be read is left to go test to say.
func hasTests(folder string) bool {
	found := false
	_ = filepath.WalkDir(folder, func(path string, _ os.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, "_test.go") {
			text, err := os.ReadFile(path)
			found = found || err != nil || testFunction.Match(text)
		}
		return nil
	})
	return found
}

// runStep runs a step, and what failed in it a second time.
func runStep(s step, tally *Tally, twice bool) error {
	tally.Step, tally.Again = s.title, nil
	before := tally.Counts.Failed
	arguments := s.arguments(s.packages)
	fmt.Fprintf(tally.Out, "== %s: go %s\n", s.title, strings.Join(arguments, " "))
	err := run(s, arguments, tally.Read)
	// Failed tests fail go test; that they did is in the counts.
	if _, failed := errors.AsType[*exec.ExitError](err); failed && tally.Counts.Failed > before {
		err = nil
	}
	if err != nil || !twice {
		return err
	}
	return again(s, tally)
}

// again runs the tests that failed in a step once more, a package at a time.
func again(s step, tally *Tally) error {
	packages := map[string][]TestID{}
	for _, id := range tally.Again {
		packages[id.Package] = append(packages[id.Package], id)
	}
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		tests := packages[name]
		names := make([]string, len(tests))
		for i, id := range tests {
			names[i] = regexp.QuoteMeta(id.Test)
		}
		arguments := s.arguments([]string{name}, "-count=1", "-run", "^("+strings.Join(names, "|")+")$")
		fmt.Fprintf(tally.Out, "== %s, again: go %s\n", s.title, strings.Join(arguments, " "))
		err := run(s, arguments, func(events io.Reader) error { return tally.Amend(tests, events) })
		// What failed again was counted before.
		if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
			return err
		}
	}
	return nil
}

// run gives the events of one go test to a reader. It returns the reader's error, or how go test ended.
func run(s step, arguments []string, read func(io.Reader) error) error {
	command := exec.Command("go", arguments...)
	command.Dir = s.folder
	command.Env = append(os.Environ(), s.env...)
	command.Stderr = os.Stderr
	out, err := command.StdoutPipe()
	if err != nil {
		return fmt.Errorf("open pipe to go test: %w", err)
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("start go test: %w", err)
	}
	readErr := read(out)
	if readErr != nil {
		// Let go test end; nobody reads its output any more.
		_, _ = io.Copy(io.Discard, out)
	}
	err = command.Wait()
	if readErr != nil {
		return readErr
	}
	if err != nil {
		return fmt.Errorf("run go test: %w", err)
	}
	return nil
}
