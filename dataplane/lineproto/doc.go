// Package lineproto reads InfluxDB's Line Protocol in place and writes it.
//
//	payload ──Decoder.Next──▶ point.Point (spans of the payload) ──Encoder.Append──▶ batch
//	            │
//	            └─▶ Rejected: a Reason, the byte column, the raw line
//
// The decoder makes one pass over the bytes, eight at a time, and neither copies nor allocates: only text
// that holds escapes is written anew, into the point's scratch arena. A bad line is rejected alone; bad
// input is never an error value but a Reason, whose String is a metric label. docs/line-protocol.md says
// what is accepted, what is rejected and what is emitted, and where that differs from others.
//
// It does not stamp points that came without a time, does not sort tags and knows no server: those are the
// worker's and the sink's.
package lineproto
