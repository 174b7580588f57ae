// Package shard deals series out to the servers of a sink.
//
//	measurement + sorted tags ─Hash─▶ 64 bits ─Table.Find─▶ server
//	                              └ its top 16 bits: one of 65 536 slots, each of which is some server's
//
// A series is a measurement with its tags, in whatever order and spelling they come. Which server a slot
// belongs to is decided by rendezvous: each server bids for each slot by a hash of its name and the slot,
// weighted, and the highest bid wins. So every server gets its share, to within a percent, and a server that
// comes or goes, or whose weight changes, moves no slot between two others (docs/decisions/0040).
//
// Neither hash nor bids may change from one version to the next: a series would change its server, and what
// waits on disk for the old one would be overtaken.
package shard
