package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
)

// What the exit codes mean, as those of culvert.
const (
	exitFailed    = 1
	exitUsage     = 2
	exitPrivilege = 77
)

// errUsage is an error of the command line; its text has been printed.
var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := dispatch(ctx, os.Args[1:])
	switch {
	case err == nil:
	case errors.Is(err, errUsage):
		os.Exit(exitUsage)
	default:
		fmt.Fprintln(os.Stderr, "bench:", err)
		if os.Getuid() != 0 {
			os.Exit(exitPrivilege)
		}
		os.Exit(exitFailed)
	}
}

// command is one thing that this program does.
type command struct {
	name string
	run  func(ctx context.Context, arguments []string) error
}

// commands are those for people.
var commands = []command{{"run", runRows}, {"peers", runPeers}, {"golden", runGolden}}

func dispatch(ctx context.Context, arguments []string) error {
	if len(arguments) > 0 {
		for _, c := range slices.Concat(commands, children) {
			if c.name == arguments[0] {
				return c.run(ctx, arguments[1:])
			}
		}
	}
	fmt.Fprint(os.Stderr, "usage: bench ")
	for i, c := range commands {
		if i > 0 {
			fmt.Fprint(os.Stderr, " | ")
		}
		fmt.Fprint(os.Stderr, c.name)
	}
	fmt.Fprintln(os.Stderr)
	return errUsage
}

// parse reads flags; what is wrong with them has been printed when it returns.
func parse(flags *flag.FlagSet, arguments []string) error {
	if err := flags.Parse(arguments); err != nil {
		return errUsage
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "bench: %q is not expected\n", flags.Arg(0))
		return errUsage
	}
	return nil
}
