package loadgen

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"
)

// Config says what to send, where to and how fast.
type Config struct {
	// To are the receivers; flows are dealt out to them in turn.
	To []netip.AddrPort
	// Flows is the number of sockets, each with a source port of its own, so that receivers which spread
	// packets by their addresses and ports use all their queues. 0: 8, or one a series if there are fewer.
	Flows int
	// Rate is points per second; 0: as fast as it goes.
	Rate float64
	// PointsPerPacket is how many lines a datagram has; 0: 1.
	PointsPerPacket int
	// Series is how many different series there are; 0: 1000.
	Series int
	// Duration and Count (points) end the run, whichever comes first; with neither it ends with the context.
	Duration time.Duration
	Count    uint64
	// Precision is the unit of timestamps: ns (also if empty), us, ms or s.
	Precision string
	// NoTimestamps sends points without one; the receiver then gives them its own.
	NoTimestamps bool
	// Template is the name of a template, or a line with placeholders; empty: DefaultTemplate. See Templates.
	Template string
	// Sequence gives every point an integer field "seq": see Report.FlowPoints.
	Sequence bool
	// Seed makes the values: the same seed gives the same ones.
	Seed uint64
	// AlertShare is the part of the points, 0 to 1, whose temperature is above 95; all others are below.
	AlertShare float64
	// Via is how packets leave: auto (also if empty), socket, xdp or live.
	Via string
	// Interface (optional) is where they leave; without it the kernel's routes say.
	Interface string
	// ToMAC (optional) is the receiver's or its router's hardware address, where no socket finds it; without
	// it the kernel's neighbours say.
	ToMAC net.HardwareAddr
	// NoChecksum leaves out the UDP checksum of packets over IPv4 that no socket makes.
	NoChecksum bool
	// NoSegments sends every packet of a socket for itself. It is for a receiver that would see the packets
	// before the kernel has cut them up: a veth whose other end runs XDP in generic mode.
	NoSegments bool
	// Pin runs the sender on CPU alone.
	Pin bool
	CPU int
	// Play (optional) is a file whose packets are sent instead of made: pcap, pcapng or Line Protocol.
	Play string
	// Speed plays it at so many times its own pace; 0: at Rate.
	Speed float64
	// Loop plays it again and again.
	Loop bool
	// Progress (optional) is called about once a second, by the sending thread: it shall not take long.
	Progress func(Report)
}

const (
	flowsDefault  = 8
	flowsMax      = 4096
	seriesDefault = 1000
	seriesMax     = 1e9
	// payloadMax is 65535 less the headers of IPv4 and UDP.
	payloadMax = 65507
	// cpusMax is CPU_SETSIZE of sched.h.
	cpusMax = 1024
)

// resolved is the configuration with everything filled in and checked.
type resolved struct {
	Config
	unit   time.Duration
	layout layout // of points that are made
	source source
}

func (c Config) resolve() (*resolved, error) {
	if c.PointsPerPacket == 0 {
		c.PointsPerPacket = 1
	}
	if c.Series == 0 {
		c.Series = seriesDefault
	}
	if c.Flows == 0 {
		c.Flows = max(min(flowsDefault, c.Series), len(c.To))
	}
	if c.Via == "" {
		c.Via = ViaAuto
	}
	r := &resolved{Config: c}
	switch {
	case len(c.To) == 0:
		return nil, fmt.Errorf("no receiver is given")
	case c.PointsPerPacket < 0:
		return nil, fmt.Errorf("%d points per packet, want 1 or more", c.PointsPerPacket)
	case c.Series < 0 || c.Series > seriesMax:
		return nil, fmt.Errorf("%d series, want 1 to %d", c.Series, int(seriesMax))
	case c.Flows < 0 || c.Flows > flowsMax:
		return nil, fmt.Errorf("%d flows, want 1 to %d", c.Flows, flowsMax)
	case c.Flows > c.Series:
		return nil, fmt.Errorf("%d flows for %d series: a series has one flow", c.Flows, c.Series)
	case c.Flows < len(c.To):
		return nil, fmt.Errorf("%d flows for %d receivers: each needs one", c.Flows, len(c.To))
	case !(c.Rate >= 0) || c.Rate > 1e12:
		return nil, fmt.Errorf("rate %v, want 0 (as fast as it goes) or more", c.Rate)
	case c.Pin && (c.CPU < 0 || c.CPU >= cpusMax):
		return nil, fmt.Errorf("CPU %d, want 0 to %d", c.CPU, cpusMax-1)
	case c.Duration < 0:
		return nil, fmt.Errorf("duration %v is negative", c.Duration)
	case !(c.AlertShare >= 0 && c.AlertShare <= 1):
		return nil, fmt.Errorf("alert share %v, want 0 to 1", c.AlertShare)
	}
	for _, to := range c.To {
		if !to.IsValid() || to.Port() == 0 {
			return nil, fmt.Errorf("receiver %v lacks an address or a port", to)
		}
	}
	err := c.checkVia()
	if err != nil {
		return nil, err
	}
	if err := c.checkPlay(); err != nil {
		return nil, err
	}
	if r.unit, err = parsePrecision(c.Precision); err != nil {
		return nil, err
	}
	if r.layout, err = newLayout(c.Template, c.Series, r.unit, !c.NoTimestamps, c.Sequence); err != nil {
		return nil, err
	}
	if size := len(r.layout.line) * c.PointsPerPacket; size > payloadMax && c.Play == "" {
		return nil, fmt.Errorf("%d points of %d bytes make a packet of %d bytes, a datagram holds %d",
			c.PointsPerPacket, len(r.layout.line), size, payloadMax)
	}
	return r, nil
}

func parsePrecision(word string) (time.Duration, error) {
	switch word {
	case "", "ns":
		return time.Nanosecond, nil
	case "us":
		return time.Microsecond, nil
	case "ms":
		return time.Millisecond, nil
	case "s":
		return time.Second, nil
	}
	return 0, fmt.Errorf("precision %q, want ns, us, ms or s", word)
}

// open makes the packets' source.
func (r *resolved) open() (err error) {
	if r.Play == "" {
		r.source = newSynth(r)
		return nil
	}
	r.source, err = newReplay(r)
	return err
}

// Check tells whether a configuration is consistent. It neither reads a file nor sends anything.
func (c Config) Check() error {
	_, err := c.resolve()
	return err
}

// PacketSize is the payload of a full packet, in bytes; 0 if the configuration is wrong or plays a file.
func (c Config) PacketSize() int {
	r, err := c.resolve()
	if err != nil || r.Play != "" {
		return 0
	}
	return len(r.layout.line) * r.PointsPerPacket
}

// Templates are the names of the templates that there are, with their text.
func Templates() []string {
	lines := make([]string, 0, len(templates))
	for _, t := range templates {
		lines = append(lines, t.name+": "+t.text)
	}
	return lines
}

// isText tells a template's text from a name: every line of Line Protocol has a space before its fields.
func isText(template string) bool { return strings.Contains(template, " ") }
