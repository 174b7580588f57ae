package telemetry

import "github.com/prometheus/client_golang/prometheus"

// families are the metrics' names, labels and help. The help says what a number means and what to do about
// it.
type families struct {
	all      []*prometheus.Desc
	byTenant bool // the ledger's points have a label tenant

	version, ready, clockSteps                                    *prometheus.Desc
	framesReceived, framesRejected, framesAssembled, checksums    *prometheus.Desc
	pointsReceived, pointsDerived, pointsRejected, pointsFiltered *prometheus.Desc
	pointsDropped, pointsWritten, pointsInFlight, pointsFuture    *prometheus.Desc
	fieldsDropped, residue, pointsCopied                          *prometheus.Desc
	tenantLimited, tenantSeries                                   *prometheus.Desc
	verdicts, xskStatistics, xskDrops, kernelDrops, received      *prometheus.Desc
	cardClock                                                     *prometheus.Desc
	evicted, handoverRetries, alertsHeld, firing, alerts          *prometheus.Desc
	inside                                                        ruleFamilies
	notifyQueued, notifyKeys, notifyRetries, notifyDropped, notifySkipped,
	notifyLimited, notifyOverflowed, notifyRefreshed *prometheus.Desc
	stages, alertLatency                                             *prometheus.Desc
	sinkUp, sinkRequests, sinkZeroCopy, sinkConnections, sinkBreaker *prometheus.Desc
	pointsSpooled, pointsReplayed, pointsRestored, spoolPending      *prometheus.Desc
	spoolFailures, spoolBytes, spoolOldest                           *prometheus.Desc
	workerHeartbeat, workerBatches, workerTurns, workerSleeps, place *prometheus.Desc
	traceSpans                                                       *prometheus.Desc
}

func (f *families) add(name, help string, labels ...string) *prometheus.Desc {
	desc := prometheus.NewDesc("culvert_"+name, help, labels, nil)
	f.all = append(f.all, desc)
	return desc
}

// addPoints adds a family of the ledger's points.
func (f *families) addPoints(name, help string, labels ...string) *prometheus.Desc {
	if f.byTenant {
		labels = append(labels, "tenant")
	}
	return f.add(name, help, labels...)
}

func newFamilies(byTenant bool) *families {
	f := &families{byTenant: byTenant}
	f.ledger()
	f.kernel()
	f.rules()
	f.rulesInside()
	f.delivery()
	f.spool()
	f.version = f.add("build_info", "Always 1; the label is the running version.", "version")
	f.ready = f.add("ready", "1 when points can come in and go out, else 0: GET /health/ready says why not.")
	f.clockSteps = f.add("clock_steps_total",
		"Times wall time moved against the monotonic clock by more than 1 ms: mend the host's time "+
			"service.")
	f.traceSpans = f.add("trace_spans_total",
		"Spans of traced batches, by what became of them. failed: the collector refused them or did not "+
			"answer, the log says why. dropped: 2048 waited for it already; it is too slow, or raise "+
			"traces.one_in. left_out: more traces of a worker or a spool ended at once than there is room "+
			"for; raise traces.one_in.", "result")
	f.stages = f.add("stage_seconds",
		"Time that packets (nic_to_steer, steer_to_worker, decode, rules) and points (batch_wait, write) "+
			"spent in a stage; end_to_end is from the XDP program's stamp to the database's answer. What a "+
			"packet waited in the card before that is nic_to_steer, where the card tells. The means of "+
			"steer_to_worker, batch_wait, which has decode and rules in it, and write add up to its mean. "+
			"The stage that grows is the one to look at.", "stage")
	f.alertLatency = f.add("alert_latency_seconds",
		"Time from the XDP program's stamp of a packet to the alert's handing to the wire.")
	f.workerHeartbeat = f.add("worker_heartbeat_age_seconds",
		"Time since a worker's last sign of life. More than a second: it is stuck, or something else "+
			"has its CPU.", "worker")
	f.workerBatches = f.add("worker_batches_total", "Batches that a worker sealed.", "worker")
	f.workerTurns = f.add("worker_turns_total", "Turns of a worker's loop that found work.", "worker")
	f.workerSleeps = f.add("worker_sleeps_total",
		"Times a worker waited in the kernel for work. None at full load: the CPU is the bound.", "worker")
	f.place = f.add("worker_info",
		"Always 1; the labels say where a worker runs, -1 where it is not pinned.",
		"worker", "cpu", "node", "transport")
	return f
}

