package dataplane

import (
	"culvert/dataplane/hist"
	"culvert/dataplane/lineproto"
)

// FrameReject is why a frame gave no payload. Values are indices of counters and, by String, label values.
type FrameReject uint8

// The reasons for rejecting a frame.
const (
	FrameNoMetadata     FrameReject = iota // the metadata area is missing or stale
	FrameLength                            // metadata and descriptor disagree about the packet's length
	FrameHeaderChecksum                    // the IPv4 header's checksum is wrong
	FrameChecksum                          // the UDP checksum is wrong
	FrameNoChecksum                        // no checksum over IPv6, where one is required
	FrameSource                            // the sender is not among the listener's sources (slow path)
	FrameDestination                       // not sent to an address of the listener (slow path)
	FrameTruncated                         // longer than the receive memory (slow path)
	FrameTenantLimit                       // more packets than the tenant may send (slow path)
	FrameSourceLimit                       // more packets than one sender of the tenant may send (slow path)
	FrameRejects                           // how many reasons there are
)

var frameRejectNames = [FrameRejects]string{
	"no_metadata", "length", "header_checksum", "checksum", "no_checksum", "source", "destination",
	"truncated", "tenant_limit", "source_limit",
}

func (r FrameReject) String() string { return frameRejectNames[r] }

// Drop is why a point that was fine is not in the database.
type Drop uint8

// The reasons for dropping a point.
const (
	DropUndelivered Drop = iota // the retry budget is spent
	DropOverload                // no free batch
	DropOversize                // one line longer than a whole batch
	DropPointsLimit             // more points than the tenant may send
	DropSeriesLimit             // of a series beyond those that the tenant may have
	DropSpoolFull               // no room on disk, nor in memory where the disk fails
	DropCorrupt                 // a record on disk that does not hold any more
	DropTTL                     // too old
	Drops
)

var dropNames = [Drops]string{
	"undelivered", "overload", "oversize", "points_limit", "series_limit", "spool_full", "corrupt", "ttl",
}

func (d Drop) String() string { return dropNames[d] }

// SinkReject is why a sink, or the encoder on its behalf, refused a point.
type SinkReject uint8

// The reasons for rejecting a point on its way to the sink.
const (
	SinkPartial   SinkReject = iota // the server stored the rest of the batch and refused this one
	SinkRefused                     // the server refused the whole request for good
	SinkUintRange                   // an unsigned value beyond what `uint: int` can say
	SinkKeyLength                   // the key is too long with the listener's tags
	SinkRejects
)

var sinkRejectNames = [SinkRejects]string{"partial_write", "refused", "uint_range", "key_length"}

func (r SinkReject) String() string { return sinkRejectNames[r] }

// ListenersMax bounds the listeners of a gateway, so that per-listener counters are arrays.
const ListenersMax = 64

// Counters is what one worker counted since it started. All are totals and only grow, except PointsInFlight.
type Counters struct {
	FramesReceived     uint64 // taken from AF_XDP sockets and kernel sockets
	DatagramsReceived  uint64 // of these, the ones from kernel sockets
	PacketsAssembled   uint64 // of these, the ones that lay in several frames of an AF_XDP socket
	FramesDecoded      uint64
	FramesRejected     [FrameRejects]uint64
	ChecksumPartial    uint64 // accepted with a local sender's not yet final sum
	ChecksumAbsent     uint64 // accepted with no sum over IPv4
	BytesReceived      uint64 // of payloads
	PointsReceived     [ListenersMax]uint64
	PointsDerived      uint64                    // made by the rules' records
	PointsCopied       uint64                    // made for the second and further servers of `replicate`
	PointsRejected     [lineproto.Reasons]uint64 // stage decode
	PointsSinkRejected [SinkRejects]uint64       // stage sink
	PointsFiltered     uint64
	PointsDropped      [Drops]uint64
	PointsWritten      uint64
	PointsSpooled      uint64 // handed over to a spooler, which answers for them from then on
	PointsInFlight     uint64 // in open, sealed or sent batches: a gauge
	PointsFuture       uint64 // beyond max_ahead
	FieldsDropped      uint64 // NaN and infinities, and fields given twice
	BatchesSealed      uint64
	Turns              uint64 // loop turns that found work
	Sleeps             uint64 // waits in the kernel
	AlertsHeld         uint64 // state changes that found the way to the notifiers full and were offered again
	HandoverRetries    uint64 // hand-overs of rule state that found a ring full and were kept
}

// PointsIn is what came in, every line whose end was found, and what was made here: records' points, and
// copies for further servers.
func (c *Counters) PointsIn() uint64 {
	return total(c.PointsReceived[:]) + c.PointsDerived + c.PointsCopied
}

// PointsRefused is what the decoder, the encoder or the sink did not take.
func (c *Counters) PointsRefused() uint64 {
	return total(c.PointsRejected[:]) + total(c.PointsSinkRejected[:])
}

// PointsLost is what was dropped although it was fine.
func (c *Counters) PointsLost() uint64 { return total(c.PointsDropped[:]) }

// PointsOut is where points can be: written, refused, filtered, dropped, spooled or still held. It equals
// PointsIn at every turn's end, or there is a bug.
func (c *Counters) PointsOut() uint64 {
	return c.PointsWritten + c.PointsRefused() + c.PointsFiltered + c.PointsLost() + c.PointsSpooled +
		c.PointsInFlight
}

// LaneCounters is what one worker counted of one URL since it started. All are totals and only grow, except
// InFlight. At every turn's end Stored is the sum of all others.
type LaneCounters struct {
	Stored   uint64 // points that were meant for it
	Written  uint64
	Rejected [SinkRejects]uint64
	Dropped  [Drops]uint64
	Moved    uint64 // to another URL of the sink, which took over
	Spooled  uint64 // handed over to its spooler
	InFlight uint64 // in open, sealed or sent batches: a gauge
}

// Out is where the points can be; it equals Stored, or there is a bug.
func (c *LaneCounters) Out() uint64 {
	return c.Written + total(c.Rejected[:]) + total(c.Dropped[:]) + c.Moved + c.Spooled + c.InFlight
}

// Add adds another worker's counters of the same URL to these.
func (c *LaneCounters) Add(other *LaneCounters) {
	into, from := c.words(), other.words()
	for i := range into {
		into[i] += from[i]
	}
}

func total(counts []uint64) uint64 {
	var sum uint64
	for _, n := range counts {
		sum += n
	}
	return sum
}

// Add adds another worker's counters to these.
func (c *Counters) Add(other *Counters) {
	into, from := c.words(), other.words()
	for i := range into {
		into[i] += from[i]
	}
}

// Stages are the latency histograms of one worker, in nanoseconds, written by it alone.
type Stages struct {
	// NICToSteer counts packets of which the card told when it got them. It comes before the others: they
	// begin with the XDP stamp, whatever the card can tell.
	NICToSteer    hist.Histogram // the card's own time → XDP stamp
	SteerToWorker hist.Histogram // XDP stamp → the turn that takes the frame
	Decode        hist.Histogram // of one frame, measured once a millisecond
	Rules         hist.Histogram // of the same frame
	// These count points that were acknowledged, so that steering, waiting and writing add up to the whole:
	// decoding and rules are a part of waiting.
	BatchWait hist.Histogram // the turn that takes the frame → its batch is sealed
	Write     hist.Histogram // sealed → acknowledged
	EndToEnd  hist.Histogram // XDP stamp → acknowledged
}
