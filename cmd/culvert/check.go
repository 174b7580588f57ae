package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"culvert/controlplane/config"
	"culvert/controlplane/gateway"
	"culvert/controlplane/traces"
)

func newCheckCommand() *cobra.Command {
	var file, series string
	command := &cobra.Command{
		Use:   "check -c FILE",
		Short: "Read configuration and rules, report every error, print the plan",
		Long: "Read the configuration and the rules it names and report every error with file, line and\n" +
			"column. If there is none, print what `culvert run` would do on this machine. It opens no\n" +
			"port and attaches nothing.",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			setup, err := load(file, command.ErrOrStderr())
			if err != nil {
				return err
			}
			plan, err := gateway.MakePlan(setup.Config)
			if err != nil {
				return err
			}
			printPlan(command.Context(), command.OutOrStdout(), setup, plan)
			if series != "" {
				return printShares(command.OutOrStdout(), setup.Config, series)
			}
			return nil
		},
	}
	command.Flags().StringVarP(&file, "config", "c", config.DefaultPath, "configuration file")
	command.Flags().StringVar(&series, "series", "",
		"a file of Line Protocol: shows how its series are shared out among a sink's urls")
	return command
}

// printPlan shows which queue is served by which CPU, and where points and alerts go.
func printPlan(ctx context.Context, out io.Writer, setup *gateway.Setup, plan *gateway.Plan) {
	c, set := setup.Config, setup.Rules
	fmt.Fprintf(out, "%s is right.\n\n", c.File)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "INTERFACE\tQUEUE\tWORKER\tCPU\tNODE\tMODE")
	for _, seat := range plan.Seats {
		worker, queue := plan.Workers[seat.Worker], fmt.Sprint(seat.Queue)
		if plan.Fanout(seat.Interface) > 1 {
			queue += fmt.Sprintf(" socket %d, by %s", seat.Member,
				findInterface(c.Interfaces, seat.Interface).QueuesFanout)
		}
		mode := plan.Mode(seat.Interface, findInterface(c.Interfaces, seat.Interface).Mode)
		if plan.Polled[seat.Interface] && seat.Member == 0 {
			mode += ", busy polling"
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%s\t%s\n", seat.Interface, queue, seat.Worker,
			orNone(worker.CPU, "not pinned"), orNone(worker.Node, "any"), mode)
	}
	fmt.Fprintf(w, "kernel\t-\tkernel\t%s\tany\tslow path\n", plan.HousekeepingList())
	if len(plan.Idle) > 0 {
		fmt.Fprintf(w, "-\t-\tnone\t%s\tany\tleft alone\n", plan.IdleList())
	}
	w.Flush()
	fmt.Fprintln(out)
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "LISTENER\tPORT\tADDRESS\tPRECISION\tSOURCES")
	for _, l := range c.Listeners {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\n", l.Name, l.Port, list(l.Address, "the interface's own"),
			l.Precision,
			list(l.Sources, "all"))
	}
	fmt.Fprintln(w, "\nSINK\tURL\tAPI\tROUTING\tORDER\tBATCH\tRETRIES\tTENANTS")
	for _, s := range c.Sinks {
		routing := s.Routing
		if len(s.URLs) == 1 {
			routing = "-"
		}
		for _, url := range s.URLs {
			fmt.Fprintf(w, "%s\t%s\tv%d\t%s\t%s\t%s or %d points\t%d attempts\t%s\n", s.Name, url, s.API(),
				routing, s.Order, s.Batch.Bytes, s.Batch.Points, s.Retry.Attempts,
				list(tenantsOf(c, s.Name), "none"))
		}
	}
	w.Flush()
	printTraces(out, &c.Traces)
	if len(set.Rules()) > 0 {
		fmt.Fprintln(out)
		w = tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "RULE\tON\tACTIONS")
		for _, r := range set.Rules() {
			fmt.Fprintf(w, "%s\t%s\t%s\n", r.Name, strings.Join(r.On, ", "), list(r.Actions, "the log"))
		}
		w.Flush()
	}
	for _, warning := range append(printNotifiers(ctx, out, c, plan), warnings(c, plan)...) {
		fmt.Fprintf(out, "\nwarning: %s\n", warning)
	}
}

