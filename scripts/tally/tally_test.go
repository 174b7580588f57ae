package main

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// events is what go test -json says of one package with a pass, a skip, a failed subtest, and of one that
// does not build.
const events = `{"Action":"output","Package":"a","Output":"=== noise that is no event"}
this line is no event
{"Action":"output","Package":"a","Test":"TestGood","Output":"fine\n"}
{"Action":"pass","Package":"a","Test":"TestGood"}
{"Action":"output","Package":"a","Test":"TestPrivNeedy","Output":"    testenv.go:33: capability missing\n"}
{"Action":"skip","Package":"a","Test":"TestPrivNeedy"}
{"Action":"output","Package":"a","Test":"TestBad/case","Output":"    a_test.go:7: got 1, want 2\n"}
{"Action":"fail","Package":"a","Test":"TestBad/case"}
{"Action":"fail","Package":"a","Test":"TestBad"}
{"Action":"output","Package":"a","Output":"FAIL\ta\t0.1s\n"}
{"Action":"fail","Package":"a"}
{"Action":"build-output","ImportPath":"b","Output":"b.go:1: no such thing\n"}
{"Action":"build-fail","ImportPath":"b"}
{"Action":"fail","Package":"b","FailedBuild":"b"}
`

func read(t *testing.T, skipFails bool) (*Tally, string) {
	t.Helper()
	var out strings.Builder
	tally := &Tally{Out: &out, SkipFails: skipFails, Step: "tests"}
	if err := tally.Read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	tally.Report()
	return tally, out.String()
}

func TestReadCounts(t *testing.T) {
	tally, out := read(t, false)
	if want := (Counts{Passed: 1, Failed: 2, Skipped: 1}); tally.Counts != want {
		t.Fatalf("got %+v, want %+v", tally.Counts, want)
	}
	for _, want := range []string{
		"this line is no event", "got 1, want 2", "FAIL\ta\t0.1s", "no such thing",
		"a TestPrivNeedy: capability missing", "b did not build (tests)", "a TestBad (tests)",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in the report:\n%s", want, out)
		}
	}
	if strings.Contains(out, "fine") {
		t.Error("the report shows what a passed test printed")
	}
}

func TestReadCountsASkipAsFailure(t *testing.T) {
	tally, _ := read(t, true)
	if want := (Counts{Passed: 1, Failed: 3}); tally.Counts != want {
		t.Fatalf("got %+v, want %+v", tally.Counts, want)
	}
}

// A process that dies leaves tests without an end; its package's failure is counted once.
func TestReadCountsADeadProcessOnce(t *testing.T) {
	var out strings.Builder
	tally := &Tally{Out: &out}
	err := tally.Read(strings.NewReader(`{"Action":"output","Package":"a","Test":"TestX","Output":"panic: x"}
{"Action":"fail","Package":"a"}
`))
	if err != nil || tally.Counts.Failed != 1 || !strings.Contains(out.String(), "panic: x") {
		t.Fatalf("got %+v, %v, output %q", tally.Counts, err, out.String())
	}
}

func TestAddUp(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tally")
	suites := map[string]Counts{"test": {Passed: 3, Skipped: 2}, "race": {Passed: 4, Failed: 1}}
	for suite, counts := range suites {
		if err := record(file, suite, counts); err != nil {
			t.Fatal(err)
		}
	}
	sum, err := addUp(file, io.Discard)
	if err != nil || sum.String() != "7 passed, 1 failed" {
		t.Fatalf("got %q, %v", sum, err)
	}
}

func TestAddUpRefusesNonsense(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tally")
	if err := record(file, "two words", Counts{}); err != nil {
		t.Fatal(err)
	}
	if _, err := addUp(file, io.Discard); err == nil {
		t.Fatal("a line with a word where a number belongs was accepted")
	}
}

// unsteadyTests are of a module of their own: one passes when it runs alone, one never, and two are no matter
// of a second try.
const unsteadyTests = `package unsteady

import (
	"os"
	"testing"
)

func TestOnce(t *testing.T) {
	if _, err := os.Stat("ran"); err != nil {
		os.WriteFile("ran", nil, 0o644)
		t.Fatal("the first time")
	}
}

func TestNever(t *testing.T) { t.Fatal("never") }

func TestRace(t *testing.T) {
	if _, err := os.Stat("raced"); err != nil {
		os.WriteFile("raced", nil, 0o644)
		t.Fatal("race detected during execution of test")
	}
}

func TestGood(t *testing.T) {}

func TestPanics(t *testing.T) {
	if _, err := os.Stat("panicked"); err != nil {
		os.WriteFile("panicked", nil, 0o644)
		panic("the first time")
	}
}
`

