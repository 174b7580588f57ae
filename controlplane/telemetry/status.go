package telemetry

import (
	"time"

	"culvert/bpf/abi"
	"culvert/dataplane"
	"culvert/dataplane/hist"
	"culvert/dataplane/lineproto"
)

// Status is the document of GET /api/v1/status: one snapshot of the gateway, times in seconds. Counts by
// reason hold only what is not zero.
type Status struct {
	Gateway       string            `json:"gateway"`
	Version       string            `json:"version"`
	Taken         time.Time         `json:"taken"`
	UptimeSeconds float64           `json:"uptime_seconds"`
	Ready         bool              `json:"ready"`
	Reasons       []string          `json:"reasons"` // why it is not ready
	Ledger        Ledger            `json:"ledger"`
	Packets       Packets           `json:"packets"`
	Interfaces    []InterfaceStatus `json:"interfaces"`
	Workers       []WorkerStatus    `json:"workers"`
	Deviations    []string          `json:"deviations"` // of the workers' placement from plan and best
	Listeners     []ListenerStatus  `json:"listeners"`
	Tenants       []TenantStatus    `json:"tenants"`
	// HeavySeries are those that one in a hundred points of late or more belong to, heaviest first.
	HeavySeries []HeavySeriesStatus `json:"heavy_series"`
	Sinks       []SinkStatus        `json:"sinks"`
	Rules       []RuleStatus        `json:"rules"`
	Notifiers   []NotifierStatus    `json:"notifiers"`
	Latency     map[string]Latency  `json:"latency"` // by stage, and "alert"
	ClockSteps  uint64              `json:"clock_steps"`
	Confinement *Confinement        `json:"confinement,omitempty"`
}

// Ledger says where every point is. Residue is what came in less what is accounted for: 0, or there is a bug.
type Ledger struct {
	Received     uint64            `json:"received"`
	Derived      uint64            `json:"derived"`
	Copied       uint64            `json:"copied"` // for the second and further servers of replicate
	Restored     uint64            `json:"restored"`
	Written      uint64            `json:"written"`
	Rejected     map[string]uint64 `json:"rejected"` // by "stage/reason"
	Filtered     uint64            `json:"filtered"`
	Dropped      map[string]uint64 `json:"dropped"` // by reason
	SpoolPending uint64            `json:"spool_pending"`
	InFlight     uint64            `json:"in_flight"`
	Residue      int64             `json:"residue"`
}

// Packets is the balance of packets. While packets lie in rings its residues are these packets; at a quiet
// moment both are 0.
type Packets struct {
	Redirected uint64            `json:"redirected"` // by the XDP program, to a queue's socket
	Received   uint64            `json:"received"`   // by workers, from AF_XDP and kernel sockets
	Kernel     uint64            `json:"kernel"`     // of these, from kernel sockets
	Assembled  uint64            `json:"assembled"`  // of these, longer than a frame: copied together
	Decoded    uint64            `json:"decoded"`
	Rejected   map[string]uint64 `json:"rejected"` // by reason
	Drops      map[string]uint64 `json:"drops"`    // between the XDP program and the workers, by reason
	// KernelDrops are datagrams that the kernel dropped because a listener's own socket was full.
	KernelDrops     uint64 `json:"kernel_drops"`
	ResidueRedirect int64  `json:"residue_redirect"` // redirected less received by AF_XDP less drops
	ResidueDecode   int64  `json:"residue_decode"`   // received less decoded less rejected
}

// InterfaceStatus is one interface.
type InterfaceStatus struct {
	Name       string `json:"name"`
	Driver     string `json:"driver"`
	Mode       string `json:"mode"`
	ZeroCopy   bool   `json:"zerocopy"`
	NeedWakeup bool   `json:"need_wakeup"`
	BusyPoll   bool   `json:"busy_poll"`
	Fanout     string `json:"queues_fanout"` // none | flow | packet, as it came out
	Adopted    bool   `json:"adopted"`
	State      string `json:"state"`
	// CardTimes says in words whether the card tells when it got each packet, for the stage nic_to_steer.
	CardTimes string            `json:"card_times"`
	Queues    []QueueStatus     `json:"queues"`
	Verdicts  map[string]uint64 `json:"verdicts"`
}

