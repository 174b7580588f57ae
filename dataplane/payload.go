package dataplane

import (
	"net/netip"

	"culvert/dataplane/lineproto"
)

// Payload is what a worker eats, whatever door it came in by: the bytes of one packet and what is known of
// them. It is borrowed: valid until the source takes its memory back at the end of the turn.
type Payload struct {
	Bytes      []byte
	Arrival    int64 // CLOCK_MONOTONIC, nanoseconds
	Listener   uint16
	Tenant     uint16
	SourcePort uint16
	Source     [16]byte // IPv4 as ::ffff:a.b.c.d
	// CardTime is the low half of the time at which the card got the packet, by the card's own clock, in
	// nanoseconds, if CardTold says that it told.
	CardTime uint32
	CardTold bool
	// Token names the payload to an input that owes its sender an answer; 0 for packets.
	Token uint64
}

// Protocol is the language of a listener's payloads.
type Protocol uint8

// LineProtocol is InfluxDB's Line Protocol, several lines a payload.
const LineProtocol Protocol = 0

// Tag is a name and a value that a listener adds to its points.
type Tag struct{ Name, Value string }

// Listener is what workers know of one configured listener; its ID is its place in Config.Listeners.
type Listener struct {
	Port      uint16
	Protocol  Protocol
	Precision lineproto.Precision
	// Tags are added to points that lack them.
	Tags []Tag
	// SourceTag (optional) names a tag that gets the sender's address.
	SourceTag string
	// MaxAhead is how far in the future a point's time may lie, in nanoseconds, before it is counted as such.
	MaxAhead int64
	// Sources may send to this listener; empty: all may. The XDP program checks its own copy: this one is
	// for the kernel's sockets.
	Sources []netip.Prefix
	// Tenants finds a sender's tenant by the longest prefix that holds it; none: tenant 0.
	Tenants []TenantPrefix
}

// TenantPrefix gives the senders of a prefix to a tenant.
type TenantPrefix struct {
	Prefix netip.Prefix
	Tenant uint16
}

// Addresses are each listener's own addresses, in the order of Config.Listeners. The control plane replaces
// the whole when an interface's addresses change.
type Addresses [][]netip.Addr

// admit decides about a datagram from a kernel socket, as the XDP program does for a frame: which of the
// listeners on the port it is for and whether its sender may. Loopback destinations are this host's own
// senders and stand for the first listener of the port.
func admit(listeners []Listener, addresses Addresses, port uint16, source, destination netip.Addr) (
	listener int, tenant uint16, reject FrameReject) {
	found := -1
	for i := range listeners {
		if listeners[i].Port != port {
			continue
		}
		if destination.IsLoopback() || i < len(addresses) && holds(addresses[i], destination) {
			found = i
			break
		}
	}
	if found < 0 {
		return 0, 0, FrameDestination
	}
	l := &listeners[found]
	if len(l.Sources) > 0 && !within(l.Sources, source) {
		return 0, 0, FrameSource
	}
	bits := -1
	for _, t := range l.Tenants {
		if t.Prefix.Contains(source) && t.Prefix.Bits() > bits {
			bits, tenant = t.Prefix.Bits(), t.Tenant
		}
	}
	return found, tenant, FrameRejects
}

func holds(addresses []netip.Addr, a netip.Addr) bool {
	for _, own := range addresses {
		if own == a {
			return true
		}
	}
	return false
}

func within(prefixes []netip.Prefix, a netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
