package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"culvert/bench/receive"
	"culvert/bench/yardstick"
	"culvert/numa"
)

// children are what this program starts itself as, in the lab: receivers and sinks with a process, and so a
// CPU account, of their own.
var children = []command{{"drop", runDrop}, {"count", runCount}, {"discard", runDiscard}, {"client",
	runClient}, {"alerts", runAlerts}, {"pass", runPass}}

// runDrop is the dropping AF_XDP receiver.
func runDrop(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("bench drop", flag.ContinueOnError)
	iface := flags.String("interface", "", "interface to receive on")
	list := flags.String("cpus", "1", "CPUs, one for each queue from 0 on")
	listen := flags.String("listen", "127.0.0.1:9491", "where GET /stats is answered")
	sink := flags.String("sink", "", "address of a sink that is given as many bytes as come in; empty: none")
	database := flags.String("database", "bench", "database of the sink")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	cpus, err := numa.ParseList(*list)
	if err != nil {
		return err
	}
	tallies := make(receive.Tallies, len(cpus))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 2)
	if *sink != "" {
		go func() { ended <- receive.Pump(ctx, *sink, *database, cpus[len(cpus)-1], tallies) }()
	}
	go func() { ended <- receive.Drop(ctx, *iface, cpus, tallies) }()
	return serveUntil(ctx, cancel, *listen, tallies, ended)
}

// runCount is the bare counter on kernel sockets.
func runCount(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("bench count", flag.ContinueOnError)
	port := flags.Uint("port", 8089, "UDP port")
	list := flags.String("cpus", "1", "CPUs, one socket on each")
	listen := flags.String("listen", "127.0.0.1:9491", "where GET /stats is answered")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	cpus, err := numa.ParseList(*list)
	if err != nil {
		return err
	}
	tallies := make(receive.Tallies, len(cpus))
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- receive.Count(ctx, uint16(*port), cpus, tallies) }()
	return serveUntil(ctx, cancel, *listen, tallies, ended)
}

// runPass has an interface's packets go through XDP to the kernel, as a receiver by sockets needs it where
// they are sent as live frames.
func runPass(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("bench pass", flag.ContinueOnError)
	iface := flags.String("interface", "", "interface to attach to")
	listen := flags.String("listen", "127.0.0.1:9493", "where GET is answered once it is attached")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	attached, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- receive.Pass(ctx, *iface, func() { close(attached) }) }()
	select {
	case <-attached:
	case err := <-ended:
		return err
	}
	err := serveUntil(ctx, cancel, *listen, receive.Discard{}, nil)
	return errors.Join(err, <-ended)
}

// runDiscard is a sink for whatever a peer posts.
func runDiscard(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("bench discard", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8087", "address")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return serveUntil(ctx, cancel, *listen, receive.Discard{}, nil)
}

// runAlerts receives alerts until it is told to end, and writes what it measured.
func runAlerts(ctx context.Context, arguments []string) error {
	flags := flag.NewFlagSet("bench alerts", flag.ContinueOnError)
	listen := flags.String("listen", "127.0.0.1:8090", "UDP address")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	times, err := receive.Alerts(ctx, *listen)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(times)
}

// serveUntil answers HTTP until the context or what it is about ends, and ends the other, too.
func serveUntil(ctx context.Context, cancel func(), listen string, handler http.Handler,
	ended <-chan error) error {
	listener, err := net.Listen("tcp", listen)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", listen, err)
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err = <-served:
	case err = <-ended:
	case <-ctx.Done():
	}
	cancel()
	server.Close()
	// What else has begun has the context and ends, with the process at the latest.
	return err
}

// runClient is the bare HTTP client that writes into InfluxDB.
func runClient(ctx context.Context, arguments []string) error {
	var c yardstick.Config
	flags := flag.NewFlagSet("bench client", flag.ContinueOnError)
	flags.StringVar(&c.URL, "url", "", "of the database")
	flags.StringVar(&c.Database, "database", "", "its name")
	flags.IntVar(&c.Connections, "connections", 2, "with one request each at a time")
	flags.IntVar(&c.Series, "series", 1000, "different series")
	flags.DurationVar(&c.Duration, "duration", time.Second, "how long")
	if err := parse(flags, arguments); err != nil {
		return err
	}
	result, err := yardstick.Run(ctx, c)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(result)
}