// QueueStatus is one receive queue and one socket on it.
type QueueStatus struct {
	Queue      int               `json:"queue"`
	Socket     int               `json:"socket"` // of the queue's, counted from 0
	CPU        int               `json:"cpu"`
	Node       int               `json:"node"`
	Worker     string            `json:"worker"`
	HugePages  string            `json:"huge_pages,omitempty"` // as numa.Memory has it
	Received   uint64            `json:"received"`
	Drops      map[string]uint64 `json:"drops"`
	Statistics map[string]uint64 `json:"statistics"` // the kernel's own, never to be added up
}

// WorkerStatus is one worker. CPU and Node are −1 where it is not pinned.
type WorkerStatus struct {
	Name            string  `json:"name"`
	CPU             int     `json:"cpu"`
	Node            int     `json:"node"`
	Transport       string  `json:"transport"`
	HeartbeatAge    float64 `json:"heartbeat_age_seconds"`
	PacketsReceived uint64  `json:"packets_received"`
	PointsReceived  uint64  `json:"points_received"`
	PointsWritten   uint64  `json:"points_written"`
	PointsInFlight  uint64  `json:"points_in_flight"`
	Batches         uint64  `json:"batches"`
	Turns           uint64  `json:"turns"`
	Sleeps          uint64  `json:"sleeps"`
	// Pages counts pages of its memory by kind and node; node −1: never touched, or not told.
	Pages map[string]map[int]int `json:"pages"`
}

// ListenerStatus is one listener.
type ListenerStatus struct {
	Name           string `json:"name"`
	Port           uint16 `json:"port"`
	PointsReceived uint64 `json:"points_received"`
	KernelDrops    uint64 `json:"kernel_drops"`
}

// SinkPoints is the balance of one URL: stored is what was meant for it, and the sum of all others.
type SinkPoints struct {
	Stored   uint64            `json:"stored"`
	Written  uint64            `json:"written"`
	Rejected map[string]uint64 `json:"rejected"` // by reason
	Dropped  map[string]uint64 `json:"dropped"`  // by reason
	Moved    uint64            `json:"moved"`    // to another URL, which took over, in its spool too
	Adopted  uint64            `json:"adopted"`  // from the spools of other URLs: in addition to stored
	Restored uint64            `json:"restored"` // found in the spool at start: in addition to stored
	// SpoolPending waits in the spool.
	SpoolPending uint64 `json:"spool_pending"`
	InFlight     uint64 `json:"in_flight"`
	Residue      int64  `json:"residue"`
}

// SinkStatus is one URL of one sink.
type SinkStatus struct {
	Name           string            `json:"name"`
	URL            string            `json:"url"`
	Up             bool              `json:"up"`
	Connections    int               `json:"connections"`
	Points         SinkPoints        `json:"points"`
	Breaker        string            `json:"breaker"`         // closed, half_open, open
	Spool          *SpoolStatus      `json:"spool,omitempty"` // absent where none is kept
	LastError      string            `json:"last_error,omitempty"`
	Requests       map[string]uint64 `json:"requests"` // by status code, or "error"
	ZeroCopySent   uint64            `json:"zerocopy_sent"`
	ZeroCopyCopied uint64            `json:"zerocopy_copied"`
}

// RuleStatus is one alert or record rule, and what it costs.
type RuleStatus struct {
	Name        string `json:"name"`
	Group       string `json:"group"`
	Kind        string `json:"kind"` // alert | record
	Expr        string `json:"expr"`
	Firing      int    `json:"firing"`  // keys that are firing now
	Pending     int    `json:"pending"` // keys whose condition holds, but not yet for long enough
	Transitions uint64 `json:"transitions"`
	Derived     uint64 `json:"derived"` // points that a record made
	Evicted     uint64 `json:"evicted"`
	TooLong     uint64 `json:"too_long"`
	Steps       int    `json:"steps"`     // instructions of its program
	Keys        int    `json:"keys"`      // that are remembered of its past
	KeyBytes    int    `json:"key_bytes"` // memory for each of them
}

// NotifierStatus is one way out for alerts.
type NotifierStatus struct {
	Name      string `json:"name"`
	Type      string `json:"type"`
	Delivered uint64 `json:"delivered"`
	Failed    uint64 `json:"failed"`
	Queued    uint64 `json:"queued"`
}

// Latency is one stage's histogram in figures, in seconds.
type Latency struct {
	Count uint64  `json:"count"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p999"`
	Max   float64 `json:"max"`
}

// alertStage is the key of the alert latency among the stages.
const alertStage = "alert"