func (f *families) ledger() {
	f.framesReceived = f.add("frames_received_total",
		"Packets that workers took from AF_XDP sockets and, as interface \"kernel\", from the "+
			"kernel's sockets.", "interface", "queue")
	f.framesRejected = f.add("frames_rejected_total",
		"Packets that gave no payload, by reason. Look at the sender and at the log's samples.", "reason")
	f.framesAssembled = f.add("frames_assembled_total",
		"Packets longer than a frame of an AF_XDP socket, which were copied together from several.")
	f.checksums = f.add("frames_unverified_total",
		"Packets taken without a checked UDP checksum: partial is a local sender's not yet final sum, "+
			"absent is none over IPv4.", "kind")
	f.pointsReceived = f.addPoints("points_received_total",
		"Lines whose end was found, valid or not.", "listener")
	f.pointsDerived = f.addPoints("points_derived_total", "Points made by the gateway itself.")
	f.pointsCopied = f.addPoints("points_copied_total",
		"Points once more for each further server of a sink with routing replicate.")
	f.pointsRejected = f.addPoints("points_rejected_total",
		"Points refused by the decoder (stage decode) or on the sink's behalf (stage sink). The "+
			"sender has to change what it sends; the log has samples.", "stage", "reason")
	f.pointsFiltered = f.addPoints("points_filtered_total", "Points left out because a rule says so.")
	f.pointsDropped = f.addPoints("points_dropped_total",
		"Good points that are not in the database. undelivered: the sink was away too long. overload: "+
			"it is too slow. oversize: a line exceeds batch.bytes. points_limit, series_limit: more than "+
			"the tenant may send. "+
			"spool_full: no room in spool.max, or none in memory while the disk fails. corrupt: the disk "+
			"lost it. ttl: too old.", "sink", "reason")
	f.pointsWritten = f.addPoints("points_written_total", "Points that the database acknowledged.", "sink")
	f.pointsInFlight = f.addPoints("points_in_flight",
		"Points in open, waiting or sent batches. One that only grows: the sink does not keep up.", "sink")
	f.pointsFuture = f.add("points_future_total",
		"Points further ahead of the clock than the listener's max_ahead: mend the sender's clock or "+
			"the listener's precision.")
	f.fieldsDropped = f.add("fields_dropped_total",
		"Fields left out of points: NaN, infinite, or given twice.")
	f.tenantLimited = f.add("tenant_packets_limited_total",
		"Packets dropped because their tenant, or their sender, sends more than tenants[].limits allow.",
		"tenant")
	f.tenantSeries = f.add("tenant_series",
		"Distinct series of a tenant that has limits.series. At the limit: points of further series are "+
			"dropped.", "tenant")
	f.residue = f.add("ledger_residue_points",
		"Points that came in less points that are accounted for. Other than 0 is a bug: report it "+
			"with GET /api/v1/status.")
}

