package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"culvert/controlplane/loadgen"
	"culvert/controlplane/telemetry"
)

// errUnbalanced says that sender, gateway and database do not agree.
var errUnbalanced = errors.New("the balance is not exact")

// Outcome is what the demo found out, after everything has come to rest.
type Outcome struct {
	Parameters Parameters
	Sent       *loadgen.Report
	Status     *telemetry.Status
	Found      uint64 // points that the database returned
	Database   string
}

// report prints the outcome and returns errUnbalanced, with every difference, unless all figures agree.
func report(out io.Writer, o *Outcome) error {
	o.printBalance(out)
	o.printFigures(out)
	differences := o.differences()
	if len(differences) == 0 {
		fmt.Fprintln(out, "  balance exact: every point that was sent is in the database, once")
		return nil
	}
	return fmt.Errorf("%w:\n  %s", errUnbalanced, strings.Join(differences, "\n  "))
}

// printBalance prints packets and points along their way.
func (o *Outcome) printBalance(out io.Writer) {
	ledger, packets := &o.Status.Ledger, &o.Status.Packets
	lost := sum(packets.Drops) + packets.KernelDrops
	for _, row := range [][3]string{
		{"", "packets", "points"},
		{"sent", grouped(o.Sent.Packets), grouped(o.Sent.Points)},
		{"received", grouped(packets.Received), grouped(ledger.Received)},
		{"  by the kernel's sockets", grouped(packets.Kernel), ""},
		{"rejected", grouped(sum(packets.Rejected)), grouped(sum(ledger.Rejected))},
		{"dropped", grouped(lost), grouped(sum(ledger.Dropped))},
		{"in flight", "", grouped(ledger.InFlight)},
		{"written", "", grouped(ledger.Written)},
		{"found in " + o.Database, "", grouped(o.Found)},
		{"ledger's residue", "", fmt.Sprint(ledger.Residue)},
	} {
		fmt.Fprintf(out, "  %-28s %14s %14s\n", row[0], row[1], row[2])
	}
	fmt.Fprintln(out)
}

// printFigures prints rate, latencies and alerts, and how packets came in.
func (o *Outcome) printFigures(out io.Writer) {
	line := func(name, text string) { fmt.Fprintf(out, "  %-28s %s\n", name, text) }
	rate := grouped(uint64(o.Sent.Rate)) + " points/s over " + duration(o.Sent.Seconds)
	if !o.Sent.Held {
		rate += ", less than the " + grouped(uint64(o.Sent.TargetRate)) + " asked for"
	}
	line("rate", rate)
	alert, end := o.Status.Latency["alert"], o.Status.Latency["end_to_end"]
	line("arrival → alert", "P50 "+duration(alert.P50)+", P99 "+duration(alert.P99))
	line("arrival → acknowledged", "P50 "+duration(end.P50)+", P99 "+duration(end.P99))
	o.printWaterfall(out)
	firing, raised := alerts(o.Status)
	line("alerts", fmt.Sprintf("%s raised, %d firing; %s points were beyond the limit",
		grouped(raised), firing, grouped(o.Sent.Violations)))
	for _, i := range o.Status.Interfaces {
		line("interface "+i.Name, fmt.Sprintf("%s, driver %s, %d queues", i.Mode, i.Driver, len(i.Queues)))
	}
	fmt.Fprintln(out)
}

// printWaterfall prints where the time went from the card, or XDP where that does not tell, to the
// acknowledgement. Decoding and rules are a
// part of the wait; the other means add up to the whole.
func (o *Outcome) printWaterfall(out io.Writer) {
	fmt.Fprintf(out, "  %-28s %10s %10s %10s\n", "stage", "mean", "P50", "P99")
	sum := 0.0
	for _, stage := range []struct{ key, name string }{
		{"nic_to_steer", "card → XDP"}, {"steer_to_worker", "XDP → worker"},
		{"batch_wait", "worker → batch sealed"},
		{"decode", "  of it decoding a packet"}, {"rules", "  of it its rules"},
		{"write", "sealed → acknowledged"}, {"end_to_end", "XDP → acknowledged"},
	} {
		l := o.Status.Latency[stage.key]
		if stage.key == "nic_to_steer" && l.Count == 0 {
			continue // The card does not tell.
		}
		fmt.Fprintf(out, "  %-28s %10s %10s %10s\n", stage.name, duration(l.Mean), duration(l.P50),
			duration(l.P99))
		switch stage.key {
		case "steer_to_worker", "batch_wait", "write":
			sum += l.Mean
		}
	}
	if whole := o.Status.Latency["end_to_end"].Mean; whole > 0 {
		fmt.Fprintf(out, "  %-28s %10s, %.2f %% of the whole\n\n", "the means add up to", duration(sum),
			100*sum/whole)
	}
}

// differences says in words what does not agree.
func (o *Outcome) differences() []string {
	ledger, packets := &o.Status.Ledger, &o.Status.Packets
	var found []string
	differ := func(format string, arguments ...any) {
		found = append(found, fmt.Sprintf(format, arguments...))
	}
	if ledger.Residue != 0 {
		differ("the ledger's residue is %d, not 0: this is a bug", ledger.Residue)
	}
	if packets.ResidueRedirect != 0 || packets.ResidueDecode != 0 {
		differ("the packet balance leaves %d redirected and %d received packets open",
			packets.ResidueRedirect, packets.ResidueDecode)
	}
	if o.Found != o.Sent.Points {
		differ("%s points were sent, the database has %s", grouped(o.Sent.Points), grouped(o.Found))
	}
	if ledger.Received != o.Sent.Points {
		differ("%s points were sent, %s received; %s packets sent, %s received", grouped(o.Sent.Points),
			grouped(ledger.Received), grouped(o.Sent.Packets), grouped(packets.Received))
	}
	if ledger.Written != o.Found {
		differ("%s points were acknowledged, the database has %s", grouped(ledger.Written), grouped(o.Found))
	}
	if ledger.InFlight > 0 {
		differ("%s points are still in flight after %s", grouped(ledger.InFlight), quietLimit)
	}
	for _, counts := range []struct {
		what string
		by   map[string]uint64
	}{
		{"points rejected", ledger.Rejected}, {"points dropped", ledger.Dropped},
		{"packets rejected", packets.Rejected}, {"packets dropped", packets.Drops},
	} {
		for _, reason := range sortedKeys(counts.by) {
			if n := counts.by[reason]; n > 0 {
				differ("%s %s: %s", grouped(n), counts.what, reason)
			}
		}
	}
	if packets.KernelDrops > 0 {
		differ("%s packets dropped: the kernel's socket was full", grouped(packets.KernelDrops))
	}
	return found
}

func sortedKeys(counts map[string]uint64) []string {
	keys := make([]string, 0, len(counts))
	for key := range counts {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
