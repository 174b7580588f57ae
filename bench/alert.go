package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"culvert/bench/receive"
	"culvert/bench/report"
	"culvert/bench/stage"
)

const (
	// alertRate is the rate of the fourth row, in points a second.
	alertRate = 100_000
	// alertPart gives 200 changes of alerts a second: one point makes an alert, the sensor's next one ends
	// it.
	alertPart = 0.001
)

// alertGoal is what is wanted of one way to wait.
type alertGoal struct {
	wait   string
	points int           // in a packet
	p50    time.Duration // 0: no goal
	p99    time.Duration
}

// rowAlert is the fourth row: from the packet's arrival to the alert at its receiver, by the TX ring.
func (s *suite) rowAlert(ctx context.Context) error {
	table := report.Table{Head: []string{"wait", "points a packet", "until", "P50", "P90", "P99", "P99.9",
		"most", "alerts"}}
	plot := report.Plot{
		Name: "alerts", Title: fmt.Sprintf("Alert latency at %s points/s", report.Count(alertRate)),
		X: "microseconds from the packet's arrival", Y: "share of all", LogX: true, GoalX: 100, Shares: true,
	}
	var errs []error
	for _, goal := range []alertGoal{
		{"busy", perPacket, 15 * time.Microsecond, 100 * time.Microsecond},
		{"busy", 1, 15 * time.Microsecond, 100 * time.Microsecond},
		{"sleep", perPacket, 0, 300 * time.Microsecond},
	} {
		times, err := s.measureAlerts(ctx, goal)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		how := fmt.Sprintf("wait: %s, %d a packet", goal.wait, goal.points)
		for _, what := range []struct {
			name   string
			values []int64
		}{{"the receiver's kernel", times.Stamped}, {"the receiver's program", times.Read}} {
			row := []string{goal.wait, fmt.Sprint(goal.points), what.name}
			for _, q := range []float64{0.5, 0.9, 0.99, 0.999, 1} {
				row = append(row, report.Seconds(quantile(what.values, q).Seconds()))
			}
			table.Rows = append(table.Rows, append(row, report.Count(float64(len(what.values)))))
			plot.Curves = append(plot.Curves, alertCurve(how+", "+what.name, what.values))
		}
		s.alertRow(goal, how, times)
	}
	s.section(report.Section{
		Title: "Alert latency", Tables: []report.Table{table}, Plots: []report.Plot{plot},
		Text: fmt.Sprintf("At %s points/s, %s of them above a threshold, `via: xdp`. From the stamp of the "+
			"XDP program at the packet's arrival, which is the time of a point without a timestamp and so "+
			"of its alert, to the stamp that the receiver's kernel gives the datagram (the rows of the "+
			"table of goals), and until the receiving program has read it. The receiver shares its CPU "+
			"with the sender and the sink: how long it takes to wake up is in the latter.",
			report.Count(alertRate), report.Percent(alertPart)),
	})
	return errors.Join(errs...)
}

// alertRow adds what was measured to the table of goals.
func (s *suite) alertRow(goal alertGoal, how string, times *receive.AlertTimes) {
	p50, p99 := quantile(times.Stamped, 0.5), quantile(times.Stamped, 0.99)
	row := report.Row{
		ID: "4 " + goal.wait, What: "packet arrival → alert received, `via: xdp`, " + how,
		Goal: fmt.Sprintf("P99 ≤ %d µs", goal.p99.Microseconds()), Verdict: verdict(p99 <= goal.p99),
		Figure: "P50 " + report.Seconds(p50.Seconds()) + ", P99 " + report.Seconds(p99.Seconds()),
		Spread: "P99.9 " + report.Seconds(quantile(times.Stamped, 0.999).Seconds()) + "; read: P50 " +
			report.Seconds(quantile(times.Read, 0.5).Seconds()) + ", P99 " +
			report.Seconds(quantile(times.Read, 0.99).Seconds()),
	}
	if goal.p50 > 0 {
		row.Goal = fmt.Sprintf("P50 ≤ %d µs, %s", goal.p50.Microseconds(), row.Goal)
		row.Verdict = verdict(p50 <= goal.p50 && p99 <= goal.p99)
	}
	s.row(row)
}

// measureAlerts runs the gateway under load and a receiver of its alerts.
func (s *suite) measureAlerts(ctx context.Context, goal alertGoal) (times *receive.AlertTimes, err error) {
	file, err := filepath.Abs("bench/alert.yaml")
	if err != nil {
		return nil, err
	}
	g, err := s.openCulvert(ctx, stage.GatewayConfig{
		Rules: file, Wait: goal.wait, Alerts: stage.AlertAddress,
	})
	if g == nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if err != nil {
		return nil, err
	}
	l := s.load(goal.points)
	l.Rate, l.AlertShare, l.NoTimestamps = alertRate, alertPart, true
	// The first seconds find the way to the receiver, make series and fill caches.
	l.Duration = 3 * time.Second
	if _, err := s.Try(ctx, g, l); err != nil {
		return nil, err
	}
	receiver, err := s.OpenAlerts()
	if err != nil {
		return nil, err
	}
	l.Duration = s.seconds(30, 6)
	t, err := s.Try(ctx, g, l)
	times, closeError := receiver.Close()
	if err := errors.Join(err, closeError); err != nil {
		return nil, err
	}
	fmt.Fprintf(s.log, "    wait: %s, %d a packet: %s; %d alerts\n", goal.wait, goal.points, t,
		len(times.Read))
	if t.Lost() > 0 {
		s.missing("alert latency: %d of %d points were lost while it was measured", t.Lost(), t.Sent.Points)
	}
	if want := float64(t.Points) * alertPart; float64(len(times.Stamped)) < want || times.Strange > 0 {
		return nil, fmt.Errorf("measure alerts: %d came, want %.0f at least; %d were none",
			len(times.Stamped), want, times.Strange)
	}
	return times, nil
}

// quantile is the least of ascending nanoseconds that this share of all does not exceed.
func quantile(ascending []int64, q float64) time.Duration {
	at := int(q*float64(len(ascending))+0.999999) - 1
	return time.Duration(ascending[min(max(at, 0), len(ascending)-1)])
}

// alertCurve is the cumulative distribution, in microseconds, at a thousand places.
func alertCurve(name string, ascending []int64) report.Curve {
	const places = 1000
	c := report.Curve{Name: name, Steps: true}
	for i := 1; i <= places; i++ {
		share := float64(i) / places
		at := quantile(ascending, share)
		c.Points = append(c.Points, [2]float64{float64(at.Nanoseconds()) / 1e3, share})
	}
	return c
}
