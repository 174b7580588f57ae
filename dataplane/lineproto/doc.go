// Package lineproto reads InfluxDB's Line Protocol in place and writes it.
//
//	payload ──Decoder.Start──▶ index ──Decoder.Next──▶ point.Point ──Encoder.Append──▶ batch
//	            64 bytes at        │     from mark to    (spans of the
//	            a time             │     mark             payload)
//	                               └─▶ Rejected: a Reason, the byte column, the raw line
//
// Start makes one pass over the payload and notes where its structure lies: by AVX-512, by AVX2 or, on other
// machines and without GOEXPERIMENT=simd, in words of eight bytes. All three make the same index. Next walks
// over it and looks at the text between two marks only where something must be checked: names by their
// ends, numbers by the bits of their digits. The values of numbers are made by point.Point.Number when a rule
// or the encoder asks. Nothing is copied or allocated: only text that holds escapes is written anew, into the
// point's scratch arena.
//
// Plain tags and fields are read by plain.go, without bounds checks (walk_unsafe.go); whatever is not plain,
// or bad, is left to key.go, field.go and number.go, one tag or field at a time.
//
// A bad line is rejected alone; bad input is never an error value but a Reason, whose String is a metric
// label. docs/line-protocol.md says what is accepted, what is rejected and what is emitted, and where that
// differs from others.
//
// It does not stamp points that came without a time, does not sort tags and knows no server: those are the
// worker's and the sink's.
package lineproto
