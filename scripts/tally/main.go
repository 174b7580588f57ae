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
//
// go test's own vet is off: `make vet` looks at more, once for all suites.
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
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	return slices.Concat([]string{"test", "-json", "-vet=off"}, s.flags, more, packages)
}

func runSuite(suite string, packages []string) (Counts, error) {
	lanes, err := lanesOf(suite, packages)
	if err != nil {
		return Counts{}, err
	}
	tally := &Tally{Out: os.Stdout, SkipFails: os.Getenv("CULVERT_REQUIRE_PRIV") == "1"}
	err = runLanes(lanes, tally, os.Getenv("CULVERT_AGAIN") == "1")
	return tally.Counts, err
}

// endToEnd is the package whose tests wait for most of their time, one after the other.
const endToEnd = "culvert/cmd/culvert/e2e"

// lanesOf turns a suite's name into calls of go test, and says which of them run side by side: all of a lane
// run in their order. Modules below the root hold tests that need what the product itself must not depend on;
// they belong to the suite test.
func lanesOf(suite string, packages []string) ([][]step, error) {
	if len(packages) == 0 {
		packages = []string{"./..."}
	}
	one := func(title string, env []string, flags ...string) [][]step {
		return [][]step{{{title: title, env: env, flags: flags, packages: packages}}}
	}
	switch suite {
	case "test":
		all, err := listed(packages)
		if err != nil {
			return nil, err
		}
		more, err := moreTests()
		if err != nil {
			return nil, err
		}
		return lanesOfTests(all, more), nil
	case "race":
		return one("tests under the race detector", []string{"CGO_ENABLED=1", small}, "-race"), nil
	case "priv":
		return one("privileged tests", nil, "-run", "^TestPriv"), nil
	case "user":
		return one("end-to-end tests, with gateways of the service's user",
			[]string{"CULVERT_AS_USER=1"}), nil
	}
	return nil, fmt.Errorf("find suite %q: it is test, race, priv or user", suite)
}

// small lets tests do less that say how much they do, see testenv.Sized.
const small = "CULVERT_TEST_SMALL=1"

// lanesOfTests gives the end-to-end tests a lane of their own. Everything else has the other CPUs meanwhile.
func lanesOfTests(all []string, more []step) [][]step {
	rest := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return name == endToEnd })
	if len(rest) == len(all) || len(rest) == 0 {
		return [][]step{append([]step{{title: "tests", packages: all}}, more...)}
	}
	others := step{title: "tests", flags: []string{"-p", strconv.Itoa(max(1, runtime.NumCPU()-1))},
		packages: rest}
	return [][]step{
		{{title: "tests, end to end", packages: []string{endToEnd}}}, append([]step{others}, more...),
	}
}

// moreTests are those of the suite test beside the packages themselves.
func moreTests() ([]step, error) {
	steps := []step{
		// The tag changes packages below dataplane alone, and their tests play the kernel or ask it; the
		// gateway that the end-to-end tests start is built without it.
		{title: "tests with the tag verify", flags: []string{"-tags", "verify"},
			packages: []string{"./dataplane/..."}},
		{title: "the decoder without SIMD", env: []string{"GOEXPERIMENT=nosimd"},
			packages: []string{"./dataplane/lineproto"}},
	}
	modules, err := innerModules(".")
	if err != nil {
		return nil, err
	}
	for _, folder := range modules {
		steps = append(steps, step{title: "module " + folder, folder: folder, packages: []string{"./..."}})
	}
	return steps, nil
}

// listed are the import paths of packages.
func listed(patterns []string) ([]string, error) {
	command := exec.Command("go", append([]string{"list"}, patterns...)...)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	return strings.Fields(string(out)), nil
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

// runLanes runs lanes side by side and then, if asked for, what failed in them once more, beside nothing
// else. The tally gets the counts of all, and reports them.
func runLanes(lanes [][]step, tally *Tally, twice bool) error {
	type lane struct {
		tally  *Tally
		failed [][]TestID // of each step, what may run again
		err    error
	}
	out, all := &shared{out: tally.Out}, make([]lane, len(lanes))
	var running sync.WaitGroup
	for i, steps := range lanes {
		l := &all[i]
		l.tally = &Tally{Out: out, SkipFails: tally.SkipFails}
		running.Go(func() {
			for _, s := range steps {
				l.tally.Again = nil
				if l.err = runStep(s, l.tally); l.err != nil {
					return
				}
				l.failed = append(l.failed, l.tally.Again)
			}
		})
	}
	running.Wait()
	var errs []error
	for i := range all {
		l := &all[i]
		for n, tests := range l.failed {
			if twice && l.err == nil {
				l.err = again(lanes[i][n], l.tally, tests)
			}
		}
		tally.Add(l.tally)
		errs = append(errs, l.err)
	}
	tally.Report()
	return errors.Join(errs...)
}

// shared lets several write to one: each Write is whole.
type shared struct {
	mutex sync.Mutex
	out   io.Writer
}

func (s *shared) Write(text []byte) (int, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.out.Write(text)
}

// runStep runs a step.
func runStep(s step, tally *Tally) error {
	tally.Step = s.title
	before := tally.Counts.Failed
	arguments := s.arguments(s.packages)
	fmt.Fprintf(tally.Out, "== %s: go %s\n", s.title, strings.Join(arguments, " "))
	err := run(s, arguments, tally.Read)
	// Failed tests fail go test; that they did is in the counts.
	if _, failed := errors.AsType[*exec.ExitError](err); failed && tally.Counts.Failed > before {
		return nil
	}
	return err
}

// again runs tests that failed in a step once more, a package at a time.
func again(s step, tally *Tally, failed []TestID) error {
	tally.Step = s.title
	packages := map[string][]TestID{}
	for _, id := range failed {
		packages[id.Package] = append(packages[id.Package], id)
	}
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		tests := packages[name]
		names := make([]string, len(tests))
		for i, id := range tests {
			names[i] = regexp.QuoteMeta(id.Test)
		}
		arguments := s.arguments([]string{name}, "-count=1", "-parallel", "1", "-run",
			"^("+strings.Join(names, "|")+")$")
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
