package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"culvert/bench/machine"
	"culvert/bench/report"
	"culvert/bench/stage"
	"culvert/scripts/lab"
)

// usual is the line of the rows that name no other: 92 bytes with a thousand series and nanoseconds, so that
// 14 of them fit into a packet of Ethernet's usual 1500 bytes.
const usual = `plant,line=l{group},sensor=s{series} temperature={temperature},pressure={float},rpm={int}i`

const (
	// series is the number of different series of the rows that name no other.
	series = 1000
	// full is how many points a packet of the first row has.
	full = 14
	// lossOfPeers is the part of the points that may be lost where Culvert and others are compared: a peer
	// that drops a packet when the system breathes would look worse than it is.
	lossOfPeers = 0.001
)

// options are what the person who runs the benchmark chooses.
type options struct {
	culvert, results, suffix string
	telegraf                 string
	vmagent, victoria        string // built from the module
	quick                    bool
	rows                     []string
	commit                   string
	via                      string // the way to send into AF_XDP receivers
}

// suite is one run of the benchmark.
type suite struct {
	*stage.Stage
	options
	log    io.Writer
	rules  string // the path of rules10.yaml
	report *report.Report
	// found keeps what has been measured, for rows and sweeps that want the same.
	found map[string]*stage.Found
}

// step is one part of a run; its name selects it.
type step struct {
	name string
	what string
	run  func(*suite, context.Context) error
}

// rowSteps are the rows of the table of goals, in the order in which they are measured.
var rowSteps = []step{
	{"1", "the whole way, 14 points a packet", (*suite).rowFull},
	{"2", "the whole way, one point a packet", (*suite).rowSingle},
	{"10", "allocations, collections and memory under full load", (*suite).rowSteady},
	{"3", "the same work as Telegraf and vmagent", (*suite).rowPeers},
	{"3b", "into a real InfluxDB", (*suite).rowDatabase},
	{"4", "arrival to the alert at its receiver", (*suite).rowAlert},
	{"5", "arrival to acknowledgement at 127 k points/s", (*suite).rowLatency},
	{"6", "decoder", (*suite).rowDecoder},
	{"7", "rules", (*suite).rowRules},
	{"8", "hand-over between threads", (*suite).rowHandOver},
	{"9", "series to servers", (*suite).rowShards},
	{"12", "cost against load", (*suite).rowLoad},
	{"13", "idle", (*suite).rowIdle},
	{"14", "XDP program", (*suite).rowProgram},
	{"15", "windows", (*suite).rowWindow},
	{"16", "spool", (*suite).rowSpool},
	{"shapes", "other lines", (*suite).sweepShapes},
	{"packets", "throughput against points per packet", (*suite).sweepPackets},
	{"rules", "throughput against rules", (*suite).sweepRules},
	{"series", "throughput against series", (*suite).sweepSeries},
}

func parseOptions(name string, arguments []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench "+name, flag.ContinueOnError)
	flags.StringVar(&o.culvert, "culvert", "bin/culvert", "the gateway's binary")
	flags.StringVar(&o.telegraf, "telegraf", "build/telegraf", "Telegraf, as `make bench` builds it")
	flags.StringVar(&o.vmagent, "vmagent", "build/vmagent", "vmagent, built from its module")
	flags.StringVar(&o.victoria, "victoria", "build/victoria-metrics", "VictoriaMetrics, built from its "+
		"module")
	flags.StringVar(&o.results, "results", "bench/results", "folder for the report")
	flags.StringVar(&o.suffix, "suffix", "", "end of the report's name")
	flags.StringVar(&o.commit, "commit", "unknown", "what is measured, for the report")
	flags.StringVar(&o.via, "via", stage.Live, "how the sender sends where the receiver has an XDP program")
	flags.BoolVar(&o.quick, "quick", false, "fewer and shorter runs")
	rows := flags.String("rows", "", "only these, separated by commas; empty: all")
	if err := parse(flags, arguments); err != nil {
		return o, err
	}
	if *rows != "" {
		o.rows = strings.Split(*rows, ",")
	}
	return o, nil
}

func runRows(ctx context.Context, arguments []string) error {
	o, err := parseOptions("run", arguments)
	if err != nil {
		return err
	}
	for _, name := range o.rows {
		if !slices.ContainsFunc(rowSteps, func(s step) bool { return s.name == name }) {
			fmt.Fprintf(os.Stderr, "bench: there is no row %q that is measured here\n", name)
			return errUsage
		}
	}
	s, err := newSuite(o, "Culvert against its goals")
	if err != nil {
		return err
	}
	return s.runAll(ctx, rowSteps)
}

