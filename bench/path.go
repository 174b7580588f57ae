package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"culvert/bench/machine"
	"culvert/bench/report"
	"culvert/bench/stage"
)

// load is the rows' load with so many points in a packet.
func (s *suite) load(pointsPerPacket int) stage.Load {
	return stage.Load{PointsPerPacket: pointsPerPacket, Series: series, Template: usual, Via: s.via}
}

// packed measures Culvert with the ten rules at so many points a packet.
func (s *suite) packed(ctx context.Context, points int) (*stage.Found, error) {
	return s.highest(ctx, nameOfPacked(points), func() (stage.Receiver, error) {
		return s.openCulvert(ctx, stage.GatewayConfig{Rules: s.rules})
	}, s.load(points), s.search(0))
}

func nameOfPacked(points int) string { return fmt.Sprintf("Culvert, %d points a packet", points) }

// limit measures the dropping receiver at so many points a packet.
func (s *suite) limit(ctx context.Context, points int, withSink bool) (*stage.Found, error) {
	name := fmt.Sprintf("dropping receiver, %d points a packet", points)
	if withSink {
		name += ", beside the sink's load"
	}
	return s.highest(ctx, name, func() (stage.Receiver, error) {
		return s.openLimit(ctx, points, withSink)
	}, s.load(points), s.search(0))
}

// rowFull is the first row and its budget.
func (s *suite) rowFull(ctx context.Context) error {
	limit, err := s.limit(ctx, full, true)
	if err != nil {
		return err
	}
	ours, err := s.packed(ctx, full)
	if err != nil {
		return err
	}
	bare, err := s.limit(ctx, full, false)
	if err != nil {
		return err
	}
	cost := costs(ours)
	s.row(report.Row{
		ID: "1", What: "cost of a point on the worker's core, 14 points a packet, ten rules, to the sink",
		Goal: "≤ 100 ns", Figure: report.Seconds(cost.Median()), Spread: cost.Text(report.Seconds),
		Verdict: verdict(cost.Median() <= 100e-9),
		Why: "limit: " + ours.Limit + "; thread alone " + report.Seconds(threadCosts(ours).Median()) +
			disturbed(ours),
	})
	s.row(report.Row{
		ID: "1 rate", What: "points a second reached", Goal: "10 M a core",
		Figure: report.Count(rates(ours).Median()),
		Spread: rates(ours).Text(report.Count), Verdict: verdict(rates(ours).Median() >= 10e6),
		Why: "limit: " + ours.Limit,
	})
	share := packetRates(ours).Median() / packetRates(limit).Median()
	s.row(report.Row{
		ID: "1 share", What: "of the frames/s of the dropping receiver beside the same sink load",
		Goal: "≥ 60 %", Figure: report.Percent(share), Verdict: verdict(share >= 0.6),
		Spread: "limit " + report.Count(packetRates(limit).Median()) + " frames/s, limited by the " +
			"" + limit.Limit,
	})
	s.section(report.Section{Title: "The whole way, 14 points a packet", Tables: []report.Table{{
		Head: headOfFound, Rows: [][]string{
			rowOfFound("Culvert", ours), rowOfFound("dropping receiver beside the sink's load", limit),
			rowOfFound("dropping receiver alone", bare),
		},
		Note: "The sink's load beside the dropping receiver is as many bytes posted to the same sink as " +
			"came in, from the receiver's CPU.",
	}}})
	return nil
}

// rowSingle is the second row.
func (s *suite) rowSingle(ctx context.Context) error {
	limit, err := s.limit(ctx, 1, true)
	if err != nil {
		return err
	}
	ours, err := s.packed(ctx, 1)
	if err != nil {
		return err
	}
	bare, err := s.limit(ctx, 1, false)
	if err != nil {
		return err
	}
	share := packetRates(ours).Median() / packetRates(limit).Median()
	s.row(report.Row{
		ID: "2", What: "of the frames/s of the dropping receiver beside the same sink load, one a packet",
		Goal: "≥ 80 %", Figure: report.Percent(share), Verdict: verdict(share >= 0.8),
		Spread: packetRates(ours).Text(report.Count),
		Why: fmt.Sprintf("%s of %s frames/s; limits: %s, %s", report.Count(packetRates(ours).Median()),
			report.Count(packetRates(limit).Median()), ours.Limit, limit.Limit),
	})
	s.section(report.Section{Title: "The whole way, one point a packet", Tables: []report.Table{{
		Head: headOfFound,
		Rows: [][]string{
			rowOfFound("Culvert", ours), rowOfFound("dropping receiver beside the sink's load", limit),
			rowOfFound("dropping receiver alone", bare),
		},
	}}})
	return nil
}

// shape is a kind of line other than the rows'.
type shape struct {
	name     string
	template string // empty: the mixture
	points   int    // as many as fit into a packet
}

