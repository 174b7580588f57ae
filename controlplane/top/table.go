package top

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"culvert/controlplane/telemetry"
)

// table is rows under headings: the first column is a name, the others are figures. On a narrow terminal its
// last columns go.
type table struct {
	name     string
	headings []string
	rows     [][]string
}

// gap is between two columns.
const gap = 2

func (p *page) table(t table) {
	widths := make([]int, 1+len(t.headings))
	for _, row := range append([][]string{append([]string{t.name}, t.headings...)}, t.rows...) {
		for i, cell := range row {
			widths[i] = max(widths[i], ansi.StringWidth(cell))
		}
	}
	columns, total := 1, widths[0]
	for columns < len(widths) && total+gap+widths[columns] <= p.width {
		total += gap + widths[columns]
		columns++
	}
	// A name alone says nothing: then the first figure is cut by the terminal's edge.
	columns = min(max(columns, 2), len(widths))
	line := func(cells []string) string {
		var b strings.Builder
		for i, cell := range cells[:columns] {
			fill := strings.Repeat(" ", widths[i]-ansi.StringWidth(cell))
			if i == 0 {
				b.WriteString(cell + fill)
			} else {
				b.WriteString(strings.Repeat(" ", gap) + fill + cell)
			}
		}
		return b.String()
	}
	p.add(faint + line(append([]string{t.name}, t.headings...)) + plain)
	for _, row := range t.rows {
		p.add(line(row))
	}
}

func (p *page) workers(m *Model) {
	t := table{"  worker", []string{"points/s", "written/s", "CPU", "node", "in flight", "seen", "sends by"},
		nil}
	before := map[string]telemetry.WorkerStatus{}
	if m.before != nil {
		for _, w := range m.before.Status.Workers {
			before[w.Name] = w
		}
	}
	for _, w := range m.now.Status.Workers {
		then := before[w.Name]
		t.rows = append(t.rows, []string{"  " + w.Name,
			telemetry.Grouped(uint64(m.rate(w.PointsReceived, then.PointsReceived))),
			telemetry.Grouped(uint64(m.rate(w.PointsWritten, then.PointsWritten))),
			number(w.CPU), number(w.Node),
			telemetry.Grouped(w.PointsInFlight), telemetry.Seen(w.HeartbeatAge), w.Transport})
	}
	p.title("WORKERS")
	p.table(t)
}

func (p *page) queues(m *Model) {
	t := table{"  queue", []string{"packets/s", "lost", "worker", "CPU", "node", "mode"}, nil}
	before := map[string]uint64{}
	if m.before != nil {
		for _, in := range m.before.Status.Interfaces {
			for _, q := range in.Queues {
				before[socketKey(in.Name, &q)] = q.Received
			}
		}
	}
	for _, in := range m.now.Status.Interfaces {
		for _, q := range in.Queues {
			name := fmt.Sprintf("  %s %d", telemetry.Printable(in.Name), q.Queue)
			if q.Socket > 0 {
				name += fmt.Sprintf(".%d", q.Socket)
			}
			t.rows = append(t.rows, []string{name,
				telemetry.Grouped(uint64(m.rate(q.Received, before[socketKey(in.Name, &q)]))),
				telemetry.Grouped(sum(q.Drops)), q.Worker, number(q.CPU), number(q.Node), in.Mode})
		}
	}
	if t.rows != nil {
		p.title("QUEUES")
		p.table(t)
	}
}

// socketKey tells one socket of one queue from all others.
func socketKey(iface string, q *telemetry.QueueStatus) string {
	return fmt.Sprintf("%s %d %d", iface, q.Queue, q.Socket)
}

func (p *page) sinks(s *telemetry.Status) {
	p.title("SINKS")
	for _, k := range s.Sinks {
		state := green + "up" + plain
		if !k.Up {
			state = red + "DOWN" + plain
		}
		if k.Breaker != "closed" {
			state += ", breaker " + strings.ReplaceAll(k.Breaker, "_", " ")
		}
		p.add(fmt.Sprintf("  %s %s  %s, connections: %d", telemetry.Printable(k.Name), state,
			telemetry.Printable(k.URL), k.Connections))
		p.sinkPoints(&k)
		if k.LastError != "" {
			p.add(red + "    " + telemetry.Printable(k.LastError) + plain)
		}
	}
}

