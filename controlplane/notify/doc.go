// Package notify brings alerts out of the gateway: to its log, to webhooks, and as datagrams.
//
//	Send ─┬→ limit → queue → notifier "ops" (webhook): POST, retried with backoff
//	      ├→ limit → queue → notifier "plc" (udp):     one datagram for each change
//	      └→ limit → queue → notifier "out" (log):     one line for each change
//
// Each notifier has a bounded queue and one goroutine. So a receiver that is slow or gone holds up nobody
// else, and what happens to one alert leaves in the order in which it happened. What finds the queue full,
// exceeds the limit or runs out of attempts is counted and logged, never silent.
//
// The package knows nothing of rules: it takes alerts as they are.
package notify
