package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"culvert/bench/machine"
	"culvert/bench/metrics"
	"culvert/bench/report"
	"culvert/bench/stage"
	"culvert/scripts/lab"
)

// What the Go runtime tells of itself among the gateway's metrics.
const (
	goAllocations = "go_gc_heap_allocs_objects_total"
	goCollections = "go_gc_cycles_total_gc_cycles_total"
	goForced      = "go_gc_cycles_forced_gc_cycles_total"
)

// rowSteady is the rows about memory: 10 and 11. They are read from the running gateway under the load of the
// first row.
func (s *suite) rowSteady(ctx context.Context) (err error) {
	sink, err := s.OpenSink(ctx)
	if sink == nil {
		return err
	}
	defer func() { err = errors.Join(err, sink.Close()) }()
	if err != nil {
		return err
	}
	g, err := s.OpenGateway(ctx, stage.GatewayConfig{Sink: sink, Rules: s.rules})
	if g == nil {
		return err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	if err != nil {
		return err
	}
	l := s.load(full)
	l.Duration = time.Second
	warm, err := s.Try(ctx, g, l)
	if err != nil {
		return err
	}
	// What is asked of the gateway while it is measured allocates, too; the same questions without a load say
	// how much.
	quiet, _, err := s.underLoad(ctx, g, nil)
	if err != nil {
		return err
	}
	l.Duration = s.seconds(60, 8)
	if l.Rate, err = s.rateOfRow(ctx, warm); err != nil {
		return err
	}
	used, t, err := s.underLoad(ctx, g, &l)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.log, "    %s\n", t)
	objects := used.Sum(goAllocations) - quiet.Sum(goAllocations)*t.Sent.Seconds/quietTime.Seconds()
	perPoint := max(objects, 0) / float64(max(t.Points, 1))
	minute := (used.Sum(goCollections) - used.Sum(goForced)) * 60 / t.Sent.Seconds
	s.row(report.Row{
		ID: "10", What: "heap allocations a point in steady state", Goal: "0",
		Figure: fmt.Sprintf("%.6f", perPoint), Spread: fmt.Sprintf("%.0f objects for %s points", objects,
			report.Count(float64(t.Points))),
		// One allocation in ten thousand points is far below one a batch, which is the least that could be
		// made of points.
		Verdict: verdict(perPoint < 1e-5),
		Why:     "less what the same time without load allocates; a batch has up to 10 000 points",
	})
	s.row(report.Row{
		ID: "10 GC", What: "GC runs a minute under full load", Goal: "≤ 1", Figure: fmt.Sprintf("%.2f",
			minute),
		Spread:  fmt.Sprintf("%.0f in %.0f s", minute*t.Sent.Seconds/60, t.Sent.Seconds),
		Verdict: verdict(minute <= 1),
	})
	s.row(report.Row{
		ID: "11", What: "memory (RSS) at row 1", Goal: "≤ 256 MiB", Figure: mebibytes(float64(t.Resident)),
		Spread: "one run", Verdict: verdict(t.Resident <= 256<<20),
		Why: "at " + report.Count(t.Rate()) + " points/s",
	})
	return nil
}

// quietTime is how long the gateway is looked at without a load.
const quietTime = 3 * time.Second

// rateOfRow is the rate of the first row; where it has not been measured, what came through flat out.
func (s *suite) rateOfRow(ctx context.Context, warm *stage.Trial) (float64, error) {
	if s.found[fmt.Sprintf("Culvert, %d points a packet", full)] == nil {
		return 0.7 * warm.Rate(), nil
	}
	found, err := s.packed(ctx, full)
	if err != nil {
		return 0, err
	}
	return rates(found).Median(), nil
}

// underLoad is how the gateway's metrics changed while a load was sent, or for a while without any.
func (s *suite) underLoad(ctx context.Context, g *stage.Gateway, l *stage.Load) (
	metrics.Samples, *stage.Trial, error) {
	before, err := gatewayMetrics(ctx, g)
	if err != nil {
		return nil, nil, err
	}
	var t *stage.Trial
	if l != nil {
		t, err = s.Try(ctx, g, *l)
	} else {
		err = lab.Pause(ctx, quietTime)
	}
	if err != nil {
		return nil, nil, err
	}
	after, err := gatewayMetrics(ctx, g)
	if err != nil {
		return nil, nil, err
	}
	return after.Sub(before), t, nil
}

