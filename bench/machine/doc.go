// Package machine says what a benchmark runs on, and how much time its CPUs, processes and threads have used.
//
// All times come from /proc: what a core did from /proc/stat, in ticks of 10 ms, with the softirqs that the
// kernel ran on it; what a thread did from its schedstat, in nanoseconds.
package machine