// printTraces shows where traces go, and by which transport, if they are on.
func printTraces(out io.Writer, c *config.Traces) {
	if c.Exporter == "off" {
		return
	}
	to, err := traces.Destination(c.Exporter, c.Endpoint)
	if err != nil {
		to = err.Error()
	}
	fmt.Fprintf(out, "\nTRACES  one batch in %d, to %s\n", c.OneIn, to)
}

// tenantsOf are the tenants whose points go to a sink.
func tenantsOf(c *config.Config, sink string) (names []string) {
	for _, t := range c.Tenants {
		if t.Sink == sink {
			names = append(names, t.Name)
		}
	}
	return names
}

// printShares shows how the series of a file would be shared out, for each sink that shares out by series.
func printShares(out io.Writer, c *config.Config, file string) error {
	for i := range c.Sinks {
		s := &c.Sinks[i]
		if len(s.URLs) == 1 || s.Routing != "hash" && s.Routing != "load_aware" {
			continue
		}
		sample, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("open the sample of series: %w", err)
		}
		shares, err := gateway.SharesOf(s, sample)
		sample.Close()
		if err != nil {
			return err
		}
		series, points := 0, 0
		for url := range s.URLs {
			series, points = series+shares.Series[url], points+shares.Points[url]
		}
		fmt.Fprintf(out, "\n%s: %d series, %d points, %d lines that are none\n", file, series, points,
			shares.Unread)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "SINK\tURL\tSERIES\tSHARE\tPOINTS\tSHARE")
		for url, address := range s.URLs {
			fmt.Fprintf(w, "%s\t%s\t%d\t%s\t%d\t%s\n", s.Name, address, shares.Series[url],
				percent(shares.Series[url], series), shares.Points[url], percent(shares.Points[url], points))
		}
		w.Flush()
	}
	return nil
}

func percent(part, whole int) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f %%", 100*float64(part)/float64(whole))
}

// printNotifiers shows where alerts go and how they leave, and returns what of it may not be what was meant.
func printNotifiers(ctx context.Context, out io.Writer, c *config.Config, plan *gateway.Plan) []string {
	if len(c.Notifiers) == 0 {
		return nil
	}
	var notes []string
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NOTIFIER\tTYPE\tBY\tLIMIT")
	for i := range c.Notifiers {
		n := &c.Notifiers[i]
		how, note := gateway.DepartureOf(ctx, c, n, plan)
		if note != "" {
			notes = append(notes, note)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", n.Name, n.Type, how, limitOf(n))
	}
	w.Flush()
	return notes
}

// warnings are what is right but may not be what was meant.
func warnings(c *config.Config, plan *gateway.Plan) []string {
	var notes []string
	for _, note := range slices.Concat(plan.Notes, plan.Cautions) {
		notes = append(notes, note.String())
	}
	for i := range c.Interfaces {
		in := &c.Interfaces[i]
		if in.QueuesFanout == "packet" && plan.Fanout(in.Name) > 1 {
			notes = append(notes, fmt.Sprintf("%s deals packets out in turn: points without a timestamp may "+
				"get the same one from two workers, and the later replaces the other", in.Name))
		}
	}
	for _, l := range c.Listeners {
		if len(l.Sources) == 0 {
			notes = append(notes, fmt.Sprintf(
				"listener %q takes packets from everyone: XDP comes before the firewall, so `sources` is it",
				l.Name))
		}
	}
	for _, s := range c.Sinks {
		if s.Order == "series" {
			continue
		}
		notes = append(notes,
			fmt.Sprintf("sink %q has order none: a write that is tried again may overtake a newer "+
				"one of the same series and timestamp", s.Name))
	}
	return notes
}

func orNone(n int, none string) string {
	if n < 0 {
		return none
	}
	return fmt.Sprint(n)
}

func list[T any](values []T, none string) string {
	if len(values) == 0 {
		return none
	}
	text := make([]string, len(values))
	for i, v := range values {
		text[i] = fmt.Sprint(v)
	}
	return strings.Join(text, ", ")
}

func limitOf(n *config.Notifier) string {
	if n.Limit == 0 {
		return "none"
	}
	return fmt.Sprintf("%d/s", n.Limit)
}
