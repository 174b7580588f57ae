package stage

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"culvert/controlplane/loadgen"
	"culvert/scripts/lab"
)

// Load is what is sent.
type Load struct {
	Rate            float64 // points a second; 0: as fast as it goes
	Duration        time.Duration
	PointsPerPacket int
	Series          int
	Template        string  // as `culvert load --template`
	AlertShare      float64 // part of the points that violate a threshold
	// NoTimestamps leaves the points' time to the gateway: their arrival.
	NoTimestamps bool
	// Via is how packets leave: XDP or Live.
	Via string
	// Play (optional) is a file of lines that are sent as they are, again and again, instead of Template.
	Play string
}

// Ways to send. Live frames enter the receiving driver as a card's do, cost the sender the least and need an
// XDP program on the other end: Passed puts one under receivers by sockets. XDP makes every packet one for
// itself, too, but the driver has to make frames of the kernel's packets, which costs a receiver by AF_XDP
// more than it costs one by sockets, and no card does. The load generator's segments would reach a receiver
// by sockets up to 64 in one piece, which no network does to them.
const (
	XDP  = "xdp"
	Live = "live"
)

// arguments is the one place that knows the sender's command line.
func (s *Stage) arguments(l Load) []string {
	arguments := []string{
		"load", "--json", "--to", net.JoinHostPort(lab.GatewayAddr, strconv.Itoa(Port)),
		"--via", cmp.Or(l.Via, XDP), "--cpu", s.Places.SenderList(),
		"--rate", strconv.FormatFloat(l.Rate, 'f', -1, 64),
		"--duration", l.Duration.String(),
		"--points-per-packet", strconv.Itoa(l.PointsPerPacket),
	}
	if l.NoTimestamps {
		arguments = append(arguments, "--no-timestamps")
	}
	if l.Play != "" {
		return append(arguments, "--play", l.Play, "--loop")
	}
	return append(arguments,
		"--series", strconv.Itoa(l.Series), "--template", l.Template,
		"--alert-share", strconv.FormatFloat(l.AlertShare, 'f', -1, 64),
		"--flows", strconv.Itoa(min(8*len(s.Places.Workers), l.Series)))
}

// send runs the sender to its end and returns what was sent. That it could not hold the rate is no error: the
// report says so.
func (s *Stage) send(ctx context.Context, l Load) (*loadgen.Report, error) {
	s.runs++
	log := filepath.Join(s.Folder, fmt.Sprintf("%03d-load.log", s.runs))
	child, err := lab.StartChildAt(s.lab.Sender, place(s.Places.SenderList()), log, s.Culvert,
		s.arguments(l)...)
	if err != nil {
		return nil, err
	}
	select {
	case <-child.Done():
	case <-ctx.Done():
		return nil, fmt.Errorf("send: %w", errors.Join(ctx.Err(), child.Stop()))
	}
	text, err := os.ReadFile(log)
	if err != nil {
		return nil, fmt.Errorf("read the sender's report: %w", err)
	}
	report := new(loadgen.Report)
	start := bytes.IndexByte(text, '{')
	if start < 0 {
		return nil, fmt.Errorf("send: %w\n%s", child.Err(), child.LastWords())
	}
	if err := json.NewDecoder(bytes.NewReader(text[start:])).Decode(report); err != nil {
		return nil, fmt.Errorf("read the sender's report: %w", err)
	}
	if report.Points == 0 {
		return nil, fmt.Errorf("send: nothing was sent\n%s", child.LastWords())
	}
	return report, os.Remove(log)
}
