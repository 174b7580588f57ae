package vm

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// said is what a machine's tests say in which one test passes, one fails, one is skipped; the process of the
// second package panics, and that of the third ends with a code although its test passed.
const said = `@@ booted 6.1.0
@@ package bpf
=== RUN   TestPrivGood
    good_test.go:1: nobody asks for this
--- PASS: TestPrivGood (0.10s)
=== RUN   TestPrivBad
    bad_test.go:7: got 1, want 2
--- FAIL: TestPrivBad (0.20s)
=== RUN   TestPrivNeedy
    needy_test.go:3: capability missing
--- SKIP: TestPrivNeedy (0.00s)
FAIL
@@ exit 1
@@ package xsk
=== RUN   TestPrivEarly
--- FAIL: TestPrivEarly (0.10s)
=== RUN   TestPrivDies
panic: no socket
@@ exit 2
@@ package numa
=== RUN   TestPrivFine
--- PASS: TestPrivFine (0.10s)
left a file behind
@@ exit 3
@@ done
`

const expected = `bpf TestPrivGood
bpf TestPrivBad
bpf TestPrivNeedy
xsk TestPrivEarly
xsk TestPrivDies
numa TestPrivFine
`

// count runs scripts/vm/count on files with these texts and returns its lines.
func count(t *testing.T, arguments []string, texts ...string) []string {
	t.Helper()
	for i, text := range texts {
		file := filepath.Join(t.TempDir(), string(rune('a'+i)))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		arguments = append(arguments, file)
	}
	out, err := exec.Command("./count", arguments...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

func TestCount(t *testing.T) {
	lines := count(t, nil, expected, said)
	if last := lines[len(lines)-1]; last != "2 5" {
		t.Errorf("the counts are %q, want 2 passed, 5 failed", last)
	}
	for _, want := range []string{
		"    bad_test.go:7: got 1, want 2", "did not pass: bpf TestPrivBad (FAIL)",
		"did not pass: bpf TestPrivNeedy (SKIP)", "did not pass: xsk TestPrivEarly (FAIL)",
		"did not run: xsk TestPrivDies", "panic: no socket", "exit code 3: numa", "left a file behind",
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("%q is not among\n%s", want, strings.Join(lines, "\n"))
		}
	}
	if text := strings.Join(lines, "\n"); strings.Contains(text, "nobody asks") {
		t.Errorf("what a passed test printed is shown:\n%s", text)
	}
}

// Failed tests run again, but for those whose process panicked.
func TestCountNamesFailedTests(t *testing.T) {
	if lines := count(t, []string{"-failed"}, said); !slices.Equal(lines, []string{"bpf ^TestPrivBad$"}) {
		t.Fatalf("got %q", lines)
	}
}

func TestCountAgain(t *testing.T) {
	const passes = "@@ package bpf\n=== RUN   TestPrivBad\n--- PASS: TestPrivBad (0.20s)\nPASS\n@@ exit 0\n"
	f := func(again, counts, says string) {
		t.Helper()
		lines := count(t, nil, expected, said, again)
		if last := lines[len(lines)-1]; last != counts || !slices.Contains(lines, says) {
			t.Errorf("want %q and %q in\n%s", counts, says, strings.Join(lines, "\n"))
		}
		// It was shown before.
		if slices.Contains(lines, "    bad_test.go:7: got 1, want 2") {
			t.Errorf("what failed the first time is shown once more:\n%s", strings.Join(lines, "\n"))
		}
	}
	f(passes, "3 4", "unsteady: failed, and passed when run again: bpf TestPrivBad")
	f(strings.Replace(passes, "@@ exit 0", "@@ exit 1", 1), "2 5", "did not pass: bpf TestPrivBad (FAIL)")
	f("@@ package bpf\n=== RUN   TestPrivBad\npanic: worse\n@@ exit 2\n", "2 5",
		"did not pass: bpf TestPrivBad (FAIL)")
	f("@@ package bpf\n=== RUN   TestPrivBad\n    bad_test.go:8: got 3\n--- FAIL: TestPrivBad (0.20s)\n"+
		"@@ exit 1\n", "2 5", "    bad_test.go:8: got 3")
}

// A machine that never came up has run nothing.
func TestCountNothing(t *testing.T) {
	if lines := count(t, nil, expected, ""); lines[len(lines)-1] != "0 6" {
		t.Fatalf("got %q", lines)
	}
}
