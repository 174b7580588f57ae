// Command tally runs suites of Go tests and counts what happened to each test.
//
//	go run ./scripts/tally -suite test -- ./...     runs one suite and ends with "N passed, N failed"
//	go run ./scripts/tally -sum FILE                adds up what earlier runs wrote to FILE
//
// It shows go test's own lines for packages, the output of failed tests, and every skip with its reason.
// Tests are counted by function, not by subtest, so that a table or a fuzz corpus counts as one. With
// CULVERT_REQUIRE_PRIV=1 a skipped test is a failure. If CULVERT_TALLY names a file, each run appends its
// counts there.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

func main() {
	suite := flag.String("suite", "test", "what to run: test, race or priv")
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
	title     string
	folder    string
	env       []string
	arguments []string
}

func runSuite(suite string, packages []string) (Counts, error) {
	steps, err := stepsOf(suite, packages)
	if err != nil {
		return Counts{}, err
	}
	tally := &Tally{Out: os.Stdout, SkipFails: os.Getenv("CULVERT_REQUIRE_PRIV") == "1"}
	for _, s := range steps {
		fmt.Printf("== %s: go %s\n", s.title, strings.Join(s.arguments, " "))
		tally.Step = s.title
		if err := run(s, tally); err != nil {
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
		arguments := append([]string{"test", "-json"}, flags...)
		return step{title: title, env: env, arguments: append(arguments, packages...)}
	}
	switch suite {
	case "test":
		steps := []step{test("tests", nil)}
		// The tag changes packages below dataplane alone, and their tests play the kernel or ask it; the
		// gateway that the end-to-end tests start is built without it.
		checked := step{title: "tests with the tag verify"}
		checked.arguments = []string{"test", "-json", "-tags", "verify", "./dataplane/..."}
		steps = append(steps, checked)
		words := step{title: "the decoder without SIMD", env: []string{"GOEXPERIMENT=nosimd"}}
		words.arguments = []string{"test", "-json", "./dataplane/lineproto"}
		steps = append(steps, words)
		modules, err := innerModules(".")
		if err != nil {
			return nil, err
		}
		for _, folder := range modules {
			arguments := []string{"test", "-json", "./..."}
			steps = append(steps, step{title: "module " + folder, folder: folder, arguments: arguments})
		}
		return steps, nil
	case "race":
		return []step{test("tests under the race detector", []string{"CGO_ENABLED=1"}, "-race")}, nil
	case "priv":
		return []step{test("privileged tests", nil, "-run", "^TestPriv")}, nil
	}
	return nil, fmt.Errorf("find suite %q: it is test, race or priv", suite)
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

// run feeds one go test to the tally. That tests failed is in the counts; an error is a go test that could
// not be run at all or that failed without naming anything.
func run(s step, tally *Tally) error {
	command := exec.Command("go", s.arguments...)
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
	before := tally.Counts.Failed
	readErr := tally.Read(out)
	if readErr != nil {
		// Let go test end; nobody reads its output any more.
		_, _ = io.Copy(io.Discard, out)
	}
	err = command.Wait()
	if readErr != nil {
		return readErr
	}
	if err != nil && tally.Counts.Failed == before {
		return fmt.Errorf("run go test: %w", err)
	}
	return nil
}
