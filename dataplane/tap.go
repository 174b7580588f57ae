package dataplane

import (
	"bytes"

	"culvert/dataplane/lineproto"
	"culvert/dataplane/point"
	"culvert/dataplane/spsc"
)

const (
	// tapText is how much of a payload is copied out: what fits into an Ethernet frame.
	tapText = 1500
	// TapSlots is the size of a ring of tapped payloads, read every few ten milliseconds.
	TapSlots = 128
	// tapTurn is how many payloads of a turn are copied out at most, so that a tap costs a busy worker
	// little.
	tapTurn = 4
)

// Tapped is one payload, copied out for a person to look at.
type Tapped struct {
	Payload       // its Bytes are nil: Text has them
	Wall    int64 // when it came, nanoseconds since 1970
	Length  int   // of Text
	Cut     bool  // Text is not all of the payload
	Text    [tapText]byte
}

// Tap is the way of one worker's payloads to who watches. It is filled while the worker has it.
type Tap struct {
	Ring *spsc.Ring[Tapped]
	slot Tapped // the worker's
	turn int64  // the heartbeat of the turn that taken counts for
	// taken is how many payloads of the turn were copied.
	taken int
}

// NewTap takes a ring's memory, some 200 KiB.
func NewTap() *Tap { return &Tap{Ring: spsc.New[Tapped](TapSlots)} }

// SetTap lets a worker fill a tap, or none with nil. Payloads that find its ring full are not tapped.
func (w *Worker) SetTap(t *Tap) error {
	return w.Do(func() error {
		w.tap = t
		return nil
	})
}

// offer copies a payload out if it is the turn's first ones and there is room.
func (t *Tap) offer(payload *Payload, now, wall int64) {
	if now != t.turn {
		t.turn, t.taken = now, 0
	}
	if t.taken >= tapTurn {
		return
	}
	t.taken++
	s := &t.slot
	s.Payload, s.Wall = *payload, wall
	s.Bytes = nil
	s.Length = copy(s.Text[:], payload.Bytes)
	s.Cut = s.Length < len(payload.Bytes)
	t.Ring.Push(s)
}

// TapReader takes tapped payloads apart as a worker does, without a worker. It belongs to one goroutine.
type TapReader struct{ worker Worker }

// NewTapReader reads payloads of these listeners.
func NewTapReader(listeners []Listener) *TapReader {
	r := &TapReader{}
	for i := range listeners {
		r.worker.listeners = append(r.worker.listeners, newListenerText(&listeners[i]))
	}
	r.worker.point.ScratchBytes = make([]byte, 0, scratchSize)
	return r
}

// Points calls each with every point as rules see it, its listener's tags included, and with every line that
// is none: then p is nil, and line and reason say what is wrong. What each gets is valid until it returns. A
// line that was cut off is left out.
func (r *TapReader) Points(t *Tapped, each func(p *point.Point, line []byte, reason lineproto.Reason)) {
	w, payload := &r.worker, t.Payload
	payload.Bytes = t.Text[:t.Length]
	if t.Cut {
		payload.Bytes = payload.Bytes[:bytes.LastIndexByte(payload.Bytes, '\n')+1]
	}
	l, p := &w.listeners[payload.Listener], &w.point
	p.ScratchBytes = append(p.ScratchBytes[:0], l.text...)
	source := w.sourceTag(l, &payload)
	w.decoder.Start(payload.Bytes, l.Precision, p)
	for {
		switch w.decoder.Next(p) {
		case lineproto.End:
			return
		case lineproto.Rejected:
			each(nil, p.Bytes(w.decoder.Line()), w.decoder.Reason())
			continue
		}
		if !p.HasTime {
			p.Time, p.HasTime = t.Wall, true
		}
		w.addTags(p, l, source)
		each(p, nil, 0)
	}
}
