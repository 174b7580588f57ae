// Package loadgen sends Line Protocol over UDP at a steady rate and says exactly what it sent.
//
//	synth: template ─▶ packets laid out once ─▶ series, values, times in place ─┐
//	replay: pcap, pcapng, lines ─▶ payloads and their times ────────────────────┤
//	                                                                            ▼
//	                              generator: a turn of at most 64 packets of one flow, when it is due
//	                                                                            │
//	          sockets (segments or sendmmsg) ◀─ or ─ AF_XDP ─ or ─ live frames ◀┘
//
// Every point that is made has a series and timestamp of its own, so a database that got them all counts as
// many points as were sent; with sequence numbers a receiver knows which ones it lacks. A series always
// leaves by the same flow (source port), as a real sender's would. It is an instrument for benchmarks, tests
// and the demo: it waits for no answer, since UDP has none.
package loadgen
