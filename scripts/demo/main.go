// Command demo shows the whole way of a packet on one machine: a load generator in one network namespace
// sends measurements over a veth pair to the gateway in another, which checks alert rules on them and writes
// them to a private InfluxDB. `make demo` runs it.
//
//	culvert-tx                          culvert-gw
//	culvert load ── UDP, XDP, AF_XDP ── culvert run ── io_uring, HTTP ── influxd
//
// It ends with a report that compares what was sent with what the gateway counted and with what a query finds
// in the database. The exit code is 0 only if all three agree.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

// Parameters are what the person who runs the demo chooses.
type Parameters struct {
	Duration        time.Duration // 0: until interrupted
	Rate            int           // points a second
	PointsPerPacket int
	Series          int
	Queues          int
	Culvert         string // the binary
}

func main() {
	var p Parameters
	flag.DurationVar(&p.Duration, "duration", 0, "how long to send; 0: until interrupted")
	flag.IntVar(&p.Rate, "rate", 100000, "points a second; 0: as fast as possible")
	flag.IntVar(&p.PointsPerPacket, "points-per-packet", 10, "points in a packet")
	flag.IntVar(&p.Series, "series", 1000, "distinct series")
	flag.IntVar(&p.Queues, "queues", 2, "queues of the veth pair")
	flag.StringVar(&p.Culvert, "culvert", "bin/culvert", "the gateway's binary")
	flag.Parse()
	// The first signal ends the sending, and the report follows; a second one ends at once, cleaned up all
	// the same.
	sending, stopSending := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stopSending()
	ctx, abort := context.WithCancel(context.Background())
	defer abort()
	go abortOnSecond(sending, abort)
	err := run(ctx, sending, p)
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		if !errors.Is(err, errUnbalanced) && os.Getuid() != 0 {
			fmt.Fprintln(os.Stderr, "demo: network namespaces and XDP need root")
		}
		os.Exit(1)
	}
}

// abortOnSecond waits for the signal after the one that ended the sending.
func abortOnSecond(sending context.Context, abort func()) {
	<-sending.Done()
	second := make(chan os.Signal, 1)
	signal.Notify(second, syscall.SIGINT, syscall.SIGTERM)
	<-second
	abort()
}

// run sets everything up, lets it run, and takes it down again in the opposite order, whatever happens.
func run(ctx, sending context.Context, p Parameters) (err error) {
	culvert, err := filepath.Abs(p.Culvert)
	if err != nil {
		return fmt.Errorf("find %q: %w", p.Culvert, err)
	}
	p.Culvert = culvert
	scene := &Scene{Parameters: p}
	defer func() { err = errors.Join(err, scene.Close()) }()
	// A signal while things start ends the demo, as there is nothing to report yet.
	if err := scene.Open(sending); err != nil {
		return err
	}
	sender, err := scene.StartSender()
	if err != nil {
		return err
	}
	view := newView(os.Stdout)
	if err := watch(ctx, sending, scene, sender, view); err != nil {
		return err
	}
	sent, err := sender.Report()
	if err != nil {
		return err
	}
	status, err := scene.WaitQuiet(ctx)
	if err != nil {
		return err
	}
	found, err := scene.Database.Count(ctx)
	if err != nil {
		return fmt.Errorf("count the points in the database: %w", err)
	}
	return report(os.Stdout, &Outcome{
		Parameters: p, Sent: sent, Status: status, Found: found, Database: scene.Database.Name(),
	})
}

// watch shows the gateway's state each second until the sender has ended or is told to.
func watch(ctx, sending context.Context, scene *Scene, sender *Sender, view *view) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	stop := sending.Done()
	for {
		select {
		case <-ctx.Done():
			return errors.New("interrupted twice: no report")
		case <-sender.Done():
			view.Close()
			return nil
		case <-stop:
			stop = nil
			if err := sender.Stop(); err != nil {
				return err
			}
		case <-ticker.C:
			status, err := scene.Status(ctx)
			if err != nil {
				view.Note(err.Error())
				continue
			}
			view.Show(status)
		}
	}
}
