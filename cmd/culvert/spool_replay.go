package main

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"culvert/controlplane/config"
	"culvert/controlplane/gateway"
	"culvert/dataplane/spool"
)

func newSpoolReplayCommand() *cobra.Command {
	var file, url string
	command := &cobra.Command{
		Use:   "replay",
		Short: "Deliver what waits to the sinks of the configuration, without a gateway",
		Long: "Deliver what waits to the sinks of the configuration, oldest first, and end when nothing\n" +
			"is left. Exits 1 when a server takes nothing for ten seconds; what it did not take still\n" +
			"waits. A running gateway does all this by itself.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			read, mistakes := config.Load(file)
			for _, m := range mistakes {
				fmt.Fprintln(command.ErrOrStderr(), m.Detail())
			}
			if len(mistakes) > 0 {
				return exit(exitConfig, fmt.Errorf("%s: %d %s", file, len(mistakes),
					plural(len(mistakes), "mistake", "mistakes")))
			}
			ctx, stop := signal.NotifyContext(command.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			done, err := gateway.Replay(ctx, gateway.Options{Config: read, Log: logger(command)}, url)
			for _, one := range done {
				fmt.Fprintf(command.OutOrStdout(),
					"%s %s: %d of %d points delivered, %d rejected, %d dropped, %d wait\n", one.Sink, one.URL,
					one.Delivered, one.Restored, one.Rejected, one.Dropped, one.Pending)
			}
			if errors.Is(err, spool.ErrHeld) {
				return exit(exitUnavailable, fmt.Errorf("%w; a running gateway replays by itself", err))
			}
			return permitted(err)
		},
	}
	command.Flags().StringVarP(&file, "config", "c", config.DefaultPath, "configuration file")
	command.Flags().StringVar(&url, "to", "", "only what waits for this URL")
	return command
}