func newSuite(o options, title string) (*suite, error) {
	rules, err := filepath.Abs("bench/rules10.yaml")
	if err == nil {
		_, err = os.Stat(rules)
	}
	if err != nil {
		return nil, fmt.Errorf("find the rules (run this in the tree's top folder): %w", err)
	}
	return &suite{
		options: o, log: os.Stdout, rules: rules, found: map[string]*stage.Found{},
		report: &report.Report{Title: title, Date: time.Now(), Facts: machine.Look(), Commit: o.commit},
	}, nil
}

// runAll takes the steps that were chosen and writes the report. A step that fails is a line of the report
// and an error at the end; an interruption ends all, with a report of what was measured until then.
func (s *suite) runAll(ctx context.Context, steps []step) (err error) {
	places, err := machine.Deal(1)
	if err != nil {
		return err
	}
	begun := time.Now()
	if err := s.open(places); err != nil {
		return errors.Join(err, s.Close())
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	s.describe()
	var failed []error
	for _, step := range steps {
		if len(s.rows) > 0 && !slices.Contains(s.rows, step.name) {
			continue
		}
		stepBegun := time.Now()
		fmt.Fprintf(s.log, "== %s: %s\n", step.name, step.what)
		err := step.run(s, ctx)
		if ctx.Err() != nil {
			s.missing("everything from %s (%s) on: the run was interrupted", step.name, step.what)
			return errors.Join(errors.New("interrupted"), s.finish(begun, "-partial"))
		}
		if err != nil {
			fmt.Fprintf(s.log, "== %s: FAILED: %v\n", step.name, err)
			s.missing("%s (%s): %v", step.name, step.what, firstLine(err))
			failed = append(failed, fmt.Errorf("%s: %w", step.name, err))
		}
		fmt.Fprintf(s.log, "== %s: %.0f s\n", step.name, time.Since(stepBegun).Seconds())
	}
	failed = append(failed, s.sweepWorkers(ctx))
	return errors.Join(append(failed, s.finish(begun, ""))...)
}

// finish writes the report, with what there is.
func (s *suite) finish(begun time.Time, suffix string) error {
	s.report.Took = time.Since(begun)
	s.order()
	file, err := s.report.Write(s.results, s.suffix+suffix)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.log, "report: %s, after %.0f s\n", file, s.report.Took.Seconds())
	return nil
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// open makes the lab for so many workers.
func (s *suite) open(places machine.Places) (err error) {
	s.Stage, err = stage.Open(s.culvert, places)
	return err
}

// missing notes what could not be measured.
func (s *suite) missing(format string, arguments ...any) {
	s.report.Missing = append(s.report.Missing, fmt.Sprintf(format, arguments...))
}

// row adds a line to the table of goals.
func (s *suite) row(r report.Row) {
	s.report.Rows = append(s.report.Rows, r)
	fmt.Fprintf(s.log, "   %s %s: %s (%s): %s\n", r.ID, r.What, r.Figure, r.Goal, r.Verdict)
}

func (s *suite) section(section report.Section) {
	s.report.Sections = append(s.report.Sections, section)
}

// describe says in the report how things are measured.
func (s *suite) describe() {
	runs, mode := s.search(0).Runs, "full"
	if s.quick {
		mode = "quick: fewer and shorter runs"
	}
	s.report.Parameters = []string{
		"mode: " + mode,
		fmt.Sprintf("lab: two network namespaces, one veth pair with %d queue(s), native XDP in copy mode; "+
			"these are figures of a veth pair, not of a network card", len(s.Places.Workers)),
		fmt.Sprintf("CPU %s: `culvert load`, the sink, and what veth does in softirq for the sender, the "+
			"XDP program included; CPU %s: the receiver", s.Places.SenderList(), s.Places.WorkerList()),
		fmt.Sprintf("unless said otherwise: lines of 92 bytes (`%s`), %d series, nanoseconds, every value "+
			"and timestamp another", usual, series),
		fmt.Sprintf("rates: the highest without loss, found by search, then confirmed in %d runs, or as "+
			"many as the spread says; median and least to greatest. Lost is what the sender gave to the "+
			"kernel and the receiver's own count does not have. Limit tells who held the rate down. This "+
			"machine is not alone on its host: a run that lost a little is taken again at once, and fewer "+
			"than half as many may lose something the second time, too; all that were taken again are "+
			"counted beside the limit", runs),
		"all programs of the lab run at nice -20; sockets may have buffers of 64 MiB and have 32 MiB where " +
			"their programs ask for nothing",
		fmt.Sprintf("sender: `culvert load --via %s` into every receiver; under those by sockets lies an "+
			"XDP program that passes everything on, so that frames reach them the same way", s.via),
		"cost: user + system + irq + softirq of the worker's CPU from /proc/stat, from before the first " +
			"packet until everything is acknowledged, divided by points. That is the quoted one: it is all " +
			"that the CPU cannot do for others. Beside it the time of the pinned thread alone, by the " +
			"scheduler's clock; softirqs that interrupt the thread are in it, other programs are not",
		"an adaptive worker that is not busy spins for up to 50 µs before it sleeps; where the sender is " +
			"the limit, part of the cost is that spinning",
	}
	for _, program := range [][2]string{
		{"influxdb (distribution)", stage.PackageVersion("influxdb")},
		{"victoria-metrics, vmagent (distribution)", stage.PackageVersion("victoria-metrics")},
		{"victoria-metrics, vmagent (module)", moduleVersion("victoria")},
		{"Telegraf (module)", moduleVersion("telegraf")},
		{"GOEXPERIMENT of the build", goExperiment()},
	} {
		if program[1] == "" {
			program[1] = "not here"
		}
		s.report.Versions = append(s.report.Versions, program)
	}
	if build, ok := debug.ReadBuildInfo(); ok {
		s.report.Versions = append(s.report.Versions, [2]string{"this benchmark", build.GoVersion})
	}
}

// moduleVersion is the version of what a module under bench/ compares with, from its go.mod.
func moduleVersion(folder string) string {
	names := map[string]string{
		"victoria": "github.com/VictoriaMetrics/VictoriaMetrics",
		"telegraf": "github.com/influxdata/telegraf",
	}
	out, err := lab.Output("go", "-C", "bench/"+folder, "list", "-m", "-f", "{{.Version}}", names[folder])
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}

// search is how rates are looked for, with a part of the points that may be lost.
func (s *suite) search(tolerance float64) stage.Search {
	c := stage.Search{
		Tolerance: tolerance, Step: 2 * time.Second, Confirm: 3 * time.Second, Runs: 5, Close: 1.03,
		Log: s.log,
	}
	if s.quick {
		c.Step, c.Confirm, c.Runs, c.Close = 700*time.Millisecond, 1500*time.Millisecond, 3, 1.1
	}
	switch {
	case tolerance > 0 && s.quick:
		// Eight searches beside others take the most of a quick run, and their goals are factors from 4 on.
		c.Runs, c.Close = 2, 1.2
	case tolerance > 0:
		// What lies in a socket's buffer at the end comes through, too: with more time it weighs less. The
		// searches are ten, and their goals are factors.
		c.Step, c.Confirm = c.Step*3/2, c.Confirm*3/2
		c.Close = 1.06
	}
	return c
}

// seconds is one of two times: of the full run, and of the quick one.
func (s *suite) seconds(full, quick int) time.Duration {
	if s.quick {
		return time.Duration(quick) * time.Second
	}
	return time.Duration(full) * time.Second
}

// highest starts a receiver, finds its highest rate and ends it. What has been measured under a name already
// is not measured again.
func (s *suite) highest(ctx context.Context, name string, open func() (stage.Receiver, error), l stage.Load,
	c stage.Search) (found *stage.Found, err error) {
	if found := s.found[name]; found != nil {
		return found, nil
	}
	fmt.Fprintf(s.log, "  %s\n", name)
	r, err := open()
	if r != nil {
		defer func() { err = errors.Join(err, r.Close()) }()
	}
	if err != nil {
		return nil, err
	}
	if found, err = s.Highest(ctx, r, l, c); err != nil {
		return nil, err
	}
	s.found[name] = found
	return found, nil
}

// culvert opens the gateway with `culvert sink --count` behind it.
func (s *suite) openCulvert(ctx context.Context, c stage.GatewayConfig) (stage.Receiver, error) {
	sink, err := s.OpenSink(ctx)
	if sink == nil {
		return nil, err
	}
	both := &stage.Together{Belongings: []func() error{sink.Close}}
	if err != nil {
		return both, err
	}
	c.Sink = sink
	g, err := s.OpenGateway(ctx, c)
	if g != nil {
		both.Receiver = g
	}
	return both, err
}

// openLimit opens the dropping receiver, with the sink's load beside it or without.
func (s *suite) openLimit(ctx context.Context, pointsPerPacket int, withSink bool) (stage.Receiver, error) {
	if !withSink {
		return s.OpenDrop(ctx, pointsPerPacket, false)
	}
	sink, err := s.OpenSink(ctx)
	if sink == nil {
		return nil, err
	}
	both := &stage.Together{Belongings: []func() error{sink.Close}}
	if err != nil {
		return both, err
	}
	both.Receiver, err = s.OpenDrop(ctx, pointsPerPacket, true)
	return both, err
}

// goExperiment is what the Go command builds with.
func goExperiment() string {
	out, err := lab.Output("go", "env", "GOEXPERIMENT")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(out)
}