// module writes a module with these files, by name, and returns its folder.
func module(t *testing.T, files map[string]string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	files["go.mod"] = "module unsteady\n"
	for name, text := range files {
		file := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func TestAgain(t *testing.T) {
	folder := module(t, map[string]string{"a_test.go": unsteadyTests})
	s := step{title: "tests", folder: folder, packages: []string{"./..."}}
	for _, c := range []struct {
		again  bool
		counts Counts
		says   string
	}{
		{false, Counts{Passed: 1, Failed: 4}, "== failed (4)\n"},
		{true, Counts{Passed: 2, Failed: 3}, "again (1)\n  unsteady TestOnce (tests)\n== failed (3)\n"},
	} {
		for _, name := range []string{"ran", "raced", "panicked"} {
			os.Remove(filepath.Join(folder, name))
		}
		var out strings.Builder
		tally := &Tally{Out: &out}
		if err := runLanes([][]step{{s}}, tally, c.again); err != nil {
			t.Fatal(err)
		}
		if tally.Counts != c.counts || !strings.Contains(out.String(), c.says) {
			t.Errorf("again %t: %+v, want %+v and %q in\n%s",
				c.again, tally.Counts, c.counts, c.says, out.String())
		}
	}
}

// Each of two lanes opens its end of a FIFO, which waits for the other one. The second try of what failed in
// the first lane finds that the other lane has come to its end.
func TestLanes(t *testing.T) {
	const open = "package lane\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\n" +
		"func TestMeets(t *testing.T) {\n\tif _, err := os.OpenFile(\"../fifo\", FLAG, 0); err != nil {\n" +
		"\t\tt.Fatal(err)\n\t}\n}\n"
	const first = "\nfunc TestAlone(t *testing.T) {\n\tif _, err := os.Stat(\"../tried\"); err != nil {\n" +
		"\t\tos.WriteFile(\"../tried\", nil, 0o600)\n\t\tt.Fatal(\"the first time\")\n\t}\n" +
		"\tif _, err := os.Stat(\"../ended\"); err != nil {\n\t\tt.Fatal(\"beside the other lane\")\n\t}\n}\n"
	const last = "package last\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\n" +
		"func TestEnds(t *testing.T) { os.WriteFile(\"../ended\", nil, 0o600) }\n"
	folder := module(t, map[string]string{
		"reads/a_test.go":  strings.Replace(open, "FLAG", "os.O_RDONLY", 1) + first,
		"writes/a_test.go": strings.Replace(open, "FLAG", "os.O_WRONLY", 1), "last/a_test.go": last,
	})
	if err := syscall.Mkfifo(filepath.Join(folder, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := func(name string) step {
		return step{title: name, folder: folder, flags: []string{"-timeout", "60s"},
			packages: []string{"./" + name}}
	}
	var out strings.Builder
	tally := &Tally{Out: &out}
	err := runLanes([][]step{{s("reads")}, {s("writes"), s("last")}}, tally, true)
	if err != nil || tally.Counts != (Counts{Passed: 4}) ||
		!strings.Contains(out.String(), "  unsteady/reads TestAlone (reads)\n") {
		t.Fatalf("%v, %+v\n%s", err, tally.Counts, out.String())
	}
}

func TestLanesOfTests(t *testing.T) {
	more := []step{{title: "module a"}}
	f := func(all []string, want string) {
		t.Helper()
		var got []string
		for _, lane := range lanesOfTests(all, more) {
			for _, s := range lane {
				got = append(got, s.title+" "+strings.Join(s.packages, " "))
			}
			got = append(got, "/")
		}
		if text := strings.Join(got, "; "); text != want {
			t.Errorf("%q: got %q, want %q", all, text, want)
		}
	}
	f([]string{"culvert/bpf", endToEnd, "culvert/numa"},
		"tests, end to end "+endToEnd+"; /; tests culvert/bpf culvert/numa; module a ; /")
	f([]string{"culvert/bpf"}, "tests culvert/bpf; module a ; /")
	f([]string{endToEnd}, "tests "+endToEnd+"; module a ; /")
}
