package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"culvert/controlplane/rulefile"
	"culvert/dataplane/rules"
)

func newRulesCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "rules",
		Short: "Check, test, try and explain rules, without a gateway",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return exit(exitUsage, errors.New("no command is given; see `culvert rules --help`"))
		},
	}
	command.AddCommand(newRulesCheckCommand(), newRulesTestCommand(), newRulesEvalCommand(),
		newRulesReplayCommand(), newRulesExplainCommand())
	return command
}

// loadRules reads and compiles rule files. Every mistake goes to w with its line and a caret.
func loadRules(files []string, w io.Writer) (*rules.Set, error) {
	groups, wrong := rulefile.Load(files)
	if len(wrong) > 0 {
		return nil, wrongRules(wrong, w)
	}
	set, wrong := rules.Compile(groups)
	if len(wrong) > 0 {
		return nil, wrongRules(wrong, w)
	}
	if set.Len() == 0 {
		fmt.Fprintf(w, "no rule is in %s\n", strings.Join(files, ", "))
	}
	return set, nil
}

func wrongRules(wrong []*rules.Error, w io.Writer) error {
	for _, e := range wrong {
		fmt.Fprintln(w, e.Detail())
	}
	noun := "mistakes"
	if len(wrong) == 1 {
		noun = "mistake"
	}
	return exit(exitConfig, fmt.Errorf("read rules: %d %s", len(wrong), noun))
}

func newRulesCheckCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "check FILE…",
		Short: "Report every mistake in rule files",
		Long: "Read rule files and report every mistake with file, line and column, the line itself and\n" +
			"what was probably meant. Exits 78 if there is one.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, files []string) error {
			set, err := loadRules(files, command.ErrOrStderr())
			if err != nil {
				return err
			}
			counts := map[rules.Kind]int{}
			for _, r := range set.Rules() {
				counts[r.Kind]++
			}
			fmt.Fprintf(command.OutOrStdout(), "%d alerts, %d records and %d filters are right.\n",
				counts[rules.KindAlert], counts[rules.KindRecord],
				counts[rules.KindKeep]+counts[rules.KindDrop])
			return nil
		},
	}
}

func newRulesExplainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain FILE…",
		Short: "Show what rules are compiled to, and the memory they take",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, files []string) error {
			set, err := loadRules(files, command.ErrOrStderr())
			if err != nil {
				return err
			}
			set.Explain(command.OutOrStdout())
			return nil
		},
	}
}

func newRulesTestCommand() *cobra.Command {
	var junit string
	command := &cobra.Command{
		Use:   "test FILE_test.yaml…",
		Short: "Run unit tests of rules, in virtual time",
		Long: "Run unit tests of rules: points and what is expected of alerts and records at given times.\n" +
			"Time is virtual, so nothing waits. Exits 1 if an expectation fails, 78 if a file is wrong.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, files []string) error {
			report := testReport{}
			failed, total := 0, 0
			for _, file := range files {
				results, wrong := rulefile.RunTests(file)
				if len(wrong) > 0 {
					return wrongRules(wrong, command.ErrOrStderr())
				}
				report.add(file, results)
				for _, r := range results {
					total++
					if len(r.Failures) > 0 {
						failed++
					}
					printTest(command.OutOrStdout(), r)
				}
			}
			if total == 0 {
				fmt.Fprintf(command.ErrOrStderr(), "no test is in %s\n", strings.Join(files, ", "))
			}
			if junit != "" {
				if err := report.write(junit); err != nil {
					return err
				}
			}
			if failed > 0 {
				return fmt.Errorf("test rules: %d of %d tests failed", failed, total)
			}
			return nil
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

// testReport is JUnit's XML, as CI servers read it.
type testReport struct {
	XMLName xml.Name    `xml:"testsuites"`
	Suites  []testSuite `xml:"testsuite"`
}

type testSuite struct {
	Name     string     `xml:"name,attr"`
	Tests    int        `xml:"tests,attr"`
	Failures int        `xml:"failures,attr"`
	Cases    []testCase `xml:"testcase"`
}

type testCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	Failure []testFailure `xml:"failure"`
}

type testFailure struct {
	Message string `xml:"message,attr"`
}

func (t *testReport) add(file string, results []rulefile.TestResult) {
	s := testSuite{Name: file, Tests: len(results)}
	for _, r := range results {
		c := testCase{Name: r.Name, Class: file}
		for _, failure := range r.Failures {
			c.Failure = append(c.Failure, testFailure{Message: failure})
		}
		if len(r.Failures) > 0 {
			s.Failures++
		}
		s.Cases = append(s.Cases, c)
	}
	t.Suites = append(t.Suites, s)
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
