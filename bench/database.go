package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"culvert/bench/metrics"
	"culvert/bench/report"
	"culvert/bench/stage"
	"culvert/scripts/lab"
)

const (
	// yardstickConnections are tried by the bare client; the best counts.
	connectionsFew, connectionsMany = 2, 4
	// perPacket is how many points a packet has on its way into a database.
	perPacket = 10
	// claimRate is the rate of the rows about latency, in points a second.
	claimRate = 127_000
	// alertShare gives some hundred alerts in the time that latencies are measured.
	alertShare = 0.001
)

// rowDatabase is row 3b: everything on all CPUs, into an InfluxDB with its data in memory.
func (s *suite) rowDatabase(ctx context.Context) error {
	if !lab.Installed("influxd") {
		s.missing("into a real InfluxDB: influxd is not here: install influxdb")
		return nil
	}
	client, note, err := s.measureClient(ctx)
	if err != nil {
		return err
	}
	c := s.search(0)
	// InfluxDB and the gateway's batches take what comes for a moment; the rate must last.
	c.Step, c.Confirm, c.Runs = s.seconds(10, 3), s.seconds(20, 5), 3
	if s.quick {
		c.Runs, c.Close = 2, 1.15
	}
	ours, err := s.highest(ctx, "Culvert → InfluxDB", func() (stage.Receiver, error) {
		return s.openIntoInflux(ctx)
	}, load(perPacket), c)
	if err != nil {
		return err
	}
	table := report.Table{
		Head: []string{"writer", "points/s stored", "spread", "limit"}, Note: note,
		Rows: [][]string{
			{"bare HTTP client, batches of 10 000", report.Count(client.Median()),
				client.Text(report.Count), "–"},
			{"Culvert, ten rules", report.Count(rates(ours).Median()), rates(ours).Text(report.Count),
				ours.Limit},
		},
	}
	share := rates(ours).Median() / client.Median()
	s.row(report.Row{
		ID: "3b", What: "points/s into a real InfluxDB, of what a bare batching HTTP client gets into it",
		Goal: "≥ 85 %", Figure: report.Percent(share), Verdict: verdict(share >= 0.85),
		Spread: rates(ours).Text(report.Count),
		Why: fmt.Sprintf("%s against %s points/s; stored and counted by a query",
			report.Count(rates(ours).Median()),
			report.Count(client.Median())),
	})
	others, err := s.databasePeers(ctx, ours, c)
	table.Rows = append(table.Rows, others...)
	s.section(report.Section{
		Title: "Into a real InfluxDB", Tables: []report.Table{table},
		Text: "InfluxDB with its data in memory, on all CPUs together with sender and writer; ten points a " +
			"packet. Points count as through when a query finds them.",
	})
	return err
}

// databasePeers measures the other ways into the database and holds ours against them.
func (s *suite) databasePeers(ctx context.Context, ours *stage.Found, c stage.Search) (
	rows [][]string, err error) {
	var errs []error
	for _, peer := range []struct {
		peer
		goal string
		over float64
	}{
		{peer{"Telegraf → InfluxDB", s.telegraf, "`make bench` builds it", openTelegrafInflux}, "≥ 2.5 ×",
			2.5},
		{peer{"InfluxDB's own UDP listener", "influxd", "install influxdb", openInfluxUDP}, "> 1 ×", 1},
	} {
		if !lab.Installed(peer.program) {
			s.missing("%s: %s is not here: %s", peer.name, peer.program, peer.remedy)
			continue
		}
		tolerant := c
		tolerant.Tolerance = lossOfPeers
		found, err := s.highest(ctx, peer.name, func() (stage.Receiver, error) {
			return peer.open(s, ctx, peer.program)
		}, load(perPacket), tolerant)
		if err != nil {
			errs = append(errs, err)
			s.missing("%s: %s", peer.name, firstLine(err))
			continue
		}
		rows = append(rows, []string{peer.name, report.Count(rates(found).Median()),
			rates(found).Text(report.Count), found.Limit})
		ratio := rates(ours).Median() / rates(found).Median()
		s.row(report.Row{
			ID: "3b " + peer.name, What: "points/s into a real InfluxDB against " + peer.name,
			Goal:   peer.goal,
			Figure: report.Times(ratio), Verdict: verdict(ratio > peer.over),
			Spread: report.Count(rates(ours).Median()) + " against " + report.Count(rates(found).Median()),
		})
	}
	return rows, errors.Join(errs...)
}

