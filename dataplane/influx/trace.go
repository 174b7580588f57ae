package influx

import "encoding/hex"

const (
	// traceAttempts is how many attempts of a batch a trace tells apart; the last one stands for all
	// further.
	traceAttempts = 16
	// traceHeader is the length of the head's line of a traced batch: its name, version, two numbers, flags.
	traceHeader = len("\r\ntraceparent: 00-") + 32 + 1 + 16 + len("-01")
)

// Trace is what is noted of a batch that is traced. Times are CLOCK_MONOTONIC nanoseconds; those of
// stages are for the worker to set. It belongs to whom the batch belongs.
type Trace struct {
	// ID names the trace and Span its root; attempt i, counted from 0, is Span + 1 + i. Requests carry ID and
	// their attempt's span in the header traceparent (W3C Trace Context).
	ID   [16]byte
	Span uint64

	// Opened is when the batch's first packet arrived, Seen when the worker took it.
	Opened, Seen int64
	// Measured is when one of the batch's packets was taken apart, for so long by the decoder and the rules;
	// 0 if none was measured.
	Measured, Decode, Rules int64

	// ToDisk is when the batch went to the spool before it was sent, OnDisk when it was there; 0 if it was
	// not.
	ToDisk, OnDisk int64

	Attempts [traceAttempts]TraceAttempt
	Count    int // of Attempts
}

// TraceAttempt is one request for a batch, or for a part of it.
type TraceAttempt struct {
	Begun, Sent, Ended int64 // Sent, when the socket had all of it, is 0 if that never was
	Code               int   // of the answer, 0 if none came
	Points, Bytes      int
}

// SetTrace has a batch traced from now on, or no longer with nil.
func (b *Batch) SetTrace(t *Trace) { b.trace = t }

// Trace is what was noted so far, or nil.
func (b *Batch) Trace() *Trace { return b.trace }

func (t *Trace) begin(p Part, now int64) {
	t.Attempts[t.Count-1] = TraceAttempt{Begun: now, Points: p.Points, Bytes: p.size()}
}

// next counts an attempt; its head is written before it begins.
func (t *Trace) next() { t.Count = min(t.Count+1, traceAttempts) }

// appendTo writes the header's line, behind a line without its end.
func (t *Trace) appendTo(head []byte) []byte {
	head = append(head, "\r\ntraceparent: 00-"...)
	head = hex.AppendEncode(head, t.ID[:])
	head = append(head, '-')
	span := t.Span + uint64(t.Count)
	for shift := 60; shift >= 0; shift -= 4 {
		head = append(head, "0123456789abcdef"[span>>shift&15])
	}
	return append(head, "-01"...)
}

// sentAll notes that the socket has all of an attempt, if it has and if somebody wants to know.
func (a *attempt) sentAll(now int64) {
	if a.batch != nil && a.batch.trace != nil && a.live && a.sent == a.size() {
		t := a.batch.trace
		t.Attempts[t.Count-1].Sent = now
	}
}

// ended notes how an attempt ended.
func (b *Batch) ended(code int, now int64) {
	if t := b.trace; t != nil && t.Count > 0 {
		last := &t.Attempts[t.Count-1]
		last.Ended, last.Code = now, code
	}
}
