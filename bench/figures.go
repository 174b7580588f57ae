package main

import (
	"fmt"
	"slices"
	"strings"

	"culvert/bench/report"
	"culvert/bench/stage"
)

// spread takes one figure of each confirming run.
func spread(f *stage.Found, figure func(*stage.Trial) float64) report.Spread {
	var all report.Spread
	for _, t := range f.Trials {
		all = append(all, figure(t))
	}
	return all
}

func rates(f *stage.Found) report.Spread {
	return spread(f, func(t *stage.Trial) float64 { return t.Rate() })
}

// packetRates are packets a second by the sender's count: not every receiver counts packets, and within the
// tolerance all arrive.
func packetRates(f *stage.Found) report.Spread {
	return spread(f, func(t *stage.Trial) float64 {
		return float64(t.Sent.Packets) * (1 - t.Loss()) / max(t.Sent.Seconds, 1e-9)
	})
}

func costs(f *stage.Found) report.Spread {
	return spread(f, func(t *stage.Trial) float64 { return t.PerPoint().Seconds() })
}

func threadCosts(f *stage.Found) report.Spread {
	return spread(f, func(t *stage.Trial) float64 { return t.ThreadPerPoint().Seconds() })
}

// residents is the memory of the receiver, in bytes.
func residents(f *stage.Found) report.Spread {
	return spread(f, func(t *stage.Trial) float64 { return float64(t.Resident) })
}

// busy is the share of the worker's CPU that was in use.
func busy(f *stage.Found) float64 {
	return spread(f, func(t *stage.Trial) float64 {
		return t.Core.Busy().Seconds() / max((t.Core.Busy()+t.Core.Idle+t.Core.Steal).Seconds(), 1e-9)
	}).Median()
}

// besides is the share of the worker's CPU that others had.
func besides(f *stage.Found) float64 {
	return spread(f, func(t *stage.Trial) float64 { return t.Besides() }).Median()
}

// disturbedShare is from where on others count as having disturbed a measurement.
const disturbedShare = 0.05

// disturbed says so in the report's words; empty if others had little of the CPU.
func disturbed(f *stage.Found) string {
	if share := besides(f); share > disturbedShare {
		return fmt.Sprintf("; DISTURBED: others had %s of the worker's CPU", report.Percent(share))
	}
	return ""
}

func mebibytes(n float64) string { return fmt.Sprintf("%.0f MiB", n/(1<<20)) }

// verdict is met or missed.
func verdict(met bool) string {
	if met {
		return report.Met
	}
	return report.Missed
}

// headOfFound and rowOfFound show measurements beside each other.
var headOfFound = []string{
	"receiver", "points/s", "spread", "packets/s", "limit", "cost a point", "spread", "thread alone",
	"CPU busy", "with others", "memory",
}

func rowOfFound(name string, f *stage.Found) []string {
	thread := "–"
	if t := threadCosts(f).Median(); t > 0 {
		thread = report.Seconds(t)
	}
	limit := f.Limit
	if f.Again > 0 {
		limit += fmt.Sprintf("; %s with loss taken again", plural(f.Again, "run"))
	}
	return []string{
		name, report.Count(rates(f).Median()), rates(f).Text(report.Count),
		report.Count(packetRates(f).Median()), limit, report.Seconds(costs(f).Median()),
		costs(f).Text(report.Seconds), thread, report.Percent(busy(f)),
		report.Percent(besides(f)), mebibytes(residents(f).Median()),
	}
}

// order brings the rows into the table's order.
func (s *suite) order() {
	order := []string{"1", "2", "3", "3b", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14",
		"15", "16"}
	slices.SortStableFunc(s.report.Rows, func(a, b report.Row) int {
		return slices.Index(order, firstWord(a.ID)) - slices.Index(order, firstWord(b.ID))
	})
}

func firstWord(text string) string {
	word, _, _ := strings.Cut(text, " ")
	return word
}