// measureClient is what the bare client reaches with its better number of connections.
func (s *suite) measureClient(ctx context.Context) (_ report.Spread, note string, err error) {
	var best report.Spread
	tried, runs := []int{connectionsFew, connectionsMany}, s.search(0).Runs
	if s.quick {
		// The fewer have been the better on two CPUs.
		tried, runs = tried[:1], 2
	}
	for _, connections := range tried {
		var all report.Spread
		for range runs {
			rate, err := s.runClient(ctx, connections)
			if err != nil {
				return nil, "", err
			}
			fmt.Fprintf(s.log, "    bare client, %d connections: %s points/s\n", connections,
				report.Count(rate))
			all = append(all, rate)
		}
		if len(best) == 0 || all.Median() > best.Median() {
			best = all
			note = fmt.Sprintf("The client was best with %d connections, of %v.", connections, tried)
		}
	}
	return best, note, nil
}

// runClient has the client write into a fresh database and checks by a query that all is there.
func (s *suite) runClient(ctx context.Context, connections int) (rate float64, err error) {
	db, err := s.OpenInflux(ctx, s.Places.All(), false)
	if db == nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err != nil {
		return 0, err
	}
	result, err := s.Yardstick(ctx, db, connections, series, s.seconds(15, 4))
	if err != nil {
		return 0, err
	}
	stored, err := db.Count(ctx)
	if err != nil {
		return 0, err
	}
	if stored != result.Points {
		return 0, fmt.Errorf("write by a bare client: %d points were acknowledged, a query finds %d",
			result.Points, stored)
	}
	return float64(result.Points) / result.Seconds, nil
}

// intoInflux counts what a query finds instead of what the gateway believes.
type intoInflux struct {
	*stage.Gateway
	db *stage.Influx
}

// Count asks the gateway whether it holds anything back, and only then the database, which such a query costs
// a lot.
func (r *intoInflux) Count(ctx context.Context) (stage.Count, error) {
	count, err := r.Gateway.Count(ctx)
	if err != nil || count.Waiting > 0 {
		return count, err
	}
	stored, err := r.db.Count(ctx)
	if err != nil {
		return count, err
	}
	if stored != count.Points {
		return count, fmt.Errorf("count in InfluxDB: %d points were acknowledged, a query finds %d",
			count.Points, stored)
	}
	return count, nil
}

func (s *suite) openIntoInflux(ctx context.Context) (stage.Receiver, error) {
	db, err := s.OpenInflux(ctx, s.Places.All(), false)
	if db == nil {
		return nil, err
	}
	all := &stage.Together{Belongings: []func() error{db.Close}}
	if err != nil {
		return all, err
	}
	g, err := s.OpenGateway(ctx, stage.GatewayConfig{Sink: db, Rules: s.rules})
	if g != nil {
		all.Receiver = &intoInflux{g, db}
	}
	return all, err
}

func openTelegrafInflux(s *suite, ctx context.Context, program string) (stage.Receiver, error) {
	db, err := s.OpenInflux(ctx, s.Places.All(), false)
	if db == nil {
		return nil, err
	}
	all := &stage.Together{Belongings: []func() error{db.Close}}
	if err == nil {
		all.Receiver, err = s.OpenTelegraf(ctx, program, stage.TelegrafInfluxDB, db.URL())
	}
	return all, err
}

func openInfluxUDP(s *suite, ctx context.Context, _ string) (stage.Receiver, error) {
	return s.OpenInfluxUDP(ctx)
}

