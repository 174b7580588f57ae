package abi

// Verdict is what became of a packet in the XDP program (enum verdict in bpf/culvert.h). Its value is the
// index of a counter and its String the value of the label "verdict".
type Verdict uint8

// The verdicts, in the order of enum verdict.
const (
	Redirected Verdict = iota // went to the AF_XDP socket of its queue

	// Passed to the kernel, untouched.
	Off        // steering is switched off
	Truncated  // too short to tell whose it is
	OtherMAC   // another host's MAC
	VLANDepth  // more than two VLAN tags
	NotIP      // neither IPv4 nor IPv6
	NotUDP     // TCP, ICMP, …
	Fragment   // any fragment, the first one too
	Extension  // IPv6 extension headers too many, out of place, or of a kind not walked
	Routing    // IPv6 routing header with segments left
	NotOurs    // UDP to an address or port without a listener
	Unserved   // no socket or no worker serves the queue
	Stalled    // the queue's worker shows no life
	TooLong    // longer than a frame of the socket's memory
	NoMetadata // no room for the metadata, or another program's is there

	// Dropped.
	Malformed   // for a listener, and a length in the headers lies
	Source      // for a listener that does not allow the sender
	TenantLimit // more packets than the tenant may send
	SourceLimit // more packets than one sender of the tenant may send

	Verdicts // how many there are
)

var verdictNames = [Verdicts]string{
	"redirected", "off", "truncated", "other_mac", "vlan_depth", "not_ip", "not_udp", "fragment", "extension",
	"routing", "not_ours", "unserved", "stalled", "too_long", "no_metadata", "malformed", "source",
	"tenant_limit", "source_limit",
}

func (v Verdict) String() string {
	if v >= Verdicts {
		return "unknown"
	}
	return verdictNames[v]
}

// Dropped tells whether a packet with this verdict ended in the XDP program.
func (v Verdict) Dropped() bool { return v >= Malformed && v < Verdicts }
