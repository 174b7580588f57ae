package top

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"

	"culvert/controlplane/telemetry"
)

// Colours of the terminal's own palette; a terminal without colours, or NO_COLOR, gets none.
const (
	bold   = "\x1b[1m"
	red    = "\x1b[31m"
	green  = "\x1b[32m"
	yellow = "\x1b[33m"
	faint  = "\x1b[2m"
	plain  = "\x1b[0m"
)

// Page is what the terminal shows: as many lines as it has, none longer than it is wide.
func (m *Model) Page() string {
	lines := m.lines()
	room := max(m.height-1, 1)
	m.top = max(min(m.top, len(lines)-room), 0)
	shown := lines[m.top:min(m.top+room, len(lines))]
	page := make([]string, room, room+1)
	copy(page, shown)
	for i := range page {
		page[i] = ansi.Truncate(page[i], m.width, "…")
	}
	return strings.Join(append(page, ansi.Truncate(m.foot(len(lines)-room), m.width, "…")), "\n")
}

func (m *Model) foot(hidden int) string {
	keys := "q quits, p pauses"
	if hidden > 0 {
		keys += fmt.Sprintf(", arrows scroll (%d more lines)", hidden-m.top)
	}
	if m.paused {
		keys = bold + "PAUSED" + plain + faint + ", " + keys
	}
	return faint + keys + plain
}

func (m *Model) lines() []string {
	p := &page{width: m.width}
	if m.lost != nil {
		text := fmt.Sprintf("no connection to %s: %s", m.url, telemetry.Printable(m.lost.Error()))
		if m.now != nil {
			text += "; what follows is " + time.Since(m.came).Round(time.Second).String() + " old"
		}
		p.add(red + text + plain)
	}
	if m.now == nil {
		if m.lost == nil {
			p.add("connecting to " + m.url)
		}
		return p.lines
	}
	s := m.now.Status
	p.head(m.now)
	p.speeds(m)
	p.latency(m.now)
	p.ledger(s)
	p.alerts(m.now)
	p.workers(m)
	p.queues(m)
	p.sinks(s)
	p.tenants(s)
	p.rules(s)
	p.rejects(m.now.Rejects)
	return p.lines
}

// page collects lines.
type page struct {
	lines []string
	width int
}

func (p *page) add(line string) { p.lines = append(p.lines, line) }

func (p *page) title(text string) {
	p.add("")
	p.add(bold + text + plain)
}

func (p *page) head(now *telemetry.Picture) {
	s, colour := now.Status, map[telemetry.State]string{telemetry.Ready: green, telemetry.Degraded: yellow}
	state := colour[now.Health.State]
	if state == "" {
		state = red
	}
	uptime := time.Duration(s.UptimeSeconds * float64(time.Second)).Round(time.Second)
	p.add(fmt.Sprintf("%s%s%s %s%s%s  up %s, culvert %s", bold, telemetry.Printable(s.Gateway), plain, state,
		now.Health.State, plain, uptime, s.Version))
	for _, reason := range now.Health.Reasons {
		// Whole on a narrow terminal too: what is wrong stands at its end.
		whole := ansi.Wrap(telemetry.Printable(reason), max(p.width-2, 1), "")
		for line := range strings.SplitSeq(whole, "\n") {
			p.add(state + "  " + line + plain)
		}
	}
}

func (p *page) speeds(m *Model) {
	p.title("POINTS PER SECOND")
	room := max(p.width-32, 0)
	for _, row := range []struct {
		name   string
		values []float64
	}{{"received", m.received}, {"written", m.written}} {
		last := "-"
		if n := len(row.values); n > 0 {
			last = telemetry.Grouped(uint64(math.Round(row.values[n-1])))
		}
		p.add(fmt.Sprintf("  %-12s%14s  %s", row.name, last, spark(row.values, room, 0)))
	}
	p.title("LATENCY, LAST 10 S")
	last := "-"
	if n := len(m.p99); n > 0 && m.p99[n-1] > 0 {
		last = telemetry.Short(m.p99[n-1])
	}
	// From 10 µs to the most that was seen, each step a factor: a doubling is seen at any height.
	p.add(fmt.Sprintf("  %-12s%14s  %s", "P99 to sink", last, spark(logarithms(m.p99), room, 0)))
}

