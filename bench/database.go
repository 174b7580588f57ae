package main

import (
	"context"
	"errors"
	"fmt"

	"culvert/bench/report"
	"culvert/bench/stage"
	"culvert/scripts/lab"
)

const (
	// yardstickConnections are tried by the bare client; the best counts.
	connectionsFew, connectionsMany = 2, 4
	// perPacket is how many points a packet has on its way into a database.
	perPacket = 10
	// inVain is the part of the most that was stored at a lower rate below which nothing better will come.
	inVain = 0.9
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
	ours := &writer{name: "Culvert, ten rules", open: func(s *suite, ctx context.Context, _ string) (
		stage.Receiver, error) {
		return s.openIntoInflux(ctx)
	}}
	if err := s.climb(ctx, ours, client.Median()); err != nil {
		return err
	}
	share := ours.rates.Median() / client.Median()
	s.row(report.Row{
		ID: "3b", What: "points/s into a real InfluxDB, of what a bare batching HTTP client gets into it",
		Goal: "≥ 85 %", Figure: report.Percent(share), Verdict: verdict(share >= 0.85),
		Spread: ours.rates.Text(report.Count),
		Why: fmt.Sprintf("%s against %s points/s, offered %s of the client's rate; all that was sent was "+
			"found by a query", report.Count(ours.rates.Median()), report.Count(client.Median()),
			report.Percent(ours.level)),
	})
	rows := [][]string{
		{"bare HTTP client, batches of 10 000", "–", report.Count(client.Median()),
			client.Text(report.Count), "–"},
		ours.row(),
	}
	others, err := s.databasePeers(ctx, ours, client.Median())
	s.section(report.Section{
		Title: "Into a real InfluxDB", Tables: []report.Table{{
			Head: []string{"writer", "offered, of the client's rate", "points/s stored", "spread",
				"lost where that was too much"},
			Rows: append(rows, others...), Note: note,
		}},
		Text: "InfluxDB with its data in memory, on all CPUs together with sender and writer; ten points a " +
			"packet. Each writer is offered a growing part of what the bare client gets in, each time " +
			"into a fresh database, until it loses something or falls behind. Points count when a query " +
			"finds them; the time until the last is stored counts, too. Culvert has its spool, Telegraf a " +
			"buffer of four million points, both in memory.",
	})
	return err
}

// writer is one way into the database.
type writer struct {
	name string
	open opener
	// program is what has to be there, and remedy how it comes.
	program, remedy string
	tolerance       float64
	// level is the part of the client's rate at which most was stored and nothing lost, rates what was stored
	// there, and lost what was lost at the first level that was too much; 0 if there was none.
	level, lost float64
	rates       report.Spread
}

func (w *writer) row() []string {
	lost := "–"
	if w.lost > 0 {
		lost = report.Percent(w.lost)
	}
	return []string{w.name, report.Percent(w.level), report.Count(w.rates.Median()),
		w.rates.Text(report.Count),
		lost}
}

// climb offers a writer more and more until it loses something in the median run, or takes so long to store
// what it kept that more is in vain.
func (s *suite) climb(ctx context.Context, w *writer, client float64) error {
	levels, runs := []float64{0.25, 0.4, 0.55, 0.7, 0.85, 1}, 3
	if s.quick {
		levels, runs = []float64{0.25, 0.5, 0.7, 0.85, 1}, 1
	}
	for _, level := range levels {
		var stored, losses report.Spread
		for range runs {
			t, err := s.offer(ctx, w, level*client)
			if err != nil {
				return err
			}
			fmt.Fprintf(s.log, "    %s at %s: %s\n", w.name, report.Percent(level), t)
			stored, losses = append(stored, t.StoredRate()), append(losses, t.Loss())
		}
		if losses.Median() > w.tolerance {
			w.lost = losses.Median()
			break
		}
		if w.level > 0 && stored.Median() < inVain*w.rates.Median() {
			break
		}
		if w.level == 0 || stored.Median() > w.rates.Median() {
			w.level, w.rates = level, stored
		}
	}
	if w.level == 0 {
		return fmt.Errorf("write into InfluxDB by %s: it loses points at the lowest rate tried", w.name)
	}
	return nil
}

// offer sends at a rate into a writer with a database of its own.
func (s *suite) offer(ctx context.Context, w *writer, rate float64) (_ *stage.Trial, err error) {
	r, err := w.open(s, ctx, w.program)
	if r != nil {
		defer func() { err = errors.Join(err, r.Close()) }()
	}
	if err != nil {
		return nil, err
	}
	l := s.load(perPacket)
	l.Rate, l.Duration = rate, s.seconds(10, 4)
	return s.Try(ctx, r, l)
}

// databasePeers measures the other ways into the database and holds ours against them.
func (s *suite) databasePeers(ctx context.Context, ours *writer, client float64) (rows [][]string,
	err error) {
	var errs []error
	for _, other := range []struct {
		writer
		goal string
		over float64
	}{
		{writer{name: "Telegraf → InfluxDB", open: bySockets(openTelegrafInflux), program: s.telegraf,
			remedy: "`make bench` builds it", tolerance: lossOfPeers}, "≥ 2.5 ×", 2.5},
		{writer{name: "InfluxDB's own UDP listener", open: bySockets(openInfluxUDP), program: "influxd",
			remedy: "install influxdb", tolerance: lossOfPeers}, "> 1 ×", 1},
	} {
		w := &other.writer
		if !lab.Installed(w.program) {
			s.missing("%s: %s is not here: %s", w.name, w.program, w.remedy)
			continue
		}
		if err := s.climb(ctx, w, client); err != nil {
			errs = append(errs, err)
			s.missing("%s: %s", w.name, firstLine(err))
			continue
		}
		rows = append(rows, w.row())
		ratio := ours.rates.Median() / w.rates.Median()
		s.row(report.Row{
			ID: "3b " + w.name, What: "points/s into a real InfluxDB against " + w.name, Goal: other.goal,
			Figure: report.Times(ratio), Verdict: verdict(ratio > other.over),
			Spread: report.Count(ours.rates.Median()) + " against " + report.Count(w.rates.Median()),
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
	result, err := s.Yardstick(ctx, db, connections, series, s.seconds(10, 4))
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
	g, err := s.OpenGateway(ctx, stage.GatewayConfig{Sink: db, Rules: s.rules, Spool: true})
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
	return s.OpenInfluxUDP(ctx, s.Places.All())
}
