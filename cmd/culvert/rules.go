package main

import (
	"errors"
	"fmt"
	"io"
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
	// What could be read is judged as well, so that one reading shows all.
	set, more := rules.Compile(groups)
	if wrong = append(wrong, more...); len(wrong) > 0 {
		rules.SortErrors(wrong)
		return nil, wrongRules(wrong, w)
	}
	if set.Len() == 0 {
		fmt.Fprintf(w, "no rule is in %s\n", strings.Join(files, ", "))
	}
	showChained(groups, w)
	return set, nil
}

// showChained says which rules wait for points of a record, which meet no rules. That is no mistake, since
// others may send points of the same name.
func showChained(groups []rules.Group, w io.Writer) {
	records := map[string]bool{}
	for _, g := range groups {
		for i := range g.Rules {
			if r := &g.Rules[i]; r.Kind == rules.KindRecord {
				records[r.Record.Source] = true
			}
		}
	}
	for _, g := range groups {
		for i := range g.Rules {
			for on := range g.Rules[i].On {
				if name := &g.Rules[i].On[on]; records[name.Source] {
					fmt.Fprintln(w, "note: "+rules.ErrorAt(name, 0, fmt.Sprintf(
						"the points that record %q makes meet no rules", name.Source),
						"this one sees what others send").Detail())
				}
			}
		}
	}
}

func wrongRules(wrong []*rules.Error, w io.Writer) error {
	showMistakes(wrong, w)
	return exit(exitConfig, fmt.Errorf("read rules: %s", counted(len(wrong), "mistake")))
}

// mistakesShown bounds what is shown of one command: who has more mistakes has made one of them often.
const mistakesShown = 100

func showMistakes(wrong []*rules.Error, w io.Writer) {
	for _, e := range wrong[:min(len(wrong), mistakesShown)] {
		fmt.Fprintln(w, e.Detail())
	}
	if more := len(wrong) - mistakesShown; more > 0 {
		fmt.Fprintf(w, "and %s more\n", counted(more, "mistake"))
	}
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
