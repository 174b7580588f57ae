package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"culvert/controlplane/api"
	"culvert/controlplane/config"
	"culvert/controlplane/gateway"
	"culvert/controlplane/rulefile"
	"culvert/dataplane/rules"
)

// shutdownTime bounds how long the HTTP interface takes to end.
const shutdownTime = 2 * time.Second

func newRunCommand() *cobra.Command {
	var file string
	command := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Run the gateway in the foreground",
		Long: "Run the gateway in the foreground. SIGTERM or SIGINT takes no more packets, delivers what is in\n" +
			"memory (for at most ten seconds), detaches and ends; a second one ends at once.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			// Before anything else: a signal that comes while starting must not kill half a gateway.
			ctx, stop := signal.NotifyContext(command.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			c, set, err := load(file, command.ErrOrStderr())
			if err != nil {
				return err
			}
			return run(ctx, c, set, logger(command), stop)
		},
	}
	command.Flags().StringVarP(&file, "config", "c", config.DefaultPath, "configuration file")
	return command
}

// run starts the gateway and its HTTP interface, and stops both when the context ends.
func run(ctx context.Context, c *config.Config, set *rules.Set, log *slog.Logger, unhook func()) (err error) {
	g, err := gateway.Start(ctx, gateway.Options{Config: c, Rules: set, Log: log, Version: versionName()})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Stop()) }()
	server, err := api.New(api.Config{
		Listen: c.HTTP.Listen, Snapshot: g.Snapshot, Live: g.Live, Log: log,
	})
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	log.Info("running", "gateway", c.Gateway.ID, "version", versionName(), "http", server.Addr().String())
	// systemd is told only now, when signals, sockets and steering are in place; without it nothing happens.
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Warn("notify systemd", "error", err)
	}
	go watchdog(ctx, g, log)
	select {
	case <-ctx.Done():
		// From here on a second signal ends the process as if nobody listened.
		unhook()
		log.Info("stopping")
	case err = <-served:
	}
	_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping)
	// The interface answers until the drain is over, so that a stop can be watched.
	err = errors.Join(err, g.Stop())
	shutdown, cancel := context.WithTimeout(context.Background(), shutdownTime)
	defer cancel()
	return errors.Join(err, server.Shutdown(shutdown))
}

// watchdog tells systemd that the workers live, as often as it asks for, while they do.
func watchdog(ctx context.Context, g *gateway.Gateway, log *slog.Logger) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		return
	}
	ticker := time.NewTicker(interval / 2)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if err := g.Live(); err != nil {
			log.Error("not live", "error", err)
			continue
		}
		_, _ = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
	}
}

// load reads and checks the configuration and its rules. Every error goes to w with its line and a caret; the
// one returned says how many there were.
func load(file string, w io.Writer) (*config.Config, *rules.Set, error) {
	c, found := config.Load(file)
	if len(found) > 0 {
		for _, e := range found {
			fmt.Fprintln(w, e.Detail())
		}
		return nil, nil, exit(exitConfig, fmt.Errorf("%s: %d %s: the gateway does not start", file, len(found),
			plural(len(found), "error", "errors")))
	}
	groups, wrong := rulefile.Load(c.Rules.Files)
	var set *rules.Set
	if len(wrong) == 0 {
		set, wrong = rules.Compile(groups)
	}
	if len(wrong) == 0 {
		wrong = set.CheckActions(notifierNames(c))
	}
	if len(wrong) > 0 {
		for _, e := range wrong {
			fmt.Fprintln(w, e.Detail())
		}
		return nil, nil, exit(exitConfig, fmt.Errorf("rules: %d %s: the gateway does not start", len(wrong),
			plural(len(wrong), "error", "errors")))
	}
	return c, set, nil
}

func notifierNames(c *config.Config) []string {
	names := make([]string, len(c.Notifiers))
	for i := range names {
		names[i] = c.Notifiers[i].Name
	}
	return names
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
