// Command culvert is the telemetry gateway and all that belongs to it: one file per command.
//
// A command does its work through the packages of controlplane and prints; it decides nothing of its own.
// Errors are one line on stderr, and exit.go says how the program ends on each.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func main() { os.Exit(execute(os.Args[1:], os.Stdout, os.Stderr)) }

// execute runs one command line and returns the exit code.
func execute(arguments []string, out, diagnostics io.Writer) int {
	root, started := newRootCommand()
	root.SetArgs(arguments)
	root.SetOut(out)
	root.SetErr(diagnostics)
	command, err := root.ExecuteC()
	if err == nil {
		return exitDone
	}
	if !*started {
		// Nothing has run yet: what cobra complains about is the command line.
		err = exit(exitUsage, fmt.Errorf("%w; see `%s --help`", firstLine(err), command.CommandPath()))
	}
	fmt.Fprintf(diagnostics, "culvert: %s\n", oneLine(err))
	return exitCode(err)
}

// newRootCommand is the tree of commands. The flag it returns is set when one of them has begun to run.
func newRootCommand() (*cobra.Command, *bool) {
	root := &cobra.Command{
		Use:   "culvert",
		Short: "A telemetry gateway past the kernel's network stack",
		Long: "Culvert takes telemetry packets off the network card past the kernel's network stack,\n" +
			"checks alert rules on them and writes them to InfluxDB, losing nothing without saying so.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(command *cobra.Command, arguments []string) error {
			if len(arguments) > 0 {
				return unknownCommand(command, arguments[0])
			}
			return errors.New("no command is given")
		},
		RunE: func(*cobra.Command, []string) error { return nil },
	}
	root.SuggestionsMinimumDistance = 2
	root.SetFlagErrorFunc(func(command *cobra.Command, err error) error {
		// A flag of a misspelt command is not the mistake: the command is.
		if command == root && command.Flags().NArg() > 0 && !errors.Is(err, pflag.ErrHelp) {
			return unknownCommand(root, command.Flags().Arg(0))
		}
		return err
	})
	addLogFlags(root)
	root.AddCommand(newRunCommand(), newCheckCommand(), newAttachCommand(), newDetachCommand(),
		newStatusCommand(), newTopCommand(), newTapCommand(), newReloadCommand(), newRulesCommand(),
		newLoadCommand(), newSinkCommand(), newSpoolCommand(), newRejectsCommand(), newVersionCommand())
	root.AddCommand(newDoctorCommand(), newTuneCommand())
	started := new(bool)
	noteStart(root.Commands(), started)
	return root, started
}

// noteStart lets the commands, and those below them, say that they have begun to run.
func noteStart(commands []*cobra.Command, started *bool) {
	for _, command := range commands {
		noteStart(command.Commands(), started)
		run := command.RunE
		command.RunE = func(command *cobra.Command, arguments []string) error {
			*started = true
			return run(command, arguments)
		}
	}
}

func unknownCommand(root *cobra.Command, name string) error {
	if near := root.SuggestionsFor(name); len(near) > 0 {
		return fmt.Errorf("unknown command %q, did you mean %q?", name, near[0])
	}
	return fmt.Errorf("unknown command %q", name)
}

// firstLine is what cobra says, without the suggestions that it adds on lines of their own.
func firstLine(err error) error {
	if line, _, more := strings.Cut(err.Error(), "\n"); more {
		return errors.New(line)
	}
	return err
}