// logarithms are steps above 10 µs; what is not known stays at the bottom.
func logarithms(values []float64) []float64 {
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = max(math.Log2(max(v, 1e-9)/1e-5), 0)
	}
	return out
}

func (p *page) latency(now *telemetry.Picture) {
	t := table{"  stage", []string{"P50", "P99", "mean of all", "P99.9 of all", "max of all"}, nil}
	order := []string{"nic_to_steer", "steer_to_worker", "decode", "rules", "batch_wait", "write",
		"end_to_end", "alert"}
	for _, stage := range order {
		l, there := now.Status.Latency[stage]
		if !there || l.Count == 0 {
			continue
		}
		// Since the start, for what did not happen lately.
		p50, p99 := now.Health.P50[stage], now.Health.P99[stage]
		recent := func(v float64) string {
			if v == 0 {
				return "-"
			}
			return telemetry.Short(v)
		}
		t.rows = append(t.rows, []string{"  " + stage, recent(p50), recent(p99),
			telemetry.Short(l.Mean), telemetry.Short(l.P999),
			telemetry.Short(l.Max)})
	}
	if t.rows != nil {
		p.table(t)
	}
}

func (p *page) ledger(s *telemetry.Status) {
	l := &s.Ledger
	p.title("POINTS")
	row := func(name string, n uint64, colour string) {
		p.add(fmt.Sprintf("%s  %-22s%18s%s", colour, name, telemetry.Grouped(n), plain))
	}
	some := func(name string, n uint64, colour string) {
		if n > 0 {
			row(name, n, colour)
		}
	}
	lost := func(prefix string, counts map[string]uint64, colour string) {
		for _, reason := range slices.Sorted(maps.Keys(counts)) {
			row(prefix+reason, counts[reason], colour)
		}
	}
	row("received", l.Received, "")
	some("derived", l.Derived, "")
	some("restored", l.Restored, "")
	row("written", l.Written, "")
	lost("rejected ", l.Rejected, yellow)
	some("filtered", l.Filtered, "")
	lost("dropped ", l.Dropped, red)
	some("in the spool", l.SpoolPending, "")
	row("in flight", l.InFlight, "")
	if l.Residue != 0 {
		p.add(fmt.Sprintf("%s  NOT BALANCED by %d: a bug, please report it%s", red, l.Residue, plain))
	} else {
		p.add(green + "  balanced" + plain)
	}
	byXDP := droppedByXDP(s)
	if sum(byXDP)+sum(s.Packets.Drops)+sum(s.Packets.Rejected)+s.Packets.KernelDrops > 0 {
		p.title("PACKETS LOST")
		lost("by XDP ", byXDP, red)
		lost("on the way ", s.Packets.Drops, red)
		lost("rejected ", s.Packets.Rejected, yellow)
		some("kernel's sockets full", s.Packets.KernelDrops, red)
	}
}

func (p *page) alerts(now *telemetry.Picture) {
	firing := 0
	for _, r := range now.Status.Rules {
		firing += r.Firing
	}
	p.title(fmt.Sprintf("ALERTS FIRING: %d", firing))
	const most = 8
	for i := range now.Alerts[:min(most, len(now.Alerts))] {
		a := &now.Alerts[i]
		var labels []string
		for _, name := range slices.Sorted(maps.Keys(a.Labels)) {
			if name != "alertname" {
				labels = append(labels, name+"="+a.Labels[name])
			}
		}
		p.add(fmt.Sprintf("  %s%s%s  %s  %s", yellow, telemetry.Printable(a.Rule), plain,
			now.Status.Taken.Sub(a.Since).Round(time.Second), telemetry.Printable(strings.Join(labels, " "))))
	}
	if firing > most {
		p.add(fmt.Sprintf("  and %d more", firing-most))
	}
}

// droppedByXDP are the packets that end in the XDP programs, by verdict.
func droppedByXDP(s *telemetry.Status) map[string]uint64 {
	dropped := map[string]uint64{}
	for _, in := range s.Interfaces {
		for verdict, n := range in.Verdicts {
			if telemetry.DroppedByXDP(verdict) {
				dropped[verdict] += n
			}
		}
	}
	return dropped
}

func sum(counts map[string]uint64) (total uint64) {
	for _, n := range counts {
		total += n
	}
	return total
}
