// Package influx takes one worker's sealed batches to one InfluxDB and says what became of their points.
//
//	Pool.Take ─▶ Batch: open ─Seal─▶ sealed ─Submit─▶ in flight ─Outcome─▶ settled ─Release─▶ free
//	                                                 ▲        │
//	                                                 └─ retry, or a half of it
//
// A Writer keeps some HTTP/1.1 connections to one address and has one request at a time on each. It runs on
// the worker's thread and never blocks: with a ring its operations complete there, without one it uses
// non-blocking sockets; the policy is the same. What an answer means is in judge; what follows from it is in
// policy.go.
//
// A batch's bytes never change after Seal, so that a request whose outcome is unknown is sent again as it
// was: the server stores the same points once more, which changes nothing. The bytes belong to the kernel
// until every operation on them has completed and every zero-copy send has been notified, however many
// attempts there were; only then does the pool hand the batch out again.
//
// A breaker keeps the writer from trying in vain. For a caller who keeps what cannot be delivered now
// (Config.Aside) such batches step aside: they settle with the parts that are left, and fresh batches pass.
//
// The package knows no TLS, no spool and no second URL: those stand beside it.
package influx
