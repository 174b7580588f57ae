package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"culvert/controlplane/fakesink"
)

const (
	// sinkHeaderTime bounds how long a client may take for the head of a request.
	sinkHeaderTime = 10 * time.Second
	// sinkStopTime bounds how long requests that are being read may take when the sink ends.
	sinkStopTime = 2 * time.Second
)

func newSinkCommand() *cobra.Command {
	var listen string
	var faults []string
	var asJSON bool
	c := fakesink.Config{}
	command := &cobra.Command{
		Use:   "sink --listen ADDRESS",
		Short: "Answer like InfluxDB: check, count and discard",
		Long: "Answer writes like InfluxDB (1.x /write, 2.x /api/v2/write, 3.x /api/v3/write_lp), check\n" +
			"every line, count and discard. Prints the rates each second and the sums at the end; GET\n" +
			"/stats gives them as JSON. With --fail a share of the writes fails: CODE:SHARE%,\n" +
			"CODE:SHARE%:RETRY-AFTER or reset:SHARE%. With --count lines are\n" +
			"counted by their line feeds outside of strings and not checked.",
		Example: "  culvert sink --listen 127.0.0.1:8086\n" +
			"  culvert sink --listen :8086 --count\n" +
			"  culvert sink --listen 127.0.0.1:8086 --fail 503:20% --fail reset:1% --delay 50ms",
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			for _, text := range faults {
				fault, err := fakesink.ParseFault(text)
				if err != nil {
					return exit(exitUsage, err)
				}
				c.Faults = append(c.Faults, fault)
			}
			if c.Delay < 0 {
				return exit(exitUsage, fmt.Errorf("delay %s is negative", c.Delay))
			}
			if _, _, err := net.SplitHostPort(listen); err != nil {
				return exit(exitUsage, fmt.Errorf("--listen: %w", err))
			}
			s, err := fakesink.New(c)
			if err != nil {
				return exit(exitUsage, err)
			}
			ctx, stop := signal.NotifyContext(command.Context(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return runSink(ctx, command, s, listen, asJSON)
		},
	}
	flags := command.Flags()
	flags.StringVar(&listen, "listen", "127.0.0.1:8086", "address to listen on")
	flags.StringArrayVar(&faults, "fail", nil,
		"let a share of the writes fail, such as 503:20%; may be given again")
	flags.DurationVar(&c.Delay, "delay", 0, "answer every write this much later")
	flags.BoolVar(&c.CountOnly, "count", false, "count lines without checking them")
	flags.BoolVar(&c.Sequence, "sequence", false,
		"follow the numbers of culvert load --sequence: what is missing, twice or late")
	flags.Uint64Var(&c.Seed, "seed", 1, "decides which writes fail")
	flags.BoolVar(&asJSON, "json", false, "print only the sums, at the end, as JSON")
	return command
}

// runSink serves until the context ends.
func runSink(ctx context.Context, command *cobra.Command, s *fakesink.Sink, listen string,
	asJSON bool) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return fmt.Errorf("listen on %s: %w; choose another address with --listen", listen,
				syscall.EADDRINUSE)
		}
		return fmt.Errorf("listen on %s: %w", listen, err)
	}
	server := &http.Server{Handler: s, ReadHeaderTimeout: sinkHeaderTime}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	if !asJSON {
		fmt.Fprintf(command.OutOrStdout(), "listening on %s\n", listener.Addr())
	}
	started := time.Now()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	last := s.Stats()
	for running := true; running; {
		select {
		case err := <-served:
			return fmt.Errorf("serve HTTP on %s: %w", listen, err)
		case <-ctx.Done():
			running = false
		case <-ticker.C:
			now := s.Stats()
			if !asJSON && now.Requests > last.Requests {
				printRates(command, last.Figures, now.Figures)
			}
			last = now
		}
	}
	shutdown, cancel := context.WithTimeout(context.Background(), sinkStopTime)
	defer cancel()
	if server.Shutdown(shutdown) != nil {
		// A client that does not finish its request is not waited for.
		server.Close()
	}
	return reportSink(command, s.Stats(), time.Since(started), asJSON)
}

func printRates(command *cobra.Command, last, now fakesink.Figures) {
	fmt.Fprintf(command.OutOrStdout(), "%d points/s, %d requests/s, %.1f MB/s, %d rejected, %d failed, "+
		"%d points in all\n", now.Points-last.Points, now.Requests-last.Requests,
		float64(now.Bytes-last.Bytes)/1e6, now.Rejected-last.Rejected, now.Failed-last.Failed, now.Points)
}

// printSequences says it of all flows together, and of those where something is wrong.
func printSequences(out io.Writer, s *fakesink.Sequences) {
	fmt.Fprintf(out, "sequence numbers: %d seen, %d missing below the last, %d twice, %d late, %d points "+
		"without one\n", s.Seen, s.Missing, s.Duplicates, s.Late, s.Unnumbered)
	for _, number := range slices.Sorted(maps.Keys(s.Flows)) {
		f := s.Flows[number]
		if f.Missing+f.Duplicates+f.Late+f.Forgotten > 0 {
			fmt.Fprintf(out, "flow %d: %d seen of %d, %d missing, %d twice, %d late\n", number, f.Seen,
				f.Next, f.Missing, f.Duplicates, f.Late)
		}
		if f.Forgotten > 0 {
			fmt.Fprintf(out, "flow %d: %d of the missing are too old to be known when they come\n", number,
				f.Forgotten)
		}
	}
}

func reportSink(command *cobra.Command, stats fakesink.Stats, took time.Duration, asJSON bool) error {
	out := command.OutOrStdout()
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(stats); err != nil {
			return fmt.Errorf("print the figures: %w", err)
		}
		return nil
	}
	fmt.Fprintf(out, "%d points in %d requests (%d bytes) in %.1f s; %d points rejected, %d requests failed "+
		"on demand, %d refused\n", stats.Points, stats.Requests, stats.Bytes, took.Seconds(), stats.Rejected,
		stats.Failed, stats.Refused)
	if stats.Sequences != nil {
		printSequences(out, stats.Sequences)
	}
	return nil
}
