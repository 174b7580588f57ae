package dataplane

import (
	"time"

	"culvert/dataplane/influx"
	"culvert/dataplane/lineproto"
)

const (
	// sampleInterval is how often one reason gives a sample, in nanoseconds.
	sampleInterval = int64(time.Second)
	// sampleText is how much of a rejected line a sample shows, in bytes.
	sampleText = 160
	// SampleSlots is the size of a ring of samples: one a second for each reason, read each second.
	SampleSlots = 128
	// sampleReasons counts frame and line reasons together.
	sampleReasons = int(FrameRejects) + int(lineproto.Reasons)
)

// RefusalSlots is the size of a ring of refused points.
const RefusalSlots = 1024

// Refusal is a point that a lane's server refused.
type Refusal struct {
	Lane int
	influx.Refusal
}

// Sample is one rejected frame or line, copied out for a person to read.
type Sample struct {
	Frame      FrameReject      // FrameRejects when it is a line
	Line       lineproto.Reason // when it is a line
	Listener   uint16
	SourcePort uint16
	Source     [16]byte
	Column     int    // 1-based, in bytes, in its line
	Total      uint64 // how many there were so far for this reason
	Length     int    // of Text
	Text       [sampleText]byte
}

// sampleFrame copies a rejected frame's origin out, at most once a second for each reason.
func (w *Worker) sampleFrame(reject FrameReject, payload *Payload) {
	if !w.sampleDue(int(reject)) {
		return
	}
	s := Sample{Frame: reject, Source: payload.Source, SourcePort: payload.SourcePort,
		Total: w.counters.FramesRejected[reject]}
	w.config.Samples.Push(&s)
}

// sampleLine copies the line that the decoder has just rejected out, at most once a second for each reason.
func (w *Worker) sampleLine(reason lineproto.Reason, payload *Payload) {
	if !w.sampleDue(int(FrameRejects) + int(reason)) {
		return
	}
	s := Sample{Frame: FrameRejects, Line: reason, Listener: payload.Listener, Source: payload.Source,
		SourcePort: payload.SourcePort, Column: w.decoder.Column(), Total: w.counters.PointsRejected[reason]}
	s.Length = copy(s.Text[:], w.point.Bytes(w.decoder.Line()))
	w.config.Samples.Push(&s)
}

func (w *Worker) sampleDue(reason int) bool {
	now := w.heartbeat.Load()
	if now-w.sampledAt[reason] < sampleInterval && w.sampledAt[reason] != 0 {
		return false
	}
	w.sampledAt[reason] = now
	return true
}
