// Package spool is the log on disk of what could not be delivered: one directory per URL of a sink.
//
//	Append ──▶ newest segment ── … ── oldest segment ──▶ Next ──▶ (sent) ──▶ Ack ──▶ position, unlink
//	                                                            └─▶ (not delivered) ──▶ Return
//
// A segment is a file that is only ever appended to; a record is one batch of points in Line Protocol with a
// header that can be checked without its body. docs/spool-format.md has every byte of it.
//
// What holds at any crash: a record that was appended and synced is found again until it was acknowledged;
// nothing is given out whose checksums do not hold; Open makes the best of whatever it finds and refuses
// nothing but a directory that it cannot list or that another process holds. What holds at all times: the
// files of a directory take at most MaxBytes.
//
// It has no clock, no goroutine and no lock: a Log belongs to one thread, which says when to sync. What waits
// for the disk is a Flush, which another thread can run meanwhile. It knows nothing of servers, and does not
// look into the bodies.
package spool
