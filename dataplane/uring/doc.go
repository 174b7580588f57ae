// Package uring is io_uring as one worker needs it: one ring, one thread, no cgo.
//
//	worker                                             kernel
//	Reserve → fill in the SQE ──submission ring──▶ Enter takes them
//	Next ◀────────────────────completion ring───── Enter runs what became ready
//
// The ring is set up for one thread that submits and reaps (SINGLE_ISSUER, DEFER_TASKRUN): completions
// appear only inside Enter, so that nothing interrupts the worker. Every byte that the kernel reads or
// writes lies in memory that the caller took outside of the Go heap and passes as a slice: the Go runtime
// moves stacks, and an address in a ring is invisible to it. A token is the caller's word for an operation,
// never a pointer.
//
// The package knows connecting, sending (also without copying), receiving and cancelling: what the writer to
// a database uses. It is not a general binding.
package uring
