package telemetry

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// Render writes the status as a page for people: what is wrong first, then the ledger, then the rest from the
// wire to the database. It is plain text without colour, 100 columns at most where names are short.
func Render(w io.Writer, s *Status) error {
	p := &page{Writer: tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	p.head(s)
	p.ledger(&s.Ledger)
	p.packets(&s.Packets)
	p.interfaces(s.Interfaces)
	p.workers(s)
	p.tenants(s.Tenants)
	p.heavy(s.HeavySeries)
	p.sinks(s.Sinks)
	p.latency(s.Latency)
	p.alerts(s)
	p.confinement(s.Confinement)
	if err := p.Flush(); err != nil {
		return fmt.Errorf("write status: %w", err)
	}
	return nil
}

// page is a text in columns. Its writer keeps the first error until Flush.
type page struct{ *tabwriter.Writer }

func (p *page) line(cells ...string) { fmt.Fprintln(p.Writer, strings.Join(cells, "\t")) }

// section begins a new block of columns, with a heading if there is one.
func (p *page) section(cells ...string) {
	p.Writer.Flush()
	fmt.Fprintln(p.Writer)
	if len(cells) > 0 {
		p.line(cells...)
	}
}

func (p *page) head(s *Status) {
	uptime := time.Duration(s.UptimeSeconds * second).Round(time.Second)
	fmt.Fprintf(p.Writer, "culvert %s, gateway %s, up %s\n", s.Version, s.Gateway, uptime)
	if s.Ready {
		fmt.Fprintln(p.Writer, "ready")
	}
	for i, reason := range s.Reasons {
		if i == 0 {
			fmt.Fprintln(p.Writer, "not ready:")
		}
		fmt.Fprintln(p.Writer, "  "+reason)
	}
	if s.ClockSteps > 0 {
		fmt.Fprintf(p.Writer, "the clock jumped, times: %d\n", s.ClockSteps)
	}
}

// Printable takes out what would steer a terminal: names and texts come from the network.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '·'
	}, text)
}

// Grouped is a number with spaces between its thousands.
func Grouped[N uint64 | int64 | int](n N) string {
	digits := strconv.FormatInt(int64(n), 10)
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return sign + digits
}

// right pads a figure on the left, so that a column of figures ends in one line.
func right[N uint64 | int64 | int](n N) string { return fmt.Sprintf("%15s", Grouped(n)) }

func (p *page) ledger(l *Ledger) {
	p.section("POINTS")
	p.line("  received", right(l.Received))
	p.unlessZero("  derived", l.Derived)
	p.unlessZero("  copied", l.Copied)
	p.unlessZero("  restored", l.Restored)
	p.line("  written", right(l.Written))
	p.reasons("  rejected", l.Rejected)
	p.unlessZero("  filtered", l.Filtered)
	p.reasons("  dropped", l.Dropped)
	p.unlessZero("  in the spool", l.SpoolPending)
	p.line("  in flight", right(l.InFlight))
	if l.Residue == 0 {
		p.line("  residue", right(l.Residue), "balanced")
	} else {
		p.line("  residue", right(l.Residue), "NOT BALANCED: a bug, report it with `culvert status --json`")
	}
}

func (p *page) unlessZero(name string, n uint64) {
	if n > 0 {
		p.line(name, right(n))
	}
}

// reasons writes a total and below it what it is made of, the largest first.
func (p *page) reasons(name string, counts map[string]uint64) {
	p.line(name, right(sum(counts)))
	names := slices.Collect(maps.Keys(counts))
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for _, reason := range names {
		p.line("    "+reason, right(counts[reason]))
	}
}

func (p *page) packets(k *Packets) {
	p.section("PACKETS")
	p.line("  redirected by XDP", right(k.Redirected))
	if len(k.Drops) > 0 {
		p.reasons("  dropped on the way", k.Drops)
	}
	p.line("  received", right(k.Received))
	p.unlessZero("    by the kernel's sockets", k.Kernel)
	p.line("  decoded", right(k.Decoded))
	if len(k.Rejected) > 0 {
		p.reasons("  rejected", k.Rejected)
	}
	p.unlessZero("  dropped by the kernel's sockets", k.KernelDrops)
	if k.ResidueRedirect != 0 || k.ResidueDecode != 0 {
		p.line("  in the rings", right(k.ResidueRedirect+k.ResidueDecode), "0 at a quiet moment")
	}
}

