// Package wire makes alerts into datagrams: their text, and the headers around it.
//
//	Alert → AppendJSON or AppendLine → text → Template.Write → Ethernet | IPv4 or IPv6 | UDP | text
//
// It is pure: a Template is prepared once from addresses that the control plane found, and what it writes is
// bytes. It knows no sockets, no routes and no neighbours.
package wire
