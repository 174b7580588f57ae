package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"culvert/controlplane/api"
	"culvert/controlplane/attach"
	"culvert/controlplane/config"
	"culvert/controlplane/confine"
	"culvert/controlplane/gateway"
	"culvert/controlplane/telemetry"
)

// shutdownTime bounds how long the HTTP interface takes to end.
const shutdownTime = 2 * time.Second

func newRunCommand() *cobra.Command {
	var file string
	command := &cobra.Command{
		Use:   "run -c FILE",
		Short: "Run the gateway in the foreground",
		Long: "Run the gateway in the foreground. On SIGTERM or SIGINT it takes no more packets, delivers\n" +
			"what is in memory (for at most ten seconds), detaches and ends; on a second one it ends at\n" +
			"once. On SIGHUP it does what `culvert reload` does.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			// Before anything else: a signal that comes while starting must not kill half a gateway.
			ctx, stop := signal.NotifyContext(command.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			// Nor must a hang-up, by which services are told to reload: a terminal that closes sends one,
			// too.
			hangUps := make(chan os.Signal, 1)
			signal.Notify(hangUps, syscall.SIGHUP)
			defer signal.Stop(hangUps)
			setup, err := load(file, command.ErrOrStderr())
			if err != nil {
				return fmt.Errorf("%w: the gateway does not start", err)
			}
			return run(ctx, setup, logger(command), stop, hangUps)
		},
	}
	command.Flags().StringVarP(&file, "config", "c", config.DefaultPath, "configuration file")
	return command
}

// run starts the gateway and its HTTP interface, and stops both when the context ends.
func run(ctx context.Context, setup *gateway.Setup, log *slog.Logger, unhook func(),
	hangUps <-chan os.Signal) (err error) {
	c := setup.Config
	seen, err := seePrograms(c)
	if err != nil {
		return err
	}
	confinement, err := confine.Drop()
	if err != nil {
		log.Warn("privileges are not all given up", "error", err)
	}
	g, err := gateway.Start(ctx, gateway.Options{Config: c, Rules: setup.Rules, Log: log,
		Version: versionName(), Seen: seen, Kept: keptSockets(c, log),
		Keep: func(port uint16, fd int) bool { return keepSocket(port, fd, log) }})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Stop()) }()
	token, err := gateway.ReadToken(c)
	if err != nil {
		return err
	}
	var shown telemetry.Confinement
	server, err := api.New(api.Config{
		Listen: c.HTTP.Listen, Snapshot: func() *telemetry.Snapshot {
			s := g.Snapshot()
			s.Confinement = &shown
			return s
		},
		Live: g.Live, Probes: g.Probes(),
		Alerts: g.Alerts, Rejects: g.Rejects, Tap: g.Tap, Tenants: len(c.Tenants),
		Reload: func() (*telemetry.Reload, error) { return reload(g) }, Token: token, Log: log,
	})
	if err != nil {
		return err
	}
	confinement = confinement.Enclose(gateway.Files(c))
	log.Info("confined", "user", confinement.User, "capabilities", confinement.Capabilities, "syscalls",
		confinement.Syscalls, "files", confinement.Files)
	shown = telemetry.Confinement(confinement)
	served := make(chan error, 1)
	go func() { served <- server.Serve() }()
	log.Info("running", "gateway", c.Gateway.ID, "version", versionName(), "http", server.Addr().String())
	// systemd is told only now, when signals, sockets and steering are in place; without it nothing happens.
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.Warn("notify systemd", "error", err)
	}
	go watchdog(ctx, g, log)
	go followHangUps(ctx, g, hangUps, log)
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

// seePrograms looks whose programs are on the interfaces while it may still be asked.
func seePrograms(c *config.Config) (map[string]attach.Seen, error) {
	seen := map[string]attach.Seen{}
	for i := range c.Interfaces {
		name := c.Interfaces[i].Name
		one, err := attach.See(name)
		if err != nil {
			return nil, err
		}
		seen[name] = one
	}
	return seen, nil
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

// load reads and checks the configuration and its rules. Every mistake goes to w with its line and a caret;
// the error returned says how many there were.
func load(file string, w io.Writer) (*gateway.Setup, error) {
	setup, mistakes := gateway.Load(file)
	return setup, tell(file, mistakes, w)
}

// loadHost is load for commands about the host. Rules, tokens and certificates are not looked at: the service
// alone may read some, and systemd's credentials are there while it runs.
func loadHost(file string, w io.Writer) (*config.Config, error) {
	c, mistakes := config.Load(file)
	return c, tell(file, mistakes, w)
}

// tell writes mistakes, and is the error that counts them.
func tell[M gateway.Mistake](file string, mistakes []M, w io.Writer) error {
	for _, m := range mistakes {
		fmt.Fprintln(w, m.Detail())
	}
	if len(mistakes) == 0 {
		return nil
	}
	return exit(exitConfig, fmt.Errorf("%s: %d %s", file, len(mistakes),
		plural(len(mistakes), "mistake", "mistakes")))
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