// rowLatency is the fifth row, with the database's data in memory and on disk.
func (s *suite) rowLatency(ctx context.Context) error {
	if !lab.Installed("influxd") {
		s.missing("arrival to acknowledgement: influxd is not here: install influxdb")
		return nil
	}
	plot := report.Plot{
		Name: "latency", Title: fmt.Sprintf("Latency at %s points/s, data in memory",
			report.Count(claimRate)),
		X: "milliseconds from the packet's arrival", Y: "share of all", LogX: true, GoalX: 4.2,
	}
	disk := plot
	disk.Name, disk.Title = "latency-disk", fmt.Sprintf("Latency at %s points/s, data on disk",
		report.Count(claimRate))
	table := report.Table{Head: []string{"data", "stage", "P50", "P90", "P99", "P99.9", "points"}}
	var errs []error
	for _, place := range []struct {
		name   string
		onDisk bool
		plot   *report.Plot
	}{{"in memory", false, &plot}, {"on disk (" + stage.DiskName() + ")", true, &disk}} {
		measured, err := s.measureLatency(ctx, place.onDisk)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		for _, stage := range measured {
			d := stage.values
			table.Rows = append(table.Rows, []string{place.name, stage.name, report.Seconds(d.Quantile(0.5)),
				report.Seconds(d.Quantile(0.9)), report.Seconds(d.Quantile(0.99)),
				report.Seconds(d.Quantile(0.999)), report.Count(d.Count())})
			place.plot.Curves = append(place.plot.Curves, stage.curve())
		}
		end, write := measured[0].values.Quantile(0.99), measured[1].values.Quantile(0.99)
		id, goal, met := "5", "P99 ≤ 4.2 ms", verdict(end <= 4.2e-3)
		if place.onDisk {
			id, goal, met = "5 on disk", "reported", report.NoGoal
		}
		s.row(report.Row{
			ID: id, What: "arrival → InfluxDB's 204 at 127 k points/s, data " + place.name, Goal: goal,
			Figure: "P99 " + report.Seconds(end), Verdict: met,
			Spread: "P50 " + report.Seconds(measured[0].values.Quantile(0.5)) + ", P99.9 " +
				report.Seconds(measured[0].values.Quantile(0.999)),
		})
		if !place.onDisk {
			s.row(report.Row{
				ID: "5 above", What: "that P99 above the P99 of the database's own answer", Goal: "≤ 1.5 ms",
				Figure: report.Seconds(end - write), Verdict: verdict(end-write <= 1.5e-3),
				Spread: "answer P99 " + report.Seconds(write),
			})
		}
	}
	s.section(report.Section{
		Title: "Latency", Tables: []report.Table{table}, Plots: []report.Plot{plot, disk},
		Text: fmt.Sprintf("At %s points/s, ten a packet, %s of them violating a threshold, from the "+
			"gateway's own histograms. InfluxDB may use all CPUs. The answer's time is from sealing a "+
			"batch to its "+
			"acknowledgement, and counts batches, where the other two count points and alerts: a long "+
			"answer weighs more with the points that wait behind it.", report.Count(claimRate),
			report.Percent(alertShare)),
	})
	return errors.Join(errs...)
}

// distribution is the latency of one stage.
type distribution struct {
	name   string
	values metrics.Distribution
}

// curve is the cumulative distribution, in milliseconds, without the buckets before the first value and after
// the last.
func (d *distribution) curve() report.Curve {
	c := report.Curve{Name: d.name, Steps: true}
	total := d.values.Count()
	for i, bound := range d.values.Bounds[:len(d.values.Bounds)-1] {
		if i+1 < len(d.values.Counts) && d.values.Counts[i+1] > 0 {
			c.Points = append(c.Points, [2]float64{bound * 1e3, d.values.Counts[i] / total})
		}
		if d.values.Counts[i] == total {
			break
		}
	}
	return c
}

// measureLatency returns arrival → acknowledged, sealed → acknowledged, and arrival → alert.
func (s *suite) measureLatency(ctx context.Context, onDisk bool) (_ []distribution, err error) {
	db, err := s.OpenInflux(ctx, s.Places.All(), onDisk)
	if db == nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if err != nil {
		return nil, err
	}
	g, err := s.OpenGateway(ctx, stage.GatewayConfig{Sink: db, Rules: s.rules})
	if g == nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if err != nil {
		return nil, err
	}
	l := load(perPacket)
	l.Rate, l.AlertShare = claimRate, alertShare
	// The first seconds make series and fill caches on both sides.
	l.Duration = 2 * time.Second
	if _, err := s.Try(ctx, g, l); err != nil {
		return nil, err
	}
	before, err := gatewayMetrics(ctx, g)
	if err != nil {
		return nil, err
	}
	l.Duration = s.seconds(60, 8)
	t, err := s.Try(ctx, g, l)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(s.log, "    %s\n", t)
	if t.Lost() > 0 {
		s.missing("latency: %d of %d points were lost while it was measured", t.Lost(), t.Sent.Points)
	}
	after, err := gatewayMetrics(ctx, g)
	if err != nil {
		return nil, err
	}
	stages := []distribution{
		{name: "arrival → acknowledged"}, {name: "sealed → acknowledged"}, {name: "arrival → alert"},
	}
	for i, series := range [][]string{
		{"culvert_stage_seconds", `stage="end_to_end"`}, {"culvert_stage_seconds", `stage="write"`},
		{"culvert_alert_latency_seconds"},
	} {
		earlier := before.Histogram(series[0], series[1:]...)
		stages[i].values = after.Histogram(series[0], series[1:]...).Sub(earlier)
		if stages[i].values.Count() == 0 {
			return nil, fmt.Errorf("measure latency: the gateway has no values of %q", stages[i].name)
		}
	}
	return stages, nil
}

func gatewayMetrics(ctx context.Context, g *stage.Gateway) (metrics.Samples, error) {
	text, err := g.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	return metrics.Parse(text)
}
