package main

import (
	"context"
	"errors"
	"fmt"

	tea "charm.land/bubbletea/v2"
	"github.com/spf13/cobra"

	"culvert/controlplane/top"
)

func newTopCommand() *cobra.Command {
	var url string
	command := &cobra.Command{
		Use:   "top",
		Short: "Watch the running gateway in a terminal: rates, latencies, ledger, workers, sinks, alerts",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if !isTerminal(command.OutOrStdout()) {
				return errors.New("show the gateway: the output is no terminal; `culvert status` prints once")
			}
			// One question first: a wrong address is an error, not a page that says so for ever.
			if _, err := askStatus(url); err != nil {
				return err
			}
			ctx, cancel := context.WithCancel(command.Context())
			defer cancel()
			program := tea.NewProgram(top.New(url), tea.WithContext(ctx),
				tea.WithOutput(command.OutOrStdout()))
			go top.Follow(ctx, url, func(message any) { program.Send(message) })
			if _, err := program.Run(); err != nil && !errors.Is(err, tea.ErrInterrupted) {
				return fmt.Errorf("show the gateway: %w", err)
			}
			return nil
		},
	}
	addURLFlag(command, &url)
	return command
}
