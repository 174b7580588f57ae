package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"culvert/controlplane/telemetry"
)

// addLogFlags adds the flags that every command has. Wrong values are refused before a command runs.
func addLogFlags(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.Var(&choice{allowed: []string{"text", "json"}}, "log-format",
		"text or json (default: text on a terminal, json otherwise)")
	flags.Var(&choice{value: "info", allowed: []string{"debug", "info", "warn", "error"}}, "log-level",
		"debug, info, warn or error")
}

// choice is a flag with a few allowed words.
type choice struct {
	value   string
	allowed []string
}

func (c *choice) String() string { return c.value }

// Type names the kind of value in the usage text.
func (c *choice) Type() string { return "word" }

// Set takes a value from the command line.
func (c *choice) Set(value string) error {
	for _, allowed := range c.allowed {
		if value == allowed {
			c.value = value
			return nil
		}
	}
	return fmt.Errorf("want one of %q", c.allowed)
}

// logger is the log of a command, on stderr, as the log flags ask for. It never colours, and no message can
// flood it.
func logger(command *cobra.Command) *slog.Logger {
	out := command.ErrOrStderr()
	options := &slog.HandlerOptions{}
	// The flag has let only known levels through.
	var level slog.Level
	if err := level.UnmarshalText([]byte(command.Flag("log-level").Value.String())); err == nil {
		options.Level = level
	}
	format := command.Flag("log-format").Value.String()
	if format == "" && isTerminal(out) || format == "text" {
		return slog.New(telemetry.LimitLog(slog.NewTextHandler(out, options)))
	}
	return slog.New(telemetry.LimitLog(slog.NewJSONHandler(out, options)))
}

// isTerminal tells whether what is written there is read by a person.
func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
