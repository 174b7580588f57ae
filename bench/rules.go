package main

import (
	"context"
	"fmt"

	"culvert/bench/report"
)

// rowThousand is the part of the seventh row that has a thousand rules, each for another machine.
func (s *suite) rowThousand(ctx context.Context) error {
	results, err := s.goBenchmarks(ctx, ".", "^BenchmarkThousandTagRules$", "./dataplane/rules")
	if err != nil {
		return err
	}
	for _, workers := range []string{"1", "3"} {
		v, err := values(results, "ThousandTagRules/workers_"+workers, "ns/op")
		if err != nil {
			return err
		}
		s.row(report.Row{
			ID:   "7 thousand, workers " + workers,
			What: "1 000 rules that a tag selects, on one measurement, a point",
			Goal: "≤ 1 µs", Figure: inNanoseconds(v.Median()), Spread: v.Text(inNanoseconds),
			Verdict: verdict(v.Median() <= 1000),
		})
	}
	return nil
}

// rowEngines is the part of the seventh row that compares conditions with the general engines, on the same
// points: as these are given them by a decoder, and as they like them best.
func (s *suite) rowEngines(ctx context.Context) error {
	results, err := s.goBenchmarks(ctx, "dataplane/rules/peers", "^BenchmarkPeers$", ".")
	if err != nil {
		return err
	}
	table := report.Table{Head: []string{"condition", "engine", "a point", "spread", "against ours"}}
	for _, condition := range []string{"three_terms", "tag_and_arithmetic"} {
		ours, err := values(results, "Peers/"+condition+"/culvert", "ns/op")
		if err != nil {
			return err
		}
		table.Rows = append(table.Rows, []string{condition, "culvert", inNanoseconds(ours.Median()),
			ours.Text(inNanoseconds), ""})
		for _, engine := range []string{"expr", "cel"} {
			for _, way := range []string{"", "_prepared"} {
				v, err := values(results, "Peers/"+condition+"/"+engine+way, "ns/op")
				if err != nil {
					return err
				}
				ratio := v.Median() / ours.Median()
				table.Rows = append(table.Rows, []string{condition, engine + way, inNanoseconds(v.Median()),
					v.Text(inNanoseconds), report.Times(ratio)})
				if way != "" {
					continue
				}
				s.row(report.Row{
					ID:   "7 " + condition + ", " + engine,
					What: "that condition on decoded points against " + engine,
					Goal: "≥ 10 ×", Figure: report.Times(ratio), Verdict: verdict(ratio >= 10),
					Spread: inNanoseconds(v.Median()) + " against " + inNanoseconds(ours.Median()),
				})
			}
		}
	}
	s.section(report.Section{Title: "Conditions", Tables: []report.Table{table},
		Text: "Culvert's figure is the whole way from a decoded point: the rule, the names, the condition, " +
			"the key and its state. The engines are asked for the condition alone; they need the point as " +
			"a map, and \"prepared\" leaves out what filling the map costs."})
	return nil
}

// rowWindow is the fifteenth row.
func (s *suite) rowWindow(ctx context.Context) error {
	results, err := s.goBenchmarks(ctx, ".", "^Benchmark(Window|NoPast)$", "./dataplane/rules")
	if err != nil {
		return err
	}
	without, err := values(results, "NoPast", "ns/op")
	if err != nil {
		return err
	}
	table := report.Table{Head: []string{"function and keys", "a point", "spread", "allocations"}}
	table.Rows = append(table.Rows, []string{"a threshold, no past", inNanoseconds(without.Median()),
		without.Text(inNanoseconds), ""})
	seen := map[string]bool{"NoPast": true}
	for _, r := range results {
		if seen[r.Name] {
			continue
		}
		seen[r.Name] = true
		v, err := values(results, r.Name, "ns/op")
		if err != nil {
			return err
		}
		allocations, err := values(results, r.Name, "allocs/op")
		if err != nil {
			return err
		}
		table.Rows = append(table.Rows, []string{
			r.Name, inNanoseconds(v.Median()), v.Text(inNanoseconds), fmt.Sprint(allocations.Median()),
		})
		if r.Name != "Window/avg(x[10s])_>_1000/keys_100000" {
			continue
		}
		s.row(report.Row{
			ID: "15", What: "average over 10 s for 100 k keys, a point", Goal: "≤ 60 ns, 0 allocations",
			Figure:  inNanoseconds(v.Median()) + fmt.Sprintf(", %g allocations", allocations.Median()),
			Spread:  v.Text(inNanoseconds),
			Verdict: verdict(v.Median() <= 60 && allocations.Median() == 0),
			Why: "finding rule, field, key included; " + inNanoseconds(without.Median()) +
				" without a look at the past",
		})
	}
	s.section(report.Section{Title: "Windows", Tables: []report.Table{table},
		Text: "One core. Every key has two points a second, in an order that no cache foresees."})
	return nil
}

func inNanoseconds(n float64) string { return report.Seconds(n * 1e-9) }
