// Package dataplane joins the leaves into one loop for one core.
//
//	AF_XDP queues ─┐                                          ┌─▶ influx writer ─▶ InfluxDB
//	               ├─▶ Payload ─▶ decode ─▶ rules ─▶ batch ───┘
//	UDP sockets  ──┘                          │
//	                                          └─▶ transitions ─▶ control plane (notifiers)
//
// A Worker owns everything it touches: the sockets, their memory, its share of the rule states, the batches,
// the io_uring and the connections. What must cross to another thread goes through a ring of dataplane/spsc;
// what others may see of it (Block, Stages, Heartbeat) it alone writes. There is no configuration file, HTTP
// server or log in here: the control plane hands in narrow values and reads counters.
package dataplane
