package rulefile

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"culvert/dataplane/rules"
)

var update = flag.Bool("update", false, "write what is found into testdata/wrong as what is wanted")

// wanted marks the lines at the end of a wrong file that say what is to be found.
const wanted = "#! "

// TestWrongFiles reads every file of testdata/wrong and compares all errors, with their places, with what the
// file says at its end.
func TestWrongFiles(t *testing.T) {
	files, err := filepath.Glob("testdata/wrong/*.yaml")
	if err != nil || len(files) < 60 {
		t.Fatalf("%d wrong files, %v; want at least 60", len(files), err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		body, _, _ := strings.Cut(string(content), wanted)
		groups, errs := Parse(filepath.Base(file), []byte(body))
		errs = append(errs, duplicates(groups)...)
		_, more := rules.Compile(groups)
		var got []string
		for _, e := range append(errs, more...) {
			got = append(got, wanted+strings.TrimPrefix(e.Error(), filepath.Base(file)+":"))
			if e.Detail() == e.Error() {
				t.Errorf("%s: the error %q quotes no line", file, e.Error())
			}
		}
		found := strings.Join(got, "\n") + "\n"
		if *update {
			if err := os.WriteFile(file, []byte(body+found), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if want := string(content[len(body):]); found != want || len(got) == 0 {
			t.Errorf("%s:\n%swant:\n%s", file, found, want)
		}
	}
}

func TestGoodFile(t *testing.T) {
	patterns := []string{"testdata/good/*.yaml", "testdata/good/motors.yaml", "testdata/none/*.yaml"}
	groups, errs := Load(patterns)
	for _, e := range errs {
		t.Error(e.Detail())
	}
	if len(groups) != 3 || len(groups[0].Rules) != 3 {
		t.Fatalf("%d groups, want 3 with 3 rules in the first", len(groups))
	}
	set, errs := rules.Compile(groups)
	for _, e := range errs {
		t.Error(e.Detail())
	}
	if set == nil {
		t.FailNow()
	}
	if want := []string{"Overload", "Odd", "Folded", "Anything"}; !slices.Equal(set.Names(), want) {
		t.Errorf("rules are %q, want %q", set.Names(), want)
	}
	summary := set.Rules()
	if summary[0].By[0] != "machine" || summary[1].By == nil || len(summary[1].By) != 0 ||
		summary[3].By != nil {
		t.Errorf("keys are %q, %q and %q", summary[0].By, summary[1].By, summary[3].By)
	}
	errs = set.CheckActions([]string{"opz", "plc"})
	if len(errs) != 1 || !strings.HasSuffix(errs[0].Error(),
		`motors.yaml:11:19: unknown notifier "ops" (did you mean "opz"?)`) {
		t.Errorf("actions: %v", errs)
	}
}

// Goal: what editors on other systems write is read, and what YAML can't be is named. Method: a byte order
// mark; Latin-1; UTF-16.
func TestEncodings(t *testing.T) {
	good := "groups:\n- name: g\n  rules: [{alert: A, on: m, expr: v > 1}]\n"
	if groups, errs := Parse("f", []byte("\ufeff"+good)); len(groups) != 1 || len(errs) > 0 {
		t.Errorf("with a byte order mark: %v", errs)
	}
	f := func(content, place string) {
		t.Helper()
		_, errs := Parse("f", []byte(content))
		want := place + ": a byte that is not UTF-8 (save the file in that encoding)"
		if len(errs) != 1 || errs[0].Error() != want || errs[0].Detail() == "" {
			t.Errorf("%q: %v", content, errs)
		}
	}
	f(good+"# \xe4\n", "f:4:3")
	f(strings.Replace(good, "on: m", "on: \"\ufffdü\xe4\"", 1), "f:3:29")
	f("\xff\xfeg\x00", "f:1:1")
}

func TestLoadSaysWhatIsMissing(t *testing.T) {
	f := func(pattern, want string) {
		t.Helper()
		_, errs := Load([]string{pattern})
		if len(errs) != 1 || errs[0].Error() != want {
			t.Errorf("Load(%q) gives %v, want %s", pattern, errs, want)
		}
	}
	f("testdata/none.yaml", "testdata/none.yaml: read rules: no such file or directory")
	f("testdata/good", "testdata/good: read rules: is a directory")
	f("testdata/[", "testdata/[: match pattern: syntax error in pattern")
}

// Goal: files of unit tests may lie beside the rules, where a pattern or a shell finds them too. Method: a
// folder with both; names of its files; then of a test file alone.
func TestLoadLeavesTestsOut(t *testing.T) {
	dir := t.TempDir()
	writeFile(t, dir+"/a.yaml", "groups: [{name: g, rules: [{alert: A, on: m, expr: v > 1}]}]\n")
	writeFile(t, dir+"/a_test.yaml", "rule_files: [a.yaml]\ntests: []\n")
	for _, patterns := range [][]string{{dir + "/*.yaml"}, {dir + "/a_test.yaml", dir + "/a.yaml"}} {
		if groups, errs := Load(patterns); len(groups) != 1 || len(errs) > 0 {
			t.Errorf("%q gives %d groups, %v", patterns, len(groups), errs)
		}
	}
	_, errs := Load([]string{dir + "/a_test.yaml"})
	if len(errs) != 1 || !strings.HasSuffix(errs[0].Error(),
		"a_test.yaml:1:1: this is a file of tests, not of rules (`culvert rules test` runs it)") {
		t.Errorf("a test file alone gives %v", errs)
	}
	// What is wrong in others is told all the same.
	writeFile(t, dir+"/b.yaml", "groups: [\n")
	if _, errs := Load([]string{dir + "/*.yaml"}); len(errs) != 1 {
		t.Errorf("beside a wrong file: %v", errs)
	}
}

// TestMarks checks where single bytes of texts in all of YAML's ways of writing them are said to stand.
func TestMarks(t *testing.T) {
	f := func(yaml, at string, line, column int) {
		t.Helper()
		body := "groups: [{name: g, rules: [{alert: A, on: m, expr: " + yaml + "}]}]"
		if strings.HasPrefix(yaml, "|") || strings.HasPrefix(yaml, ">") || strings.HasPrefix(yaml, "p ") {
			body = "groups:\n- name: g\n  rules:\n  - alert: A\n    on: m\n    expr: " + yaml
		}
		groups, errs := Parse("f", []byte(body))
		if len(errs) > 0 {
			t.Fatalf("%q: %v", yaml, errs[0])
		}
		text := &groups[0].Rules[0].Expr
		offset := strings.Index(text.Source, at)
		if offset < 0 {
			t.Fatalf("%q gives %q, which has no %q", yaml, text.Source, at)
		}
		if p := text.At(offset); p.Line != line || p.Column != column {
			t.Errorf("%q: %q stands at %d:%d, want %d:%d", yaml, at, p.Line, p.Column, line, column)
		}
	}
	f(`a > X`, "X", 1, 56)
	f(`"a > X"`, "X", 1, 57)
	f(`"ü > X"`, "X", 1, 57)
	f(`"\"a\" > X"`, "X", 1, 61)
	f(`"\u00fc\x41 > X"`, "X", 1, 66)
	f(`'it''s > X'`, "X", 1, 61)
	f("|\n      a > 1\n        && X\n", "X", 8, 12)
	f("|\n      X\n", "X", 7, 7)
	f("|2\n       X\n", "X", 7, 8)
	f(">-\n      a > 1\n      && X\n", "X", 8, 10)
	f(">-\n      a > 1\n\n\n      && X\n", "X", 10, 10)
	f("p > 1\n      && X\n", "X", 7, 10)
}
