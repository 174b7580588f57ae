package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"culvert/controlplane/attach"
	"culvert/controlplane/config"
	"culvert/controlplane/doctor"
	"culvert/controlplane/nic"
	"culvert/controlplane/tune"
)

// tuning is what the three commands of tune share.
type tuning struct {
	iface, file, stateDir string
	defaultRoute, raw     bool

	card doctor.Card // as it was looked at last
}

func newTuneCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "tune plan|apply|revert -i IFACE",
		Short: "Put this host right for a gateway, and back",
		Long: "Set queues, rings, offloads, hash and rules (ntuple), interrupts, huge pages, sleep states\n" +
			"and sysctls of this host as a gateway on the interface has them best. `plan` shows what\n" +
			"would change, `apply` changes it and writes down in the state directory what was, `revert`\n" +
			"restores exactly that. With a configuration that serves some of the card's queues only,\n" +
			"packets are led to these, too.\n" +
			"Nothing outlives a reboot.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			return exit(exitUsage, fmt.Errorf("say plan, apply or revert; see `%s --help`",
				command.CommandPath()))
		},
	}
	command.AddCommand(
		newTuneStep("plan", "Show what would change", (*tuning).plan),
		newTuneStep("apply", "Change it, and write down what was", (*tuning).apply),
		newTuneStep("revert", "Restore what was written down", (*tuning).revert),
	)
	return command
}

func newTuneStep(name, short string, step func(*tuning, io.Writer, *config.Config) error) *cobra.Command {
	t := &tuning{}
	command := &cobra.Command{
		Use:   name + " -i IFACE [-c FILE]",
		Short: short,
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			var c *config.Config
			if t.file != "" {
				var err error
				if c, err = loadHost(t.file, command.ErrOrStderr()); err != nil {
					return err
				}
			}
			err := step(t, command.OutOrStdout(), c)
			if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
				err = fmt.Errorf("%w; run as root", err)
			}
			return err
		},
	}
	flags := command.Flags()
	flags.StringVarP(&t.iface, "interface", "i", "", "interface that the gateway serves")
	flags.StringVarP(&t.file, "config", "c", "",
		"configuration file: workers, queues, listeners and state directory (optional)")
	flags.StringVar(&t.stateDir, "state-dir", "",
		"directory of the journal (default: that of the configuration)")
	if name == "plan" {
		flags.BoolVar(&t.raw, "json", false, "print the changes as JSON")
	} else {
		flags.BoolVar(&t.defaultRoute, "default-route", false,
			"also where the host's default route leaves by the interface: it may be cut off for a moment")
	}
	command.MarkFlagRequired("interface")
	return command
}

// look plans for the interface as the host is now.
func (t *tuning) look(c *config.Config) ([]tune.Change, error) {
	host, err := doctor.Look(c, []string{t.iface})
	if err != nil {
		return nil, err
	}
	if !host.Cards[0].Present {
		return nil, &attach.Error{Kind: attach.Missing, Interface: t.iface, Attempt: "tune",
			Problem: "there is no such interface", Remedy: "`ip -br link` lists those there are"}
	}
	// A gateway that runs has its huge pages already.
	host.Running = askRunning(c)
	t.card = host.Cards[0]
	return tune.Plan(host, tune.Machine{Root: "/"})
}

func (t *tuning) plan(out io.Writer, c *config.Config) error {
	changes, err := t.look(c)
	if err != nil {
		return err
	}
	if t.raw {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(append([]tune.Change{}, changes...))
	}
	if len(changes) == 0 {
		fmt.Fprintln(out, "all is as it should be")
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SETTING\tNOW\tBECOMES\tWHY")
	var settings []tune.Setting
	for _, change := range changes {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", change.Setting, change.Now, change.Becomes, change.Why)
		settings = append(settings, change.Setting)
	}
	err = w.Flush()
	t.warn(out, settings)
	return err
}

// warn says what of the settings will not last.
func (t *tuning) warn(out io.Writer, settings []tune.Setting) {
	if note := tune.Forgotten(&t.card, settings); note != "" {
		fmt.Fprintf(out, "\nwarning: %s\n", note)
	}
}

func (t *tuning) session(c *config.Config) (*tune.Session, error) {
	dir := t.stateDir
	if dir == "" && c != nil {
		dir = c.StateDir
	}
	if dir == "" {
		dir = config.Default().StateDir
	}
	carries, err := nic.CarriesDefaultRoute(t.iface)
	if err != nil {
		return nil, err
	}
	if carries && !t.defaultRoute {
		return nil,
			fmt.Errorf("tune %q: the host's default route leaves by it, and a change of its queues may "+
				"cut the host off for a moment; --default-route does it all the same", t.iface)
	}
	return &tune.Session{
		Knobs: tune.Machine{Root: "/"}, Root: "/", StateDir: filepath.Join(dir, "tune"), Interface: t.iface,
		Look:      func() ([]tune.Change, error) { return t.look(c) },
		Disturbed: func() ([]tune.Setting, error) { return tune.Disturbed("/", t.iface) },
	}, nil
}

func (t *tuning) apply(out io.Writer, c *config.Config) error {
	session, err := t.session(c)
	if err != nil {
		return err
	}
	outcomes, err := session.Apply()
	if err != nil && len(outcomes) == 0 {
		return err
	}
	err = errors.Join(report(out, outcomes, "all is as it should be"), err)
	var settings []tune.Setting
	for _, outcome := range outcomes {
		settings = append(settings, outcome.Setting)
	}
	t.warn(out, settings)
	return err
}

func (t *tuning) revert(out io.Writer, c *config.Config) error {
	session, err := t.session(c)
	if err != nil {
		return err
	}
	outcomes, err := session.Revert()
	if err != nil && len(outcomes) == 0 {
		return err
	}
	return errors.Join(report(out, outcomes, "there is nothing to restore"), err)
}

// report prints what came of changes, and is an error if some did not become as wanted.
func report(out io.Writer, outcomes []tune.Outcome, nothing string) error {
	if len(outcomes) == 0 {
		fmt.Fprintln(out, nothing)
		return nil
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "SETTING\tWAS\tIS\t")
	var problems []error
	for _, o := range outcomes {
		note := o.Why
		if o.Problem != nil {
			note = o.Problem.Error()
			problems = append(problems, fmt.Errorf("%s: %w", o.Setting, o.Problem))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", o.Setting, o.From, o.To, note)
	}
	w.Flush()
	return errors.Join(problems...)
}
