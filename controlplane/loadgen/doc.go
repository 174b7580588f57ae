// Package loadgen sends Line Protocol over UDP at a steady rate and says exactly what it sent.
//
//	template ─▶ packets, laid out once ─▶ series, values, times in place ─▶ sendmmsg ─▶ flow 0 … n
//	                                       schedule: bursts of at most a quarter of a millisecond
//
// Every point has a series and timestamp of its own, so a database that got them all counts as many points as
// were sent. A series always leaves by the same flow (source port), as a real sender's would. It is an
// instrument for benchmarks, tests and the demo: it waits for no answer, since UDP has none.
package loadgen
