package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"

	"culvert/bench/report"
	"culvert/bench/stage"
	"culvert/scripts/lab"
)

// peer is somebody else's program, and how it is started. A missing program is named in the report.
type peer struct {
	name    string
	program string
	remedy  string
	open    opener
}

// opener starts a receiver by its program.
type opener func(s *suite, ctx context.Context, program string) (stage.Receiver, error)

// bySockets is an opener of a receiver by sockets, which needs something below it that live frames reach.
func bySockets(open opener) opener {
	return func(s *suite, ctx context.Context, program string) (stage.Receiver, error) {
		r, err := open(s, ctx, program)
		if err != nil || s.via != stage.Live {
			return r, err
		}
		return s.Passed(ctx, r)
	}
}

func telegraf(way string) opener {
	return bySockets(func(s *suite, ctx context.Context, program string) (stage.Receiver, error) {
		return s.OpenTelegraf(ctx, program, way, "")
	})
}

func vmagent(s *suite, ctx context.Context, program string) (stage.Receiver, error) {
	return s.OpenVmagent(ctx, program)
}

func victoria(s *suite, ctx context.Context, program string) (stage.Receiver, error) {
	return s.OpenVictoria(ctx, program)
}

// The peers of the third row, with what is promised against each.
const (
	telegrafDiscard = "Telegraf → discard"
	telegrafRule    = "Telegraf → starlark rule → discard"
	vmagentModule   = "vmagent (module) → HTTP sink"
	vmagentPackage  = "vmagent (distribution) → HTTP sink"
)

// rowPeers is the third row.
func (s *suite) rowPeers(ctx context.Context) error {
	const tools = "`make bench` builds it"
	peers := []peer{
		{vmagentModule, s.vmagent, tools, bySockets(vmagent)},
		{vmagentPackage, "vmagent", "install victoria-metrics", bySockets(vmagent)},
		{telegrafDiscard, s.telegraf, tools, telegraf(stage.TelegrafDiscard)},
		{telegrafRule, s.telegraf, tools, telegraf(stage.TelegrafRule)},
	}
	if s.quick && lab.Installed(s.vmagent) {
		// One vmagent is enough for a quick look.
		peers = slices.Delete(peers, 1, 2)
	}
	goals := map[string]float64{
		vmagentModule: 8, vmagentPackage: 8, telegrafDiscard: 12, telegrafRule: 18,
	}
	var errs []error
	for _, points := range []int{10, 1} {
		ours, theirs, err := s.besides(ctx, points, peers)
		errs = append(errs, err)
		if ours == nil {
			continue
		}
		for _, peer := range peers {
			found := theirs[peer.name]
			if found == nil {
				continue
			}
			goal := goals[peer.name]
			if points == 1 {
				goal = 4
			}
			ratio := rates(ours).Median() / rates(found).Median()
			cost := costs(found).Median() / costs(ours).Median()
			s.row(report.Row{
				ID:   fmt.Sprintf("3 %s, %d", peer.name, points),
				What: fmt.Sprintf("the rate of %s, %s a packet", peer.name, plural(points, "point")),
				Goal: fmt.Sprintf("≥ %.0f ×", goal), Figure: report.Times(ratio),
				Verdict: verdict(ratio >= goal),
				Spread: report.Count(rates(ours).Median()) + " against " +
					"" + report.Count(rates(found).Median()),
				Why: fmt.Sprintf("CPU per point %s; ours limited by the %s, theirs by the %s",
					report.Times(cost), ours.Limit, found.Limit),
			})
		}
	}
	return errors.Join(errs...)
}