// shapes are short and long lines, few and many tags, strings with escapes, integers and booleans, with
// several measurements: no figure shall hold for one kind of line alone.
var shapes = []shape{
	{"short: one tag, one float", "short", 32},
	{"plant: two tags, five fields of every type, a string", "plant", 12},
	{"wide: four tags, eleven fields, a string with escaped quotes", "wide", 5},
	{"escapes: escaped names and values, a string with escapes", "escapes", 9},
	{"many tags: eight tags, one integer", `disk,dc=fra1,rack=r{group},host=h{series},os=debian,arch=x86,` +
		`team=storage,device=nvme0n1,fstype=ext4 used={int}i`, 8},
	{"mixture: seven measurements, all of that in turn, played from a file", "", 10},
}

// sweepShapes is the first row with other lines.
func (s *suite) sweepShapes(ctx context.Context) error {
	table := report.Table{Head: append([]string{"a packet has"}, headOfFound...)}
	mixture := filepath.Join(s.Folder, "mixture.lp")
	if err := os.WriteFile(mixture, []byte(mixedLines()), 0o644); err != nil {
		return fmt.Errorf("write lines: %w", err)
	}
	for _, shape := range shapes {
		l := s.load(shape.points)
		l.Template = shape.template
		if l.Template == "" {
			l.Play = mixture
		}
		found, err := s.highest(ctx, "Culvert, "+shape.name, func() (stage.Receiver, error) {
			return s.openCulvert(ctx, stage.GatewayConfig{Rules: s.rules})
		}, l, s.short(0))
		if err != nil {
			return err
		}
		sent := found.Trials[0].Sent
		size := fmt.Sprintf("%d points, %d bytes", shape.points, sent.Bytes/max(sent.Packets, 1))
		table.Rows = append(table.Rows, append([]string{size}, rowOfFound(shape.name, found)...))
	}
	s.section(report.Section{Title: "Other lines", Tables: []report.Table{table}})
	return nil
}

// mixedLines are lines of all kinds in turn, for a file that is played: several measurements, few and many
// tags, every type, escapes. Timestamps repeat with every round, which a sink that counts does not mind.
func mixedLines() string {
	var b strings.Builder
	for i := range 1000 {
		at := 1700000000000000000 + int64(i)*1234567
		switch i % 7 {
		case 0:
			fmt.Fprintf(&b, "cpu,cpu=cpu%d,host=server%02d,region=eu-central-1 usage_idle=%d.%d,"+
				"usage_system=2.31,usage_user=%d.25 %d\n", i%8, i%50, 90-i%7, i%10, i%5, at)
		case 1:
			fmt.Fprintf(&b, "temperature,line=a,machine=m%03d,sensor=s%d value=%d.5 %d\n",
				i*37%500, i%9, 20+i%60, at)
		case 2:
			fmt.Fprintf(&b, "press,line=b ok=t,strokes=%di %d\n", i*1001, at)
		case 3:
			fmt.Fprintf(&b, "net,host=server%02d,interface=eth%d bytes_recv=%di,bytes_sent=%di,drop_in=0i,"+
				"err_in=0i,packets_recv=%di %d\n", i%50, i%2, 123456789+i, 987654321-i, 55555+i, at)
		case 4:
			fmt.Fprintf(&b, `log,app=gate\ way,level=warn message="door %d open, code=\"E%d\"",code=%di %d`,
				i, i, i, at)
			b.WriteByte('\n')
		case 5:
			fmt.Fprintf(&b, "wetter,ort=Köln,station=K%d temp=%d.125,text=\"heiter bis wolkig\" %d\n",
				i%100, i%40, at)
		default:
			fmt.Fprintf(&b, "plant,line=l%02d,sensor=s%03d temperature=%d.45,pressure=123.%03d,rpm=%di %d\n",
				i%100, i, 20+i%70, i, 1000+i, at)
		}
	}
	return b.String()
}

// short is search for the points of a sweep, of which there are many.
func (s *suite) short(tolerance float64) stage.Search {
	c := s.search(tolerance)
	c.Runs, c.Close = 3, 1.05
	if s.quick {
		c.Runs, c.Close = 2, 1.15
	}
	return c
}

// points are the places of a sweep: of the full run, and of the quick one.
func (s *suite) points(full, quick []int) []int {
	if s.quick {
		return quick
	}
	return full
}