// sinkPoints says where the points for a sink are.
func (p *page) sinkPoints(k *telemetry.SinkStatus) {
	line := fmt.Sprintf("    written: %s, in flight: %s", telemetry.Grouped(k.Points.Written),
		telemetry.Grouped(k.Points.InFlight))
	if n := sum(k.Points.Rejected); n > 0 {
		line += fmt.Sprintf(", %srefused: %s%s", yellow, telemetry.Grouped(n), plain)
	}
	if n := sum(k.Points.Dropped); n > 0 {
		line += fmt.Sprintf(", %slost: %s%s", red, telemetry.Grouped(n), plain)
	}
	p.add(line)
	if spool := k.Spool; spool != nil && spool.Pending > 0 {
		p.add(fmt.Sprintf("%s    in the spool: %s, the oldest for %s, %s bytes%s", yellow,
			telemetry.Grouped(spool.Pending), telemetry.Short(spool.OldestSeconds),
			telemetry.Grouped(spool.Bytes), plain))
	}
	if spool := k.Spool; spool != nil && spool.KeptBytes > 0 {
		p.add(fmt.Sprintf("%s    the spool was damaged, kept aside: %s bytes%s", yellow,
			telemetry.Grouped(uint64(spool.KeptBytes)), plain))
	}
	if spool := k.Spool; spool != nil && spool.DiskError != "" {
		p.add(red + "    the spool is not on disk: " + telemetry.Printable(spool.DiskError) + plain)
	}
}

// tenants shows what tells one tenant from the others; one alone without limits says nothing.
func (p *page) tenants(s *telemetry.Status) {
	t := table{"  tenant", []string{"points", "written", "spool", "rejected", "lost", "over limit", "series"},
		nil}
	told := len(s.Tenants) > 1
	for i := range s.Tenants {
		one := &s.Tenants[i]
		series := "-"
		if one.SeriesLimit > 0 {
			series = telemetry.Grouped(one.Series) + "/" + telemetry.Grouped(one.SeriesLimit)
		}
		told = told || one.SeriesLimit > 0 || one.PacketsLimited > 0
		l := &one.Ledger
		t.rows = append(t.rows, []string{"  " + telemetry.Printable(one.Name),
			telemetry.Grouped(l.Received + l.Derived + l.Copied + l.Restored), telemetry.Grouped(l.Written),
			telemetry.Grouped(l.SpoolPending), telemetry.Grouped(sum(l.Rejected)),
			telemetry.Grouped(sum(l.Dropped)), telemetry.Grouped(one.PacketsLimited), series})
	}
	if told {
		p.title("TENANTS")
		p.table(t)
	}
}

func (p *page) rules(s *telemetry.Status) {
	t := table{"  rule", []string{"firing", "pending", "changes", "keys", "steps"}, nil}
	for _, r := range s.Rules {
		t.rows = append(t.rows, []string{"  " + telemetry.Printable(r.Name), strconv.Itoa(r.Firing),
			strconv.Itoa(r.Pending), telemetry.Grouped(r.Transitions), telemetry.Grouped(r.Keys),
			strconv.Itoa(r.Steps)})
	}
	if t.rows != nil {
		p.title("RULES")
		p.table(t)
	}
}

func (p *page) rejects(rejects []telemetry.Reject) {
	if len(rejects) == 0 {
		return
	}
	p.title("LAST REJECTS")
	for _, r := range rejects[:min(8, len(rejects))] {
		from := r.Source
		if from == "" {
			from = r.Sink
		}
		p.add(fmt.Sprintf("  %s  %s/%s  %s  %s", r.Taken.Format("15:04:05"), r.Stage, r.Reason,
			telemetry.Printable(from), telemetry.Printable(r.Text)))
	}
}

// number is a CPU's or a node's, or a dash where there is none.
func number(n int) string {
	if n < 0 {
		return "-"
	}
	return strconv.Itoa(n)
}

// spark draws the newest values that fit, from floor to the most of them.
func spark(values []float64, width int, floor float64) string {
	const bars = "▁▂▃▄▅▆▇█"
	steps := []rune(bars)
	values = values[max(len(values)-width, 0):]
	most := floor
	for _, v := range values {
		most = max(most, v)
	}
	out := make([]rune, len(values))
	for i, v := range values {
		step := 0
		if most > floor {
			step = int((v - floor) / (most - floor) * float64(len(steps)-1))
		}
		out[i] = steps[max(min(step, len(steps)-1), 0)]
	}
	return string(out)
}
