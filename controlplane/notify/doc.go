// Package notify brings alerts out of the gateway: to Alertmanagers, to webhooks, as datagrams, as points of
// a database, and to the gateway's log.
//
//	Send ─┬→ queue → notifier "ops" (alertmanager): POST, repeated while it fires
//	      ├→ queue → notifier "plc" (udp):            a datagram for each change
//	      └→ queue → notifier "out" (log):            a line for each change
//
// A queue knows what its receiver knows of each alert. What the receiver knows already is not sent; what
// failed is sent again until it is taken, refused, or superseded by a newer state of the same alert; what
// happens to one alert leaves in its order. Each queue is bounded and has a goroutine of its own, so that a
// receiver that is slow or gone holds up nobody else. Whatever becomes of a change is counted.
//
// The package knows nothing of rules: it takes alerts as they are.
package notify
