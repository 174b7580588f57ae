// Package numa knows where things are: which CPUs and which memory belong to which node, and on which node a
// network card sits. It puts threads and memory there.
//
//	/sys (read once) ─▶ Topology ─▶ the control plane decides ─▶ Pin, Confine   threads
//	                                                            └▶ Alloc, PreferNode   memory
//
// It decides nothing: which CPU works for which queue is the control plane's. What the kernel was asked for
// is read back and compared, since it gives less than asked for without an error: an affinity outside of the
// cpuset is cut, and pages that were touched before their policy was set stay where they are.
package numa
