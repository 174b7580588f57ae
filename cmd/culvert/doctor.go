package main

import (
	"encoding/json"
	"fmt"
	"net"

	"github.com/spf13/cobra"

	"culvert/controlplane/config"
	"culvert/controlplane/doctor"
	"culvert/controlplane/telemetry"
)

func newDoctorCommand() *cobra.Command {
	var interfaces []string
	var file string
	var raw, strict bool
	command := &cobra.Command{
		Use:   "doctor [-i IFACE] [-c FILE]",
		Short: "Say what this host lacks for a gateway, and what mends it",
		Long: "Look at this host, and at the interfaces named or configured: kernel, privileges, limits,\n" +
			"memory, drivers, queues, interrupts, offloads. Each finding is PASS, WARN or FAIL and has\n" +
			"the command that mends it; SKIP is what could not be looked at. Nothing is changed.\n\n" +
			"It ends with 0 if all is well or could be better, with 1 if it could be better and --strict\n" +
			"is given, and with 2 if something required is missing.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			var c *config.Config
			if file != "" {
				var err error
				if c, err = loadHost(file, command.ErrOrStderr()); err != nil {
					return err
				}
			}
			host, err := doctor.Look(c, interfaces)
			if err != nil {
				return err
			}
			host.Running = askRunning(c)
			report := doctor.Examine(host)
			if raw {
				encoder := json.NewEncoder(command.OutOrStdout())
				encoder.SetIndent("", "  ")
				if err := encoder.Encode(report); err != nil {
					return fmt.Errorf("write the report: %w", err)
				}
			} else {
				report.Render(command.OutOrStdout())
			}
			return verdict(report, strict)
		},
	}
	command.Flags().StringSliceVarP(&interfaces, "interface", "i", nil,
		"interface to look at (may be repeated)")
	command.Flags().StringVarP(&file, "config", "c", "",
		"configuration file: look at its interfaces and at what it asks for (optional)")
	command.Flags().BoolVar(&raw, "json", false, "print the findings as JSON")
	command.Flags().BoolVar(&strict, "strict", false, "end with 1 if something could be better")
	return command
}

// askRunning is the status of the gateway that runs with this configuration, or with the default one; nil if
// none answers.
func askRunning(c *config.Config) *telemetry.Status {
	if c == nil {
		c = config.Default()
	}
	host, port, err := net.SplitHostPort(c.HTTP.Listen)
	if err != nil {
		return nil
	}
	if address := net.ParseIP(host); host == "" || address.IsUnspecified() {
		host = "127.0.0.1"
	}
	status, err := askStatus("http://" + net.JoinHostPort(host, port))
	if err != nil {
		return nil
	}
	return status
}

// The exit codes of doctor, which are its own: 2 is not wrong usage here.
const (
	exitWarned  = 1
	exitMissing = 2
)

// verdict is the error that makes the exit code.
func verdict(report doctor.Report, strict bool) error {
	missing, warned := report.Count(doctor.Fail), report.Count(doctor.Warn)
	switch {
	case missing > 0:
		return exit(exitMissing, fmt.Errorf("%d of what a gateway needs %s not there; the report says what "+
			"mends it", missing, plural(missing, "is", "are")))
	case warned > 0 && strict:
		return exit(exitWarned, fmt.Errorf("%d %s better, and --strict is given", warned,
			plural(warned, "thing could be", "things could be")))
	}
	return nil
}