// kernelInterface stands where an interface's name would, for what came by the kernel's sockets.
const kernelInterface = "kernel"

// NewStatus turns a snapshot into the document.
func NewStatus(s *Snapshot) *Status {
	counters := s.total()
	status := &Status{
		Gateway: s.Gateway, Version: s.Version, Taken: s.Taken, Ready: s.Ready, Reasons: nonNil(s.Reasons),
		UptimeSeconds: max(s.Taken.Sub(s.Started), 0).Seconds(),
		Ledger:        newLedger(s, &counters), Packets: newPackets(s, &counters),
		Latency: map[string]Latency{}, ClockSteps: s.ClockSteps, Confinement: s.Confinement,
		Interfaces: interfaceStatuses(s.Interfaces), Workers: []WorkerStatus{}, Listeners: []ListenerStatus{},
		Deviations: append([]string{}, s.Deviations...),
		Sinks:      []SinkStatus{}, Rules: []RuleStatus{}, Notifiers: []NotifierStatus{},
	}
	status.Tenants, status.HeavySeries = tenantStatuses(s), heavyStatuses(s.Heavy)
	for i := range s.Workers {
		status.Workers = append(status.Workers, workerStatus(&s.Workers[i]))
	}
	for i, l := range s.Listeners {
		status.Listeners = append(status.Listeners, ListenerStatus{Name: l.Name, Port: l.Port,
			PointsReceived: counters.PointsReceived[i], KernelDrops: l.KernelDrops})
	}
	for _, sink := range s.Sinks {
		status.Sinks = append(status.Sinks, SinkStatus{Name: sink.Name, URL: sink.URL, Up: sink.Up,
			Connections: sink.Connections, Points: sinkPoints(&sink), Spool: spoolStatus(&sink, s.Taken),
			Breaker: sink.Breaker.String(), LastError: sink.LastError,
			Requests:     nonZero(sink.Requests),
			ZeroCopySent: sink.ZeroCopySent, ZeroCopyCopied: sink.ZeroCopyCopied})
	}
	for _, r := range s.Rules {
		status.Rules = append(status.Rules, RuleStatus(r))
	}
	for _, n := range s.Notifiers {
		status.Notifiers = append(status.Notifiers, NotifierStatus{Name: n.Name, Type: n.Type,
			Delivered: n.Delivered, Failed: n.Failed, Queued: n.Queued})
	}
	for stage, h := range s.Stages {
		status.Latency[stage] = newLatency(h)
	}
	if s.AlertLatency != nil {
		status.Latency[alertStage] = newLatency(s.AlertLatency)
	}
	return status
}

// total adds the workers' counters up.
func (s *Snapshot) total() dataplane.Counters {
	var sum dataplane.Counters
	for i := range s.Workers {
		sum.Add(&s.Workers[i].Counters)
	}
	return sum
}

func newLedger(s *Snapshot, c *dataplane.Counters) Ledger {
	spool := s.spools(c.PointsSpooled)
	l := Ledger{
		Received: c.PointsIn() - c.PointsDerived - c.PointsCopied, Derived: c.PointsDerived,
		Copied: c.PointsCopied, Restored: spool.Restored, Written: c.PointsWritten + spool.Replayed,
		Filtered: c.PointsFiltered, SpoolPending: spool.Pending(), InFlight: c.PointsInFlight,
		Rejected: map[string]uint64{}, Dropped: map[string]uint64{},
	}
	for i, n := range c.PointsRejected {
		if n > 0 {
			l.Rejected["decode/"+lineproto.Reason(i).String()] = n
		}
	}
	for i, n := range c.PointsSinkRejected {
		if n += spool.Rejected[i]; n > 0 {
			l.Rejected["sink/"+dataplane.SinkReject(i).String()] = n
		}
	}
	for i, n := range c.PointsDropped {
		if n += spool.Dropped[i]; n > 0 {
			l.Dropped[dataplane.Drop(i).String()] = n
		}
	}
	in := l.Received + l.Derived + l.Copied + l.Restored
	out := l.Written + sum(l.Rejected) + l.Filtered + sum(l.Dropped) + l.SpoolPending + l.InFlight
	l.Residue = int64(in - out)
	return l
}

