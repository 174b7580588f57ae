// Package doctor looks at a host and says what stands between it and a gateway that runs as it should: what
// is missing, what harms, and the command that mends it.
//
//	/proc, /sys, drivers ─▶ Look ─▶ Host ─▶ Examine ─▶ Report
//
// Examine changes nothing and asks nothing: all that it judges is in its Host, or below the Host's root,
// which in tests is a directory. A finding that a mended host still has is a bug here.
package doctor
