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
	// claimRate is the rate of the rows about latency, in points a second.
	claimRate = 127_000
	// alertShare gives some hundred alerts in the time that latencies are measured.
	alertShare = 0.001
)

// rowLatency is the fifth row, with the database's data in memory and on disk.
func (s *suite) rowLatency(ctx context.Context) error {
	if !lab.Installed("influxd") {
		s.missing("arrival to acknowledgement: influxd is not here: install influxdb")
		return nil
	}
	plot := report.Plot{
		Name: "latency", Title: fmt.Sprintf("Latency at %s points/s, data in memory",
			report.Count(claimRate)),
		X: "milliseconds from the packet's arrival", Y: "share of all", LogX: true, GoalX: 4.2, Shares: true,
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
	l := s.load(perPacket)
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
