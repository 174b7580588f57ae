package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"culvert/bench/machine"
	"culvert/bench/stage"
)

// point is the line of the rows that name no other: 92 bytes with a thousand series and nanoseconds, so that
// 14 of them fit into a packet of Ethernet's usual 1500 bytes.
const point = `plant,line=l{group},sensor=s{series} temperature={temperature},pressure={float},rpm={int}i`

// series is the number of different series of the rows that name no other.
const series = 1000

// suite is one run of the benchmark.
type suite struct {
	*stage.Stage
	quick  bool
	log    io.Writer
	rules  string // the path of rules10.yaml
	search stage.Search
}

func runSuite(ctx context.Context, arguments []string) (err error) {
	flags := flag.NewFlagSet("bench run", flag.ContinueOnError)
	culvert := flags.String("culvert", "bin/culvert", "the gateway's binary")
	quick := flags.Bool("quick", false, "fewer and shorter runs")
	rows := flags.String("rows", "", "only these, separated by commas; empty: all")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	places, err := machine.Deal(1)
	if err != nil {
		return err
	}
	st, err := stage.Open(*culvert, places)
	defer func() { err = errors.Join(err, st.Close()) }()
	if err != nil {
		return err
	}
	s := &suite{Stage: st, quick: *quick, log: os.Stdout}
	if s.rules, err = filepath.Abs("bench/rules10.yaml"); err != nil {
		return err
	}
	s.search = stage.Search{Step: time.Second, Confirm: 2 * time.Second, Runs: 5, Close: 1.03, Log: s.log}
	if s.quick {
		s.search.Runs, s.search.Close = 3, 1.08
	}
	_ = strings.Split(*rows, ",")
	return s.rowOne(ctx)
}

func (s *suite) rowOne(ctx context.Context) (err error) {
	sink, err := s.OpenSink(ctx)
	if sink != nil {
		defer func() { err = errors.Join(err, sink.Close()) }()
	}
	if err != nil {
		return err
	}
	g, err := s.OpenGateway(ctx, stage.GatewayConfig{Sink: sink, Rules: s.rules})
	if g != nil {
		defer func() { err = errors.Join(err, g.Close()) }()
	}
	if err != nil {
		return err
	}
	load := stage.Load{PointsPerPacket: 14, Series: series, Template: point}
	found, err := s.Highest(ctx, g, load, s.search)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.log, "limit: %s\n", found.Limit)
	for _, t := range found.Trials {
		fmt.Fprintf(s.log, "%s  rss %d MiB core %+v\n", t, t.Resident>>20, t.Core)
	}
	return nil
}
