// Package telemetry shows the workers' counters to Prometheus and to people: it turns one consistent snapshot
// into metrics and into the document of /api/v1/status. It measures nothing itself.
package telemetry

import (
	"time"

	"culvert/dataplane"
	"culvert/dataplane/hist"
	"culvert/dataplane/influx"
)

// Snapshot is everything the gateway shows of itself at one moment. The gateway fills it; nobody writes to it
// afterwards.
type Snapshot struct {
	Version string
	Gateway string // gateway.id
	Taken   time.Time
	Started time.Time

	// Ready tells whether points can come in and go out; Reasons says in plain words why not.
	Ready   bool
	Reasons []string
	// Impaired says which servers do not take points although these have somewhere to go.
	Impaired []string

	Listeners  []Listener
	Interfaces []Interface
	Workers    []Worker
	Sinks      []Sink
	Tenants    []Tenant // their places are their numbers
	Heavy      []HeavySeries
	Rules      []Rule
	RuleGroups []RuleGroup
	Notifiers  []Notifier
	// Deviations are where the workers' placement is not as planned, or not the best, in plain words.
	Deviations []string
	// Traces is nil where traces are off.
	Traces *Traces
	// Confinement is nil where nobody says.
	Confinement *Confinement

	// Stages are all workers' histograms together, in nanoseconds, keyed by the stage's name; AlertLatency is
	// XDP stamp → alert handed to the wire.
	Stages       map[string]*hist.Snapshot
	AlertLatency *hist.Snapshot

	// ClockSteps is how often wall time moved against the monotonic clock by more than 1 ms.
	ClockSteps uint64
}

// Traces are the spans of traced batches, by what became of them: those that the exporter took, those that it
// did not, those that came while as many waited as may, and those that found no room on the way from a worker
// or a spooler.
type Traces struct{ Exported, Failed, Dropped, LeftOut uint64 }

// Confinement is what the gateway may still do to the host.
type Confinement struct {
	User         string   `json:"user"`
	Capabilities []string `json:"capabilities"` // that it holds
	Dropped      bool     `json:"dropped"`      // all others are gone for good
	Syscalls     string   `json:"syscalls"`     // what limits the system calls, or why nothing does
	Files        string   `json:"files"`        // what limits the files, or why nothing does
}

// Listener is one configured UDP listener; its position is the index into Counters.PointsReceived.
type Listener struct {
	Name string
	Port uint16
	// KernelDrops is what the kernel dropped because the listener's own sockets were full.
	KernelDrops uint64
}

// Interface is one configured interface as it runs now.
type Interface struct {
	Name       string
	Driver     string
	Mode       string // zerocopy | native | generic | socket; empty while it is down or gone
	ZeroCopy   bool
	NeedWakeup bool
	BusyPoll   bool
	Fanout     string // none | flow | packet: how packets find one of several sockets of a queue
	Adopted    bool   // the link was pinned by culvert attach
	// CardTimes says in words whether the card tells when it got each packet; empty while nothing is
	// attached.
	CardTimes string
	// CardClock says that its clock is measured, and CardClockDoubt how exactly, in nanoseconds.
	CardClock      bool
	CardClockDoubt int64
	State          string
	Queues         []Queue
	Verdicts       []Verdict
}

// NoCardTimes is Interface.CardTimes of a card without a clock, which most are.
const NoCardTimes = "none"

// Queue is one receive queue and a socket on it. Where queues fan out a queue has several, which follow each
// other.
type Queue struct {
	Queue, Socket, CPU, Node int
	Worker                   string
	HugePages                string // as numa.Memory says it, "" while there is no socket
	FramesReceived           uint64
	// Raw are the kernel's own counters by name; Drops are the packet balance's terms by reason. Raw ones
	// overlap and are never added up.
	Raw, Drops map[string]uint64
}

// Verdict is how many packets the XDP program gave one verdict.
type Verdict struct {
	Name  string
	Count uint64
}

// Worker is one worker's counters as of one of its turns.
type Worker struct {
	Name      string // "0", "1", …, or "kernel" for the slow path
	CPU, Node int    // -1 for the slow path, which is not pinned
	Heartbeat time.Duration
	Counters  dataplane.Counters
	// Rings says how batches leave: "io_uring" or "sockets".
	Transport string
	// Pages counts its pages by what they are for ("frames", "sends", "rings", "rules", "stack") and by the
	// node that they lie on: −1 for those that were never touched, or of which the kernel does not tell.
	Pages map[string]map[int]int
}

// Sink is one URL of one sink.
type Sink struct {
	Name, URL   string
	Up          bool
	Connections int
	LastError   string            // the last failure in plain words; empty once it works
	Requests    map[string]uint64 // by HTTP status code, or "error" where there was no answer
	// Points are all workers' counters of it together.
	Points dataplane.LaneCounters
	// Spool is its spooler's state, nil where no spool is kept. It was read before the workers' counters.
	Spool *dataplane.SpoolerState
	// SpoolMax is what its files may take, in bytes; 0 where no spool is kept.
	SpoolMax int64
	// Breaker is the state of the worker's that is furthest from closed.
	Breaker influx.BreakerState
	// ZeroCopySent and ZeroCopyCopied count SEND_ZC notifications by what the kernel did.
	ZeroCopySent, ZeroCopyCopied uint64
}

// Rule is one rule: an alert or a record.
type Rule struct {
	Name        string
	Group, Kind string
	Expr        string
	Firing      int
	Pending     int // keys whose condition holds, but not yet for long enough
	Transitions uint64
	Derived     uint64
	Evicted     uint64
	TooLong     uint64 // points whose key has too long a text
	// Its cost: the length of its program in instructions, keys that are remembered, bytes for each.
	Steps, Keys, KeyBytes int
}

// Notifier is one way out for alerts.
type Notifier struct {
	Name, Type                string
	Delivered, Failed, Queued uint64
	// Dropped and Skipped count changes that were not delivered, by reason: Dropped are lost, and their sum
	// is Failed; Skipped ones said nothing that the receiver had still to learn.
	Dropped, Skipped map[string]uint64
	// Retries counts messages that failed and were or will be sent again, Limited changes that waited for
	// their rule's limit, Overflowed those that found the queue full, Refreshed firing alerts told again.
	Retries, Limited, Overflowed, Refreshed uint64
	Keys                                    uint64 // alerts that are kept track of
	// ByRule counts delivered notifications by rule.
	ByRule map[string]uint64
}
