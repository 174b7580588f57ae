package rulefile

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"culvert/controlplane/capture"
	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
	"culvert/dataplane/rules"
)

// Player evaluates rules over points in virtual time: time is what points and the caller say, and every timer
// goes off at its very moment. It is one worker without a gateway.
type Player struct {
	evaluator *rules.Evaluator
	set       *rules.Set
	decoder   lineproto.Decoder
	point     point.Point
	now       int64
	precision lineproto.Precision

	// OnAlert (optional) is called with every change of an alert's state, OnRecord with every derived point.
	OnAlert  func(rules.Alert)
	OnRecord func(rules.Made)
	// Points counts the points that were played, Filtered those that a filter dropped.
	Points, Filtered int
}

// NewPlayer makes a player with all keys unknown.
func NewPlayer(set *rules.Set) *Player {
	return &Player{
		set: set, evaluator: rules.NewEvaluator(set, rules.Config{Workers: 1, Owners: 1, Seed: [2]uint64{1,
			2}}),
		point: point.Point{ScratchBytes: make([]byte, 0, 4096)},
	}
}

// SetPrecision says what the unit of the points' timestamps is: ns, which it is without, us, ms or s. It is
// false for any other.
func (p *Player) SetPrecision(unit string) (known bool) {
	p.precision, known = lineproto.ParsePrecision(unit)
	return known
}

// Now is how far time has come, nanoseconds since 1970.
func (p *Player) Now() int64 { return p.now }

// Advance lets time pass. Time does not go back.
func (p *Player) Advance(to int64) {
	for next := p.evaluator.NextTimer(); next <= to; next = p.evaluator.NextTimer() {
		p.evaluator.Tick(next)
		p.take()
	}
	p.now = max(p.now, to)
	p.evaluator.Tick(p.now)
	p.take()
}

// take passes on what the rules have to say.
func (p *Player) take() {
	for {
		changes, made := p.evaluator.Transitions(), p.evaluator.Derived()
		if len(changes)+len(made) == 0 {
			return
		}
		for i := range changes {
			if p.OnAlert != nil {
				p.OnAlert(p.set.Render(&changes[i]))
			}
		}
		for i := range made {
			if p.OnRecord != nil {
				p.OnRecord(p.evaluator.Describe(&made[i]))
			}
		}
		p.evaluator.Taken(len(changes))
		p.evaluator.DerivedTaken(len(made))
		// What found no room before has it now.
		p.evaluator.Tick(p.now)
	}
}

// Rejected is a line that is no point.
type Rejected struct {
	Line   int // counted from 1 within the payload
	Column int
	Reason string
}

// Play lets the points of a payload arrive. at gives the moment for a point's own time, which is 0 where it
// has none; it may advance the player. Lines that are no points are returned.
func (p *Player) Play(payload []byte, at func(eventTime int64, has bool) int64) []Rejected {
	var rejected []Rejected
	p.point.ScratchBytes = p.point.ScratchBytes[:0]
	p.decoder.Start(payload, p.precision, &p.point)
	for {
		switch p.decoder.Next(&p.point) {
		case lineproto.End:
			return rejected
		case lineproto.Rejected:
			rejected = append(rejected, Rejected{
				Line: lineNumber(payload, p.decoder.Line().Offset()), Column: p.decoder.Column(),
				Reason: p.decoder.Reason().String(),
			})
			continue
		}
		arrival := max(at(p.point.Time, p.point.HasTime), p.now)
		if !p.point.HasTime {
			p.point.Time, p.point.HasTime = arrival, true
		}
		p.Advance(arrival)
		p.Points++
		if !p.evaluator.Eval(&p.point, arrival) {
			p.Filtered++
		}
		p.take()
	}
}

func lineNumber(payload []byte, offset int) int {
	n := 1
	for _, c := range payload[:min(offset, len(payload))] {
		if c == '\n' {
			n++
		}
	}
	return n
}

// Alerts are the alerts that are pending or firing.
func (p *Player) Alerts() []rules.Alert { return p.evaluator.Alerts() }

// lineMax bounds a line of a recording, as a UDP datagram bounds one from the network.
const lineMax = 64 << 10

// Recording says what a recording held beside its points, which Player.Points counts.
type Recording struct {
	Bytes     bool // it holds something at all
	Capture   bool // it is one of packets
	Datagrams int  // of a capture
	Skipped   int  // packets of a capture without a whole UDP datagram
	Rejected  int  // lines that are no points
	// First is the first of these, its line counted within the recording, or within datagram FirstIn.
	First   Rejected
	FirstIn int
}

// reject counts lines of one payload that are no points. line is where it begins, counted from 0.
func (r *Recording) reject(lines []Rejected, line int) {
	if r.Rejected == 0 && len(lines) > 0 {
		r.First, r.FirstIn = lines[0], r.Datagrams
		r.First.Line += line
	}
	r.Rejected += len(lines)
}

// PlayLines plays Line Protocol, each point at its own time or, where that is past, at once.
func (p *Player) PlayLines(in io.Reader) (Recording, error) {
	scanner, r := bufio.NewScanner(in), Recording{}
	scanner.Buffer(make([]byte, 0, lineMax), lineMax)
	scanner.Split(new(pieces).split)
	line := 0
	for scanner.Scan() {
		piece := scanner.Bytes()
		r.Bytes = true
		r.reject(p.Play(piece, func(eventTime int64, _ bool) int64 { return eventTime }), line)
		line += bytes.Count(piece, []byte{'\n'})
	}
	if err := scanner.Err(); errors.Is(err, bufio.ErrTooLong) {
		return r, fmt.Errorf("read points: line %d is longer than %d bytes", line+1, lineMax)
	} else if err != nil {
		return r, fmt.Errorf("read points: %w", err)
	}
	return r, nil
}

// PlayCapture plays the packets of a pcap or pcapng file at the times they were recorded.
func (p *Player) PlayCapture(in io.Reader) (Recording, error) {
	r := Recording{Bytes: true, Capture: true}
	c, err := capture.New(in)
	if err != nil {
		return r, err
	}
	for {
		packet, err := c.Next()
		r.Skipped = c.Skipped
		if errors.Is(err, io.EOF) {
			return r, nil
		}
		if err != nil {
			return r, err
		}
		r.Datagrams++
		r.reject(p.Play(packet.Payload, func(int64, bool) int64 { return packet.Time }), 0)
	}
}

// Evaluate is what an expression comes to on one line of Line Protocol.
func Evaluate(expr, line string) (any, []*rules.Error, error) {
	text := rules.Text{
		Source: expr, Position: rules.Position{File: "EXPR", Line: 1, Column: 1},
		Document: &rules.Document{Name: "EXPR", Lines: strings.Split(expr, "\n")},
	}
	var d lineproto.Decoder
	p := point.Point{ScratchBytes: make([]byte, 0, 4096)}
	// The line is read again at last, since the look behind it takes the point.
	for _, want := range []lineproto.Outcome{lineproto.End, lineproto.OK} {
		d.Start([]byte(line), lineproto.Nanosecond, &p)
		switch d.Next(&p) {
		case lineproto.End:
			return nil, nil, errors.New("evaluate: the line holds no point")
		case lineproto.Rejected:
			return nil, nil, fmt.Errorf("evaluate: the line is no point: %s at column %d", d.Reason(),
				d.Column())
		}
		if want == lineproto.End && d.Next(&p) != want {
			return nil, nil, errors.New("evaluate: one line is wanted, not several; replay those")
		}
	}
	value, wrong := rules.Evaluate(&text, &p)
	return value, wrong, nil
}
