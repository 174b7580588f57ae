package main

import (
	"context"
	"errors"
	"fmt"

	"culvert/bench/gobench"
	"culvert/bench/report"
)

// rowHandOver is the eighth row.
func (s *suite) rowHandOver(ctx context.Context) error {
	results, err := s.goBenchmarks(ctx, ".", "^BenchmarkHandOver$", "./dataplane/spsc")
	if err != nil {
		return err
	}
	v, err := values(results, "HandOver", "ns/op")
	if err != nil {
		return err
	}
	s.row(report.Row{
		ID: "8", What: "hand-over between two threads, an element of 32 bytes, 64 at a time", Goal: "≤ 5 ns",
		Figure: inNanoseconds(v.Median()), Spread: v.Text(inNanoseconds), Verdict: verdict(v.Median() <= 5),
	})
	return nil
}

// rowShards is the ninth row.
func (s *suite) rowShards(ctx context.Context) error {
	results, err := s.goBenchmarks(ctx, ".", "^Benchmark(Route|MillionSeries)$", "./dataplane/shard")
	if err != nil {
		return err
	}
	var errs []error
	for _, tags := range []int{2, 4, 8} {
		v, err := values(results, fmt.Sprintf("Route/tags=%d", tags), "ns/point")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.row(report.Row{
			ID: fmt.Sprintf("9 tags, %d", tags), What: fmt.Sprintf("series key of %d tags → server", tags),
			Goal: "≤ 20 ns", Figure: inNanoseconds(v.Median()), Spread: v.Text(inNanoseconds),
			Verdict: verdict(v.Median() <= 20),
		})
	}
	percents := func(n float64) string { return report.Percent(n / 100) }
	for _, goal := range []struct {
		id, what, unit, goal string
		most                 float64
	}{
		{"9 deviation", "deviation of four servers' shares of a million series", "deviation-%", "≤ 1.9 %",
			1.9},
		{"9 moved", "series that a fifth server takes over", "moved-%", "≤ 21 %", 21},
	} {
		v, err := values(results, "MillionSeries", goal.unit)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.row(report.Row{
			ID: goal.id, What: goal.what, Goal: goal.goal, Figure: percents(v.Median()),
			Spread: "exact", Verdict: verdict(v.Median() <= goal.most),
		})
	}
	return errors.Join(errs...)
}

// rowSpool is the sixteenth row.
func (s *suite) rowSpool(ctx context.Context) error {
	results, err := s.goBenchmarks(ctx, ".", "^Benchmark(Append|Read)$", "./dataplane/spool")
	if err != nil {
		return err
	}
	table := report.Table{Head: []string{"what, where", "Line Protocol a second", "spread"},
		Note: "Batches of 256 KiB, one core; on disk the file system syncs at each new segment only, as " +
			"the disk's own speed is not what is asked."}
	seen := map[string]bool{}
	for _, r := range results {
		if seen[r.Name] {
			continue
		}
		seen[r.Name] = true
		v, err := values(results, r.Name, "MB/s")
		if err != nil {
			return err
		}
		table.Rows = append(table.Rows, []string{r.Name, megabytes(v.Median()), v.Text(megabytes)})
	}
	// Without the first row there is only what it may reach.
	live, ingest := liveMost, "the goal of row 1"
	if found := s.found[nameOfPacked(full)]; found != nil {
		sent := found.Trials[0].Sent
		live = rates(found).Median() * float64(sent.Bytes) / float64(max(sent.Points, 1)) / 1e6
		ingest = "row 1"
	}
	s.section(report.Section{Title: "Spool", Tables: []report.Table{table}})
	const append500 = "≥ 500 MB/s"
	return errors.Join(
		s.rowOfSpool(results, "16 append", "spool append with snappy, files in memory", append500,
			"Append/tmpfs/snappy", 500),
		s.rowOfSpool(results, "16 append, disk", "the same, files on disk", append500,
			"Append/disk/snappy", 500),
		s.rowOfSpool(results, "16 replay", "spool read and acknowledged, from the page cache",
			fmt.Sprintf("faster than live ingest, %s: %.0f MB/s", ingest, live), "Read/disk", live))
}

// liveMost is 10 M points/s of 92 bytes, in MB/s.
const liveMost = 920.0

func (s *suite) rowOfSpool(results []gobench.Result, id, what, goal, name string,
	least float64) error {
	v, err := values(results, name, "MB/s")
	if err != nil {
		return err
	}
	s.row(report.Row{
		ID: id, What: what, Goal: goal, Figure: megabytes(v.Median()), Spread: v.Text(megabytes),
		Verdict: verdict(v.Median() >= least),
	})
	return nil
}
