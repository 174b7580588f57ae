package dataplane

import (
	"net/netip"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
)

// listenerText is what a listener adds to its points, laid out as it stands at the start of every turn's
// scratch arena.
type listenerText struct {
	*Listener
	text []byte
	tags []point.Tag // spans into text
	// sourceName is the span of SourceTag in text; the sender's address follows behind text, once a payload.
	sourceName point.Span
}

func newListenerText(l *Listener) listenerText {
	t := listenerText{Listener: l}
	add := func(s string) point.Span {
		t.text = append(t.text, s...)
		return point.MakeSpan(point.Scratch, len(t.text)-len(s), len(s))
	}
	for _, tag := range l.Tags {
		t.tags = append(t.tags, point.Tag{Name: add(tag.Name), Value: add(tag.Value)})
	}
	if l.SourceTag != "" {
		t.sourceName = add(l.SourceTag)
	}
	return t
}

// eat takes a payload apart: each line becomes a point, meets the rules and goes into the open batch. With
// timed set the shares of decoding and rules are measured, at three clock readings a point.
func (w *Worker) eat(payload *Payload, timed bool) {
	l := &w.listeners[payload.Listener]
	p := &w.point
	p.ScratchBytes = append(p.ScratchBytes[:0], l.text...)
	source, adds := w.beginPayload(payload, l)
	var shares stopwatch
	if timed {
		shares.start(w.clock)
	}
	route, limits := w.routeOf(payload.Tenant), w.gates.ofPoints(payload.Tenant)
	received, sampleAt := uint64(0), w.hitters.next
	var lines row
	w.decoder.Start(payload.Bytes, l.Precision, p)
	for {
		outcome := w.decoder.Next(p)
		if timed {
			shares.decode += shares.lap(w.clock)
		}
		if outcome == lineproto.End {
			break
		}
		received++
		if outcome == lineproto.Rejected {
			w.rejectLine(payload)
			continue
		}
		if received >= sampleAt {
			sampleAt = received + w.sampleSeries(p, payload)
		}
		if limits != nil && !w.admitPoint(limits, p) {
			continue
		}
		w.stamp(p, payload.Arrival, l.MaxAhead)
		if adds {
			w.addTags(p, l, source)
		}
		if w.rules != nil {
			passes := w.rules.Eval(p, payload.Arrival)
			if len(w.rules.Transitions()) >= forwardMin {
				w.forward()
			}
			if timed {
				shares.rules += shares.lap(w.clock)
			}
			if !passes {
				w.counters.PointsFiltered++
				continue
			}
		}
		o := route.of(p)
		if p.Time < route.oldest {
			w.expired(o)
			continue
		}
		if from, to, ok := o.encoder.Whole(p); ok && !adds {
			w.storeLine(&lines, o, payload, from, to)
		} else {
			w.storeRow(&lines, payload)
			w.store(o, p, payload.Arrival)
		}
		if timed {
			shares.lap(w.clock)
		}
	}
	w.storeRow(&lines, payload)
	w.hitters.next = max(sampleAt, received+1) - received
	w.endPayload(payload, received)
	if timed {
		w.record(&shares)
	}
}

// beginPayload tells those who want to know that a payload comes, and finds what the listener adds to each
// point: the sender's tag, if any, and whether there is anything at all.
func (w *Worker) beginPayload(payload *Payload, l *listenerText) (source point.Span, adds bool) {
	if w.tenants != nil {
		w.marks = w.markPayload()
	}
	if w.rules != nil {
		w.rules.SetMaxAhead(l.MaxAhead)
	}
	if w.tap != nil {
		w.tap.offer(payload, w.heartbeat.Load(), w.clock.Wall(payload.Arrival))
	}
	source = w.sourceTag(l, payload)
	return source, len(l.tags) > 0 || source != 0
}

// endPayload enters a payload's lines into the ledger, and lets its alerts depart.
func (w *Worker) endPayload(payload *Payload, received uint64) {
	if w.rules != nil {
		w.departEarly()
	}
	w.counters.FramesDecoded++
	w.counters.BytesReceived += uint64(len(payload.Bytes))
	w.counters.PointsReceived[payload.Listener] += received
	w.counters.FieldsDropped += uint64(w.decoder.FieldsDropped())
	if w.tenants != nil {
		w.enterTenant(payload, received)
	}
}

// stopwatch adds up what the stages of one payload take, in nanoseconds.
type stopwatch struct{ begun, mark, decode, rules int64 }

func (s *stopwatch) start(c *Clock) {
	s.begun = c.Now()
	s.mark = s.begun
}

// lap is the time since the last lap.
func (s *stopwatch) lap(c *Clock) int64 {
	before := s.mark
	s.mark = c.Now()
	return s.mark - before
}

// record enters what a payload took into the histograms, and into the trace that waits for it.
func (w *Worker) record(s *stopwatch) {
	w.stages.Decode.Record(s.decode)
	w.stages.Rules.Record(s.rules)
	w.traces.measured(s)
}

// stamp gives a point without a timestamp its arrival time, strictly increasing per worker so that no two
// points of a series become one, and counts points from the future.
func (w *Worker) stamp(p *point.Point, arrival, maxAhead int64) {
	if !p.HasTime {
		w.lastStamp = max(w.clock.Wall(arrival), w.lastStamp+1)
		p.Time, p.HasTime = w.lastStamp, true
		return
	}
	if p.Time > w.wallNow+maxAhead {
		w.counters.PointsFuture++
	}
}

// sourceTag appends the sender's address to the scratch arena and returns its span, if the listener wants it.
func (w *Worker) sourceTag(l *listenerText, payload *Payload) point.Span {
	if l.sourceName == 0 {
		return 0
	}
	p := &w.point
	start := len(p.ScratchBytes)
	p.ScratchBytes = netip.AddrFrom16(payload.Source).Unmap().AppendTo(p.ScratchBytes)
	return point.MakeSpan(point.Scratch, start, len(p.ScratchBytes)-start)
}

// addTags adds the listener's tags, and the sender's address, to a point that lacks them.
func (w *Worker) addTags(p *point.Point, l *listenerText, source point.Span) {
	for _, tag := range l.tags {
		addTag(p, tag)
	}
	if source != 0 {
		addTag(p, point.Tag{Name: l.sourceName, Value: source})
	}
}

func addTag(p *point.Point, tag point.Tag) {
	name := p.Bytes(tag.Name)
	for i := range p.Tags {
		if string(p.Bytes(p.Tags[i].Name)) == string(name) {
			return
		}
	}
	p.Tags = append(p.Tags, tag)
	p.LacksTags &^= point.NameBit(name)
}

func (w *Worker) rejectLine(payload *Payload) {
	reason := w.decoder.Reason()
	w.counters.PointsRejected[reason]++
	if w.tenants != nil {
		w.tenant(payload.Tenant).counters.Rejected[reason]++
	}
	w.sampleLine(reason, payload)
}