func (p *page) interfaces(interfaces []InterfaceStatus) {
	for i := range interfaces {
		in := &interfaces[i]
		mode := in.Mode
		if mode == "" {
			mode = "not attached"
		}
		p.section("INTERFACE " + in.Name + "  " + strings.Join(present(mode, in.Driver, in.State), ", "))
		if len(in.Queues) > 0 {
			p.line("  queue", "worker", "CPU", "node", fmt.Sprintf("%15s", "received"), "drops")
		}
		for _, q := range in.Queues {
			p.line("  "+strconv.Itoa(q.Queue), q.Worker, number(q.CPU), number(q.Node), right(q.Received),
				listed(q.Drops))
		}
		if in.CardTimes != "" && in.CardTimes != NoCardTimes {
			p.line("  times of arrival by the card: " + in.CardTimes)
		}
		if passed := others(in.Verdicts); passed != "" {
			p.line("  other verdicts: " + passed)
		}
	}
}

// others are the verdicts beside redirected.
func others(verdicts map[string]uint64) string {
	rest := maps.Clone(verdicts)
	delete(rest, "redirected")
	if len(rest) == 0 {
		return ""
	}
	return listed(rest)
}

// listed is "a 1, b 2", or "none".
func listed(counts map[string]uint64) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, name+" "+Grouped(counts[name]))
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func present(texts ...string) []string {
	return slices.DeleteFunc(texts, func(text string) bool { return text == "" })
}