// rowLoad is the twelfth row: what a point costs at low and high rates.
func (s *suite) rowLoad(ctx context.Context) error {
	top, err := s.packed(ctx, full)
	if err != nil {
		return err
	}
	most := rates(top).Median()
	levels := []float64{10e3, 30e3, 100e3, 300e3, 1e6, 3e6, 10e6}
	if s.quick {
		// Those that a row names, and one between.
		levels = []float64{10e3, 100e3, 1e6, 10e6}
	}
	var used []float64
	for _, level := range levels {
		if level < 0.97*most {
			used = append(used, level)
		}
	}
	used = append(used, most)
	table := report.Table{Head: []string{"points/s", "cost a point", "spread", "thread alone", "of the CPU"}}
	curves := []report.Curve{{Name: "the worker's CPU"}, {Name: "the pinned thread alone"}}
	at := map[float64]report.Spread{}
	r, err := s.openCulvert(ctx, stage.GatewayConfig{Rules: s.rules})
	if r != nil {
		defer func() { err = errors.Join(err, r.Close()) }()
	}
	if err != nil {
		return err
	}
	for _, rate := range used {
		l := s.load(full)
		// At low rates a longer time makes up for the coarse clock of /proc/stat.
		l.Rate, l.Duration = rate, s.seconds(10, 3)
		measured := &stage.Found{}
		for range s.search(0).Runs {
			t, err := s.Try(ctx, r, l)
			if err != nil {
				return err
			}
			fmt.Fprintf(s.log, "    %s\n", t)
			measured.Trials = append(measured.Trials, t)
			if s.quick && len(measured.Trials) == 2 {
				break
			}
		}
		cost, thread := costs(measured), threadCosts(measured)
		at[rate] = cost
		table.Rows = append(table.Rows, []string{report.Count(rate), report.Seconds(cost.Median()),
			cost.Text(report.Seconds), report.Seconds(thread.Median()), report.Percent(busy(measured))})
		curves[0].Points = append(curves[0].Points, [2]float64{rate, cost.Median() * 1e9})
		curves[1].Points = append(curves[1].Points, [2]float64{rate, thread.Median() * 1e9})
	}
	s.section(report.Section{
		Title: "Cost against load", Tables: []report.Table{table}, Plots: []report.Plot{{
			Name: "load", Title: "Cost of a point against load, wait: adaptive", X: "points a second",
			Y: "ns a point", LogX: true, LogY: true, Curves: curves,
		}},
	})
	s.rowsOfLoad(at, most)
	return err
}

func (s *suite) rowsOfLoad(at map[float64]report.Spread, most float64) {
	low := at[10e3]
	s.row(report.Row{
		ID: "12 low", What: "cost of a point at 10 k/s, `wait: adaptive`", Goal: "≤ 3 µs",
		Figure: report.Seconds(low.Median()), Spread: low.Text(report.Seconds),
		Verdict: verdict(low.Median() <= 3e-6),
	})
	million, ok := at[1e6]
	high, rate := at[most], most
	if exact, reached := at[10e6]; reached {
		high, rate = exact, 10e6
	}
	row := report.Row{
		ID: "12 high", What: "cost of a point at 10 M/s against that at 1 M/s", Goal: "≤ 1.1 ×",
		Verdict: report.NotMeasured,
	}
	if ok {
		ratio := high.Median() / million.Median()
		row.Figure = report.Times(ratio)
		row.Spread = report.Seconds(high.Median()) + " against " + report.Seconds(million.Median())
		row.Verdict = verdict(ratio <= 1.1 && rate >= 10e6)
		if rate < 10e6 {
			row.Why = "10 M/s is not reached: this is at " + report.Count(rate)
		}
	} else {
		row.Why = "1 M/s is not reached"
	}
	s.row(row)
}

// rowIdle is the thirteenth row.
func (s *suite) rowIdle(ctx context.Context) (err error) {
	r, err := s.openCulvert(ctx, stage.GatewayConfig{Rules: s.rules})
	if r != nil {
		defer func() { err = errors.Join(err, r.Close()) }()
	}
	if err != nil {
		return err
	}
	if err := lab.Pause(ctx, 2*time.Second); err != nil {
		return err
	}
	before, err := machine.TasksTime(r.Main().PID())
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := lab.Pause(ctx, s.seconds(30, 5)); err != nil {
		return err
	}
	after, err := machine.TasksTime(r.Main().PID())
	if err != nil {
		return err
	}
	share := (after - before).Seconds() / time.Since(begun).Seconds()
	s.row(report.Row{
		ID: "13", What: "idle, `wait: adaptive`, no traffic", Goal: "≤ 1 % of a core",
		Figure: report.Percent(share), Verdict: verdict(share <= 0.01),
		Spread: fmt.Sprintf("all threads over %.0f s", time.Since(begun).Seconds()),
	})
	return nil
}
