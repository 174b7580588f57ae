package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"culvert/controlplane/rulefile"
	"culvert/dataplane/rules"
)

func newRulesTestCommand() *cobra.Command {
	var junit string
	command := &cobra.Command{
		Use:   "test FILE_test.yaml…",
		Short: "Run unit tests of rules, in virtual time",
		Long: "Run unit tests of rules: points and what is expected of alerts and records at given times.\n" +
			"Time is virtual, so nothing waits. Exits 1 if an expectation fails, 78 if a file is wrong;\n" +
			"the tests of the other files are run all the same.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, files []string) error {
			report := testReport{}
			for _, file := range files {
				results, wrong := rulefile.RunTests(file)
				report.add(file, results, wrong)
				showMistakes(wrong, command.ErrOrStderr())
				for _, r := range results {
					printTest(command.OutOrStdout(), r)
				}
			}
			if report.Tests+report.mistakes == 0 {
				fmt.Fprintf(command.ErrOrStderr(), "no test is in %s\n", strings.Join(files, ", "))
			}
			if junit != "" {
				if err := report.write(junit); err != nil {
					return err
				}
			}
			return report.verdict()
		},
	}
	command.Flags().StringVar(&junit, "junit", "", "also write the results to this file, as JUnit's XML")
	return command
}

func printTest(out io.Writer, r rulefile.TestResult) {
	verdict := "ok  "
	if len(r.Failures) > 0 {
		verdict = "FAIL"
	}
	fmt.Fprintf(out, "%s %s\n", verdict, r.Name)
	for _, failure := range r.Failures {
		fmt.Fprintf(out, "     %s\n", failure)
	}
}

// testReport is JUnit's XML, as CI servers read it: a suite for each file. A file that is wrong is a case of
// its own, with an error.
type testReport struct {
	XMLName  xml.Name    `xml:"testsuites"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Suites   []testSuite `xml:"testsuite"`
	mistakes int
}

type testSuite struct {
	Name     string     `xml:"name,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Errors   int        `xml:"errors,attr"`
	Cases    []testCase `xml:"testcase"`
}

type testCase struct {
	Name    string       `xml:"name,attr"`
	Class   string       `xml:"classname,attr"`
	Failure *testFailure `xml:"failure"`
	Error   *testFailure `xml:"error"`
}

// testFailure is the first thing that is wrong as a message, and all that is as text.
type testFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func (t *testReport) add(file string, results []rulefile.TestResult, wrong []*rules.Error) {
	s := testSuite{Name: file, Tests: len(results)}
	for _, r := range results {
		c := testCase{Name: r.Name, Class: file}
		if len(r.Failures) > 0 {
			c.Failure = &testFailure{Message: r.Failures[0], Text: strings.Join(r.Failures, "\n")}
			s.Failures++
		}
		s.Cases = append(s.Cases, c)
	}
	if len(wrong) > 0 {
		var text strings.Builder
		showMistakes(wrong, &text)
		s.Tests, s.Errors = s.Tests+1, 1
		s.Cases = append(s.Cases, testCase{Name: "read " + file, Class: file,
			Error: &testFailure{Message: wrong[0].Error(), Text: text.String()}})
	}
	t.Suites = append(t.Suites, s)
	t.Tests, t.Failures, t.Errors = t.Tests+s.Tests, t.Failures+s.Failures, t.Errors+s.Errors
	t.mistakes += len(wrong)
}

// verdict is the error with which the command ends, if it does.
func (t *testReport) verdict() error {
	var failed error
	if t.Failures > 0 {
		failed = fmt.Errorf("test rules: %d of %d tests failed", t.Failures, t.Tests-t.Errors)
	}
	if t.mistakes == 0 {
		return failed
	}
	wrong := fmt.Errorf("read rules: %s", counted(t.mistakes, "mistake"))
	if failed != nil {
		wrong = fmt.Errorf("%w; %w", wrong, failed)
	}
	return exit(exitConfig, wrong)
}

func (t *testReport) write(file string) error {
	text, err := xml.MarshalIndent(t, "", "  ")
	if err != nil {
		return fmt.Errorf("write test report: %w", err)
	}
	if err := os.WriteFile(file, append([]byte(xml.Header), append(text, '\n')...), 0o644); err != nil {
		return fmt.Errorf("write test report: %w", err)
	}
	return nil
}