func plural(n int, word string) string {
	if n == 1 {
		return "one " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// besides measures Culvert and peers at so many points a packet, all with the same tolerance, and shows them.
func (s *suite) besides(ctx context.Context, points int, peers []peer) (
	*stage.Found, map[string]*stage.Found, error) {
	section := report.Section{Title: "Beside others, " + plural(points, "point") + " a packet"}
	table := report.Table{Head: headOfFound, Note: fmt.Sprintf("Highest rate with at most %s lost, for all "+
		"alike. Culvert checks every line, evaluates ten rules and writes to `culvert sink --count`.",
		report.Percent(lossOfPeers))}
	ours, err := s.highest(ctx, fmt.Sprintf("Culvert, %d points a packet, tolerant", points),
		func() (stage.Receiver, error) {
			return s.openCulvert(ctx, stage.GatewayConfig{Rules: s.rules})
		}, s.load(points), s.search(lossOfPeers))
	if err != nil {
		return nil, nil, err
	}
	table.Rows = append(table.Rows, rowOfFound("Culvert, ten rules → HTTP sink", ours))
	theirs := map[string]*stage.Found{}
	var errs []error
	for _, peer := range peers {
		if !lab.Installed(peer.program) {
			s.missing("%s: %s is not here: %s", peer.name, peer.program, peer.remedy)
			continue
		}
		found, err := s.highest(ctx, fmt.Sprintf("%s, %d points a packet", peer.name, points),
			func() (stage.Receiver, error) { return peer.open(s, ctx, peer.program) },
			s.load(points), s.search(lossOfPeers))
		if ctx.Err() != nil {
			// What has been measured until then is told all the same.
			section.Tables = []report.Table{table}
			s.section(section)
			return nil, nil, ctx.Err()
		}
		if err != nil {
			s.missing("%s, %s a packet: %s", peer.name, plural(points, "point"), firstLine(err))
			errs = append(errs, err)
			continue
		}
		theirs[peer.name] = found
		table.Rows = append(table.Rows, rowOfFound(peer.name, found))
	}
	section.Tables = []report.Table{table}
	bars := []report.Bar{{Name: "Culvert, ten rules", Value: rates(ours).Median()}}
	for _, peer := range peers {
		if found := theirs[peer.name]; found != nil {
			bars = append(bars, report.Bar{Name: peer.name, Value: rates(found).Median()})
		}
	}
	section.Plots = []report.Plot{{
		Name: fmt.Sprintf("beside-%d", points), Title: section.Title, X: "points a second", Bars: bars,
	}}
	s.section(section)
	return ours, theirs, errors.Join(errs...)
}

// peerSteps are the parts of `bench peers`.
var peerSteps = []step{
	{"10", "ten points a packet", func(s *suite, ctx context.Context) error { return s.allPeers(ctx, 10) }},
	{"1", "one point a packet", func(s *suite, ctx context.Context) error { return s.allPeers(ctx, 1) }},
	{"influxdb", "into a real InfluxDB", (*suite).rowDatabase},
}

func runPeers(ctx context.Context, arguments []string) error {
	o, err := parseOptions("peers", arguments)
	if err != nil {
		return err
	}
	if o.suffix == "" {
		o.suffix = "-peers"
	}
	s, err := newSuite(o, "Culvert beside others")
	if err != nil {
		return err
	}
	if len(s.rows) == 0 {
		// No sweeps; the names are those of all steps.
		for _, step := range peerSteps {
			s.rows = append(s.rows, step.name)
		}
	}
	return s.runAll(ctx, peerSteps)
}

// allPeers measures everything that can take the load, the limits included.
func (s *suite) allPeers(ctx context.Context, points int) error {
	const tools = "`make bench-peers` builds it"
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	peers := []peer{
		{"dropping AF_XDP receiver: the limit", self, "", func(s *suite, ctx context.Context, _ string) (
			stage.Receiver, error) {
			return s.openLimit(ctx, points, false)
		}},
		{"bare recvmmsg counter", self, "", bySockets(func(s *suite, ctx context.Context, _ string) (
			stage.Receiver, error) {
			return s.OpenCount(ctx, points)
		})},
		{"Culvert, `mode: socket`", s.culvert, "`make build`", bySockets(func(s *suite, ctx context.Context,
			_ string) (stage.Receiver, error) {
			return s.openCulvert(ctx, stage.GatewayConfig{Rules: s.rules, Mode: "socket"})
		})},
		{vmagentModule, s.vmagent, tools, bySockets(vmagent)},
		{vmagentPackage, "vmagent", "install victoria-metrics", bySockets(vmagent)},
		{"VictoriaMetrics (module), stores", s.victoria, tools, bySockets(victoria)},
		{"VictoriaMetrics (distribution), stores", "victoria-metrics", "install victoria-metrics",
			bySockets(victoria)},
		{telegrafDiscard, s.telegraf, tools, telegraf(stage.TelegrafDiscard)},
		{telegrafRule, s.telegraf, tools, telegraf(stage.TelegrafRule)},
		{"InfluxDB's own UDP listener, stores", "influxd", "install influxdb", bySockets(func(s *suite,
			ctx context.Context, _ string) (stage.Receiver, error) {
			return s.OpenInfluxUDP(ctx, s.Places.WorkerList())
		})},
	}
	_, _, err = s.besides(ctx, points, peers)
	return err
}