// number is a CPU's or a node's, or a dash where there is none.
func number(n int) string {
	if n < 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

func (p *page) workers(s *Status) {
	p.section("WORKER", "CPU", "node", fmt.Sprintf("%15s", "packets"), fmt.Sprintf("%15s", "points"),
		fmt.Sprintf("%15s", "written"), "sends by", "last seen")
	for _, w := range s.Workers {
		p.line("  "+w.Name, number(w.CPU), number(w.Node), right(w.PacketsReceived), right(w.PointsReceived),
			right(w.PointsWritten), w.Transport, Seen(w.HeartbeatAge))
	}
	p.pages(s.Workers)
	for _, deviation := range s.Deviations {
		p.Writer.Flush()
		fmt.Fprintln(p.Writer, "  warning: "+deviation)
	}
	if len(s.Listeners) == 0 {
		return
	}
	p.section("LISTENER", "port", fmt.Sprintf("%15s", "points"))
	for _, l := range s.Listeners {
		p.line("  "+l.Name, strconv.Itoa(int(l.Port)), right(l.PointsReceived))
	}
}

// spool tells what waits, once something has.
func (p *page) spool(s *SpoolStatus) {
	if s == nil || s.Restored+s.Spooled+s.Adopted+s.DiskFailures+uint64(s.KeptBytes) == 0 {
		return
	}
	waits := fmt.Sprintf("  spool: %s points wait", Grouped(s.Pending))
	if s.OldestSeconds > 0 {
		age := time.Duration(s.OldestSeconds * float64(time.Second))
		waits += ", the oldest for " + age.Round(time.Second).String()
	}
	p.line(waits + ", in " + Grouped(s.Bytes) + " bytes")
	p.line(fmt.Sprintf("  spool: restored: %s, spooled: %s, replayed: %s", Grouped(s.Restored),
		Grouped(s.Spooled), Grouped(s.Replayed)))
	if s.Adopted+s.Moved > 0 {
		p.line(fmt.Sprintf("  spool: from other URLs: %s, to other URLs: %s", Grouped(s.Adopted),
			Grouped(s.Moved)))
	}
	if s.DiskError != "" {
		p.line(fmt.Sprintf("  spool's disk: %s; %s points in memory", s.DiskError, Grouped(s.MemoryPoints)))
	}
	if s.Skipped > 0 || s.KeptBytes > 0 {
		p.line(fmt.Sprintf("  spool: %s damaged places skipped, %s bytes kept aside", Grouped(s.Skipped),
			Grouped(s.KeptBytes)))
	}
}

func (p *page) sinks(sinks []SinkStatus) {
	for _, s := range sinks {
		state := "up"
		if !s.Up {
			state = "DOWN"
		}
		p.section(fmt.Sprintf("SINK %s  %s  %s, connections: %d", s.Name, s.URL, state, s.Connections))
		p.line("  breaker: " + s.Breaker + ", requests: " + answers(s.Requests))
		p.line(fmt.Sprintf("  points for it: %s, written: %s, in flight: %s%s", Grouped(s.Points.Stored),
			Grouped(s.Points.Written), Grouped(s.Points.InFlight), unbalanced(s.Points.Residue)))
		if s.ZeroCopySent+s.ZeroCopyCopied > 0 {
			p.line(fmt.Sprintf("  zero-copy sends: %s, copied after all: %s", Grouped(s.ZeroCopySent),
				Grouped(s.ZeroCopyCopied)))
		}
		p.spool(s.Spool)
		if s.LastError != "" {
			p.line("  last error: " + s.LastError)
		}
	}
}

// answers is "204: 3 095, error: 2": a code beside a figure must not look like a part of it.
func answers(requests map[string]uint64) string {
	var parts []string
	for _, code := range slices.Sorted(maps.Keys(requests)) {
		parts = append(parts, code+": "+Grouped(requests[code]))
	}
	if parts == nil {
		return "none"
	}
	return "answered " + strings.Join(parts, ", ")
}

// unbalanced tells of what should not be.
func unbalanced(residue int64) string {
	if residue == 0 {
		return ""
	}
	return fmt.Sprintf(", NOT BALANCED by %d", residue)
}

// confinement tells what the gateway may still do to the host.
func (p *page) confinement(c *Confinement) {
	if c == nil {
		return
	}
	p.section("PRIVILEGES  user " + c.User)
	held := strings.Join(c.Capabilities, ", ")
	if held == "" {
		held = "none"
	}
	if c.Dropped {
		p.line("  capabilities: " + held + "; all others dropped")
	} else {
		p.line("  capabilities: " + held + "; NOTHING DROPPED")
	}
	p.line("  system calls: " + c.Syscalls)
	p.line("  files: " + c.Files)
}

// stageOrder is the way of a packet.
func stageOrder() []string {
	return []string{"nic_to_steer", "steer_to_worker", "decode", "rules", "batch_wait", "write",
		"end_to_end", alertStage}
}

func (p *page) latency(stages map[string]Latency) {
	// Times end in one line, as figures do.
	times := func(name, count string, times ...string) {
		cells := []string{name, fmt.Sprintf("%15s", count)}
		for _, one := range times {
			cells = append(cells, fmt.Sprintf("%8s", one))
		}
		p.line(cells...)
	}
	p.section()
	times("LATENCY", "count", "mean", "P50", "P99", "P99.9", "max")
	row := func(stage string) {
		if l, ok := stages[stage]; ok && l.Count > 0 {
			times("  "+stage, Grouped(l.Count), Short(l.Mean), Short(l.P50), Short(l.P99), Short(l.P999),
				Short(l.Max))
		}
	}
	order := stageOrder()
	for _, stage := range order {
		row(stage)
	}
	for _, stage := range slices.Sorted(maps.Keys(stages)) {
		if !slices.Contains(order, stage) {
			row(stage)
		}
	}
}

// Seen says when a worker last showed life, so many seconds ago. Below a millisecond it is at work.
func Seen(age float64) string {
	if age < 1e-3 {
		return "just now"
	}
	return Short(age) + " ago"
}

// Short is a time, in seconds, in three figures.
func Short(seconds float64) string {
	switch {
	case seconds < 1e-6:
		return fmt.Sprintf("%.0f ns", seconds*1e9)
	case seconds < 1e-3:
		return fmt.Sprintf("%.3g µs", seconds*1e6)
	case seconds < 1:
		return fmt.Sprintf("%.3g ms", seconds*1e3)
	}
	return fmt.Sprintf("%.3g s", seconds)
}

func (p *page) alerts(s *Status) {
	if len(s.Rules) > 0 {
		p.section("RULE", fmt.Sprintf("%15s", "firing"), fmt.Sprintf("%15s", "changes"))
		for _, r := range s.Rules {
			p.line("  "+r.Name, right(r.Firing), right(r.Transitions))
		}
	}
	if len(s.Notifiers) > 0 {
		p.section("NOTIFIER", "type", fmt.Sprintf("%15s", "delivered"), fmt.Sprintf("%15s", "failed"),
			fmt.Sprintf("%15s", "waiting"))
		for _, n := range s.Notifiers {
			p.line("  "+n.Name, n.Type, right(n.Delivered), right(n.Failed), right(n.Queued))
		}
	}
}
