package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"culvert/controlplane/loadgen"
	"culvert/scripts/lab"
)

// alertShare is the part of the points that violates the demo's rule.
const alertShare = "0.0001"

// Sender is the running load generator.
type Sender struct{ child *lab.Child }

// StartSender starts the load generator. It runs until its duration is over, or without one until Stop.
func StartSender(n lab.Namespace, folder string, p Parameters) (*Sender, error) {
	arguments := []string{
		"load", "--json",
		"--to", net.JoinHostPort(lab.GatewayAddr, strconv.Itoa(telemetryPort)),
		"--rate", strconv.Itoa(p.Rate),
		"--points-per-packet", strconv.Itoa(p.PointsPerPacket),
		"--series", strconv.Itoa(p.Series),
		// Several senders, so that the packets spread over the queues. Each series has one.
		"--flows", strconv.Itoa(min(8*p.Queues, p.Series)),
		"--alert-share", alertShare,
	}
	if p.Duration > 0 {
		arguments = append(arguments, "--duration", p.Duration.String())
	}
	child, err := lab.StartChild(n, filepath.Join(folder, "load.log"), p.Culvert, arguments...)
	if err != nil {
		return nil, err
	}
	return &Sender{child}, nil
}

// Done is closed when the load generator has ended.
func (s *Sender) Done() <-chan struct{} { return s.child.Done() }

// Stop tells the load generator to end with its report.
func (s *Sender) Stop() error { return s.child.Signal(syscall.SIGINT) }

// Report is what was sent. That the rate was not reached is no failure of the demo; that nothing was sent is.
func (s *Sender) Report() (*loadgen.Report, error) {
	text, err := os.ReadFile(s.child.Log())
	if err != nil {
		return nil, fmt.Errorf("read the sender's report: %w", err)
	}
	sent := new(loadgen.Report)
	start := bytes.IndexByte(text, '{')
	if start < 0 {
		return nil, fmt.Errorf("send points: %w\n%s", s.child.Err(), s.child.LastWords())
	}
	if err := json.NewDecoder(bytes.NewReader(text[start:])).Decode(sent); err != nil {
		return nil, fmt.Errorf("read the sender's report: %w", err)
	}
	if sent.Points == 0 {
		return nil, fmt.Errorf("send points: none was sent\n%s", s.child.LastWords())
	}
	return sent, nil
}