// sweep measures Culvert at each of some values and shows it as a table and a plot.
func (s *suite) sweep(title, axis string, p report.Plot, values []int,
	measure func(value int) (*stage.Found, error)) error {
	table := report.Table{Head: append([]string{axis}, headOfFound[1:]...)}
	rate, cost := report.Curve{Name: "points/s"}, report.Curve{Name: "ns a point"}
	for _, value := range values {
		found, err := measure(value)
		if err != nil {
			return err
		}
		table.Rows = append(table.Rows, rowOfFound(fmt.Sprint(value), found))
		x := float64(max(value, 1))
		rate.Points = append(rate.Points, [2]float64{x, rates(found).Median()})
		cost.Points = append(cost.Points, [2]float64{x, costs(found).Median() * 1e9})
	}
	p.Title, p.X, p.Y, p.Curves = title, axis, "points a second", []report.Curve{rate}
	second := p
	second.Name += "-cost"
	second.Y, second.Curves = "ns of the worker's core a point", []report.Curve{cost}
	second.GoalY = 0
	s.section(report.Section{Title: title, Tables: []report.Table{table}, Plots: []report.Plot{p, second}})
	return nil
}

func (s *suite) sweepPackets(ctx context.Context) error {
	return s.sweep("Throughput against points per packet", "points per packet", report.Plot{Name: "packets"},
		s.points([]int{1, 2, 5, 10, 14}, []int{1, 5, 14}),
		func(n int) (*stage.Found, error) { return s.packed(ctx, n) })
}

func (s *suite) sweepRules(ctx context.Context) error {
	return s.sweep("Throughput against rules", "rules, each selected by a tag (0 is shown as 1)",
		report.Plot{Name: "rules", LogX: true},
		s.points([]int{0, 10, 100, 1000}, []int{0, 10, 1000}),
		func(n int) (*stage.Found, error) {
			file, err := s.writeRules(n)
			if err != nil {
				return nil, err
			}
			name := fmt.Sprintf("Culvert, %d rules", n)
			return s.highest(ctx, name, func() (stage.Receiver, error) {
				return s.openCulvert(ctx, stage.GatewayConfig{Rules: file})
			}, s.load(full), s.short(0))
		})
}

// writeRules writes a file of so many rules; none for 0.
func (s *suite) writeRules(n int) (string, error) {
	if n == 0 {
		return "", nil
	}
	file := filepath.Join(s.Folder, fmt.Sprintf("rules-%d.yaml", n))
	if err := os.WriteFile(file, []byte(rulesOf(n)), 0o644); err != nil {
		return "", fmt.Errorf("write rules: %w", err)
	}
	return file, nil
}

// rulesOf is a file of so many rules, each for one sensor.
func rulesOf(n int) string {
	var text strings.Builder
	text.WriteString("groups:\n  - name: sweep\n    rules:\n")
	for i := range n {
		fmt.Fprintf(&text, "      - alert: Sensor%d\n        on: plant\n        expr: 'tags.sensor == "+
			"\"s%03d\" && temperature > 95.0'\n        by: [sensor]\n        actions: [journal]\n",
			i, i*series/n)
	}
	return text.String()
}

func (s *suite) sweepSeries(ctx context.Context) error {
	return s.sweep("Throughput against series", "series", report.Plot{Name: "series", LogX: true},
		s.points([]int{100, 1000, 10_000, 100_000, 1_000_000}, []int{1000, 100_000, 1_000_000}),
		func(n int) (*stage.Found, error) {
			if n == series {
				return s.packed(ctx, full)
			}
			l := s.load(full)
			l.Series = n
			name := fmt.Sprintf("Culvert, %d series", n)
			return s.highest(ctx, name, func() (stage.Receiver, error) {
				return s.openCulvert(ctx, stage.GatewayConfig{Rules: s.rules})
			}, l, s.short(0))
		})
}

// sweepWorkers measures the first row with more workers, each with a lab of its own that has a queue for
// each, as far as the machine has CPUs. It leaves no lab behind.
func (s *suite) sweepWorkers(ctx context.Context) error {
	if len(s.rows) > 0 {
		return nil
	}
	most, err := machine.Deal(1 << 10)
	if err != nil {
		return err
	}
	if len(most.Workers) == 1 {
		s.missing("throughput against workers: this machine has CPUs for one worker beside the sender")
		return nil
	}
	one, err := s.packed(ctx, full)
	if err != nil {
		return err
	}
	counts := []int{1}
	for n := 2; n < len(most.Workers); n *= 2 {
		counts = append(counts, n)
	}
	counts = append(counts, len(most.Workers))
	return s.sweep("Throughput against workers", "workers", report.Plot{Name: "workers"}, counts,
		func(n int) (*stage.Found, error) {
			if n == 1 {
				return one, nil
			}
			places, err := machine.Deal(n)
			if err != nil {
				return nil, err
			}
			if err := s.Close(); err != nil {
				return nil, err
			}
			if err := s.open(places); err != nil {
				return nil, err
			}
			return s.highest(ctx, fmt.Sprintf("Culvert, %d workers", n), func() (stage.Receiver, error) {
				return s.openCulvert(ctx, stage.GatewayConfig{Rules: s.rules})
			}, s.load(full), s.search(0))
		})
}
