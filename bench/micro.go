package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"culvert/bench/gobench"
	"culvert/bench/report"
)

// goBenchmarks runs Go benchmarks on the workers' CPUs' machine as it is, several times each.
func (s *suite) goBenchmarks(ctx context.Context, folder, pattern, pkg string, environment ...string) (
	[]gobench.Result, error) {
	c := gobench.Config{
		Folder: folder, Pattern: pattern, Packages: []string{pkg}, Time: "1s", Count: 5,
		Environment: environment, Urgent: true,
	}
	if s.quick {
		c.Time, c.Count = "200ms", 3
	}
	return gobench.Run(ctx, c)
}

// values are those of one unit, or an error that says what is missing.
func values(results []gobench.Result, name, unit string) (report.Spread, error) {
	found := gobench.Values(results, name, unit)
	if len(found) == 0 {
		return nil, fmt.Errorf("read benchmarks: there is no %s of %s", unit, name)
	}
	return found, nil
}

func megabytes(n float64) string { return fmt.Sprintf("%.0f MB/s", n) }

// rowDecoder is the sixth row: our decoder beside the libraries, on the same payloads in the same run.
func (s *suite) rowDecoder(ctx context.Context) error {
	results, err := s.goBenchmarks(ctx, "bench/libraries", "^BenchmarkParse$", ".", "GOEXPERIMENT=simd")
	if err != nil {
		return err
	}
	portable, err := s.goBenchmarks(ctx, "bench/libraries", "^BenchmarkParse$/^culvert$", ".",
		"GOEXPERIMENT=nosimd")
	if err != nil {
		return err
	}
	for i := range portable {
		portable[i].Name = strings.Replace(portable[i].Name, "/culvert/", "/culvert, portable/", 1)
	}
	results = append(results, portable...)
	theirs, err := s.goBenchmarks(ctx, "bench/telegraf", "^BenchmarkParse$", ".")
	if err != nil {
		s.missing("Telegraf's parser: %s", firstLine(err))
	}
	results = append(results, theirs...)
	table := report.Table{Head: []string{"parser", "mixed lines", "spread", "short lines", "spread"}}
	for _, parser := range []string{"culvert", "culvert, portable", "victoriametrics", "line_protocol_v2",
		"telegraf"} {
		mixed, err := values(results, "Parse/"+parser+"/mixed", "MB/s")
		if err != nil {
			continue // It is among what is missing.
		}
		short, err := values(results, "Parse/"+parser+"/short", "MB/s")
		if err != nil {
			return err
		}
		table.Rows = append(table.Rows, []string{parser, megabytes(mixed.Median()), mixed.Text(megabytes),
			megabytes(short.Median()), short.Text(megabytes)})
	}
	ours, err := values(results, "Parse/culvert/mixed", "MB/s")
	if err != nil {
		return err
	}
	words, err := values(results, "Parse/culvert, portable/mixed", "MB/s")
	if err != nil {
		return err
	}
	s.row(report.Row{
		ID: "6", What: "decoder, full checks, types kept, mixed lines, GOEXPERIMENT=simd", Goal: "≥ 1.5 GB/s",
		Figure: megabytes(ours.Median()), Spread: ours.Text(megabytes),
		Verdict: verdict(ours.Median() >= 1500),
	})
	s.row(report.Row{
		ID: "6 portable", What: "the same without vectors", Goal: "≥ 700 MB/s",
		Figure: megabytes(words.Median()), Spread: words.Text(megabytes),
		Verdict: verdict(words.Median() >= 700),
	})
	for _, other := range []struct {
		name string
		goal float64
	}{{"victoriametrics", 4.5}, {"line_protocol_v2", 6}} {
		v, err := values(results, "Parse/"+other.name+"/mixed", "MB/s")
		if err != nil {
			return err
		}
		ratio := ours.Median() / v.Median()
		s.row(report.Row{
			ID: "6 " + other.name, What: "decoder against that of " + other.name + ", mixed lines",
			Goal: fmt.Sprintf("≥ %g ×", other.goal), Figure: report.Times(ratio),
			Verdict: verdict(ratio >= other.goal),
			Spread:  megabytes(ours.Median()) + " against " + megabytes(v.Median()),
		})
	}
	s.section(report.Section{Title: "Decoder", Tables: []report.Table{table},
		Text: "One core, the same payloads in the same run. Mixed: short and long lines, few and many " +
			"tags, every type, escapes, several measurements."})
	return nil
}

// rowRules is the seventh row.
func (s *suite) rowRules(ctx context.Context) error {
	results, err := s.goBenchmarks(ctx, "bench/libraries", "^BenchmarkThreshold$", ".")
	if err != nil {
		return err
	}
	ours, err := values(results, "Threshold/culvert", "ns/op")
	if err != nil {
		return err
	}
	nanoseconds := func(n float64) string { return report.Seconds(n * 1e-9) }
	s.row(report.Row{
		ID: "7 threshold", What: "threshold rule of three terms, a point", Goal: "≤ 15 ns",
		Figure: nanoseconds(ours.Median()), Spread: ours.Text(nanoseconds),
		Verdict: verdict(ours.Median() <= 15),
		Why:     "finding the rule and the fields in the point included",
	})
	var errs []error
	for _, other := range []string{"expr", "cel"} {
		v, err := values(results, "Threshold/"+other, "ns/op")
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ratio := v.Median() / ours.Median()
		s.row(report.Row{
			ID: "7 threshold, " + other, What: "that rule against " + other + ", which is given its " +
				"variables ready",
			Goal: "≥ 10 ×", Figure: report.Times(ratio), Verdict: verdict(ratio >= 10),
			Spread: nanoseconds(v.Median()) + " against " + nanoseconds(ours.Median()),
		})
	}
	return errors.Join(append(errs, s.rowThousand(ctx), s.rowEngines(ctx))...)
}

// rowProgram is the fourteenth row, by BPF_PROG_TEST_RUN.
func (s *suite) rowProgram(ctx context.Context) error {
	results, err := s.goBenchmarks(ctx, ".", "^Benchmark(Steer|Harness)$", "./bpf")
	if err != nil {
		return err
	}
	table := report.Table{Head: []string{"packet", "a frame", "spread"}, Note: "BPF_PROG_TEST_RUN; its own " +
		"cost is in each figure, and shown as harness."}
	seen := map[string]bool{}
	nanoseconds := func(n float64) string { return report.Seconds(n * 1e-9) }
	for _, r := range results {
		if seen[r.Name] {
			continue
		}
		seen[r.Name] = true
		v, err := values(results, r.Name, "ns/packet")
		if err != nil {
			return err
		}
		table.Rows = append(table.Rows, []string{r.Name, nanoseconds(v.Median()), v.Text(nanoseconds)})
	}
	for _, goal := range []struct {
		id, what, name string
		most           float64
	}{
		{"14 steered", "XDP program, a steered frame", "Steer/steered/v4", 60},
		{"14 passed", "XDP program, a passed frame (UDP to another port)", "Steer/passed/other_port", 25},
	} {
		v, err := values(results, goal.name, "ns/packet")
		if err != nil {
			return err
		}
		s.row(report.Row{
			ID: goal.id, What: goal.what, Goal: fmt.Sprintf("≤ %.0f ns", goal.most),
			Figure: nanoseconds(v.Median()), Spread: v.Text(nanoseconds),
			Verdict: verdict(v.Median() <= goal.most),
		})
	}
	s.section(report.Section{Title: "XDP program", Tables: []report.Table{table}})
	return nil
}