func sinkPoints(s *Sink) SinkPoints {
	c, spool := s.settled(), s.spoolOf()
	p := SinkPoints{
		Stored: c.Stored, Restored: spool.Restored, Adopted: spool.Adopted, Written: c.Written,
		Moved: c.Moved, SpoolPending: spool.Pending(), InFlight: c.InFlight,
		Rejected: map[string]uint64{}, Dropped: map[string]uint64{},
		Residue: int64(c.Stored - s.Points.Out()),
	}
	for i, n := range c.Rejected {
		if n > 0 {
			p.Rejected[dataplane.SinkReject(i).String()] = n
		}
	}
	for i, n := range c.Dropped {
		if n > 0 {
			p.Dropped[dataplane.Drop(i).String()] = n
		}
	}
	return p
}

func newPackets(s *Snapshot, c *dataplane.Counters) Packets {
	p := Packets{Received: c.FramesReceived, Assembled: c.PacketsAssembled, Decoded: c.FramesDecoded,
		Rejected: map[string]uint64{}, Drops: map[string]uint64{}}
	for i, n := range c.FramesRejected {
		if n > 0 {
			p.Rejected[dataplane.FrameReject(i).String()] = n
		}
	}
	var fromQueues uint64
	for _, in := range s.Interfaces {
		for _, v := range in.Verdicts {
			if v.Name == abi.Redirected.String() {
				p.Redirected += v.Count
			}
		}
		for _, q := range in.Queues {
			fromQueues += q.FramesReceived
			for reason, n := range nonZero(q.Drops) {
				p.Drops[reason] += n
			}
		}
	}
	p.Kernel = c.DatagramsReceived
	for _, l := range s.Listeners {
		p.KernelDrops += l.KernelDrops
	}
	p.ResidueRedirect = int64(p.Redirected - fromQueues - sum(p.Drops))
	p.ResidueDecode = int64(p.Received - p.Decoded - sum(p.Rejected))
	return p
}

func interfaceStatuses(interfaces []Interface) []InterfaceStatus {
	list := []InterfaceStatus{}
	for _, in := range interfaces {
		status := InterfaceStatus{Name: in.Name, Driver: in.Driver, Mode: in.Mode, ZeroCopy: in.ZeroCopy,
			NeedWakeup: in.NeedWakeup, BusyPoll: in.BusyPoll, Fanout: in.Fanout, Adopted: in.Adopted,
			State: in.State, CardTimes: in.CardTimes, Queues: []QueueStatus{}, Verdicts: map[string]uint64{}}
		for _, q := range in.Queues {
			status.Queues = append(status.Queues, QueueStatus{Queue: q.Queue, Socket: q.Socket, CPU: q.CPU,
				Node: q.Node, Worker: q.Worker, HugePages: q.HugePages, Received: q.FramesReceived,
				Drops: nonZero(q.Drops), Statistics: nonZero(q.Raw)})
		}
		for _, v := range in.Verdicts {
			if v.Count > 0 {
				status.Verdicts[v.Name] = v.Count
			}
		}
		list = append(list, status)
	}
	return list
}

func workerStatus(w *Worker) WorkerStatus {
	c := &w.Counters
	return WorkerStatus{Name: w.Name, CPU: w.CPU, Node: w.Node, Transport: w.Transport,
		HeartbeatAge: w.Heartbeat.Seconds(), PacketsReceived: c.FramesReceived, PointsReceived: c.PointsIn(),
		PointsWritten: c.PointsWritten, PointsInFlight: c.PointsInFlight, Batches: c.BatchesSealed,
		Turns: c.Turns, Sleeps: c.Sleeps, Pages: pagesOf(w)}
}

func newLatency(h *hist.Snapshot) Latency {
	l := Latency{Count: h.Count, Mean: h.Mean() / second, P50: float64(h.Quantile(0.50)) / second,
		P99: float64(h.Quantile(0.99)) / second, P999: float64(h.Quantile(0.999)) / second}
	for i := len(h.Counts) - 1; i >= 0; i-- {
		if h.Counts[i] > 0 {
			_, high := hist.Bounds(i)
			l.Max = float64(high-1) / second
			break
		}
	}
	return l
}

func sum(counts map[string]uint64) uint64 {
	var total uint64
	for _, n := range counts {
		total += n
	}
	return total
}

func nonZero(counts map[string]uint64) map[string]uint64 {
	kept := map[string]uint64{}
	for name, n := range counts {
		if n > 0 {
			kept[name] = n
		}
	}
	return kept
}

func nonNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