func (f *families) kernel() {
	f.verdicts = f.add("xdp_verdicts_total",
		"Packets by what the XDP program did with them. unserved and stalled went to the kernel "+
			"although meant for us: see the queues and workers. tenant_limit and source_limit are more "+
			"than tenants[].limits allow.", "interface", "verdict")
	f.xskStatistics = f.add("xsk_statistics_total",
		"The kernel's own counters of an AF_XDP socket. They overlap: never add them up, use "+
			"culvert_xsk_drops_total.", "interface", "queue", "counter")
	f.xskDrops = f.add("xsk_drops_total",
		"Packets lost between the XDP program and the worker. fill_ring_empty, ring_full: it does not keep "+
			"up: give the queue more frames, or the worker a CPU of its own. no_room: longer than a frame, "+
			"or than the frames that were left: the same, or a smaller MTU.", "interface", "queue", "reason")
	f.kernelDrops = f.add("listener_kernel_drops_total",
		"Datagrams that the kernel dropped because a listener's own socket was full. Many: packets "+
			"take the slow path, see culvert_xdp_verdicts_total.", "listener")
	f.received = f.add("interface_info",
		"Always 1; the labels say how an interface is received.",
		"interface", "driver", "mode", "zerocopy", "need_wakeup", "busy_poll")
	f.cardClock = f.add("nic_clock_doubt_seconds",
		"How exactly the card's own clock could be read lately, where the card tells when it got each "+
			"packet: the stage nic_to_steer is exact to some of these. Absent: it does not tell, or the "+
			"clock cannot be read; status says why.", "interface")
}

func (f *families) rules() {
	f.evicted = f.add("rule_evicted_total",
		"Keys whose state was given up for room: raise rules.max_keys, or use fewer tags in by.", "rule")
	f.handoverRetries = f.add("rule_handover_retries_total",
		"Hand-overs of rule state that found a ring full and were kept for the next turn. Many: a "+
			"worker does not keep up.")
	f.alertsHeld = f.add("alerts_held_total",
		"State changes that found the way to the notifiers full and were offered again.")
	f.firing = f.add("alerts_firing", "Keys of a rule that are firing now.", "rule")
	f.alerts = f.add("alerts_total",
		"Alerts delivered, by rule and by the notifier that its actions name.", "rule", "action")
	f.notifyQueued = f.add("notify_queued",
		"Changes of alerts that wait in a notifier. One that only grows: its receiver does not answer.",
		"notifier")
	f.notifyKeys = f.add("notify_keys",
		"Alerts that a notifier keeps track of: those its receiver knows as firing, and those that wait.",
		"notifier")
	f.notifyRetries = f.add("notify_retries_total",
		"Messages of a notifier that failed and were sent again. The log says why.", "notifier")
	f.notifyDropped = f.add("notify_dropped_total",
		"Changes of alerts that a notifier gave up: refused by the receiver, no_room to keep track of more "+
			"alerts, stopped before they could leave.", "notifier", "reason")
	f.notifySkipped = f.add("notify_skipped_total",
		"Changes of alerts that a notifier did not need to send: known to the receiver already, or a newer "+
			"state of the same alert came before they could leave.", "notifier", "reason")
	f.notifyLimited = f.add("notify_limited_total",
		"Changes of alerts that had to wait for their rule's limit. Many: the rule flaps, or raise limit.",
		"notifier")
	f.notifyOverflowed = f.add("notify_overflow_total",
		"Changes of alerts that found a notifier's queue full: only each alert's newest state is kept then.",
		"notifier")
	f.notifyRefreshed = f.add("notify_refreshed_total",
		"Firing alerts that a notifier told again, so that Alertmanager does not take them for resolved.",
		"notifier")
}

func (f *families) delivery() {
	f.sinkUp = f.add("sink_up",
		"1 while the sink takes points, else 0: GET /api/v1/status has the last error.", "sink", "url")
	f.sinkBreaker = f.add("sink_breaker_state",
		"Keeps requests from being made in vain: 0 closed, 1 half-open (one batch tries), 2 open, since "+
			"requests failed in a row or the server says that the target is wrong.", "sink", "url")
	f.sinkConnections = f.add("sink_connections",
		"Connections to the sink that are established.", "sink", "url")
	f.sinkRequests = f.add("sink_requests_total",
		"Write requests by the answer's status code, or error where there was none.", "sink", "url", "code")
	f.sinkZeroCopy = f.add("sink_zerocopy_total",
		"Zero-copy sends by what the kernel did: sent from our memory, or copied after all (as on "+
			"loopback).", "sink", "result")
}
