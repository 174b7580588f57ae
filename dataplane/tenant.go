package dataplane

import (
	"sync/atomic"

	"culvert/dataplane/lineproto"
)

// TenantCounters is what one worker counted of one tenant since it started, up to where its points go to its
// sink: from there on its lanes count. Derived points, which are made of all tenants' points, are tenant 0's.
// All are totals and only grow.
type TenantCounters struct {
	Packets        uint64 // decoded
	PacketsLimited uint64 // at the kernel's sockets; those in the XDP program are counted there
	Received       [ListenersMax]uint64
	Derived        uint64
	Copied         uint64                    // for the second and further servers of `replicate`
	Rejected       [lineproto.Reasons]uint64 // by the decoder
	Filtered       uint64
	PointsLimited  uint64
	SeriesLimited  uint64
}

// TenantLedger is where one tenant's points are, in one worker or in all.
type TenantLedger struct {
	TenantCounters
	Lanes LaneCounters // of all URLs of its sink together
}

// Residue is what came in less what is accounted for: 0 at every turn's end, or there is a bug.
func (l *TenantLedger) Residue() int64 {
	in := total(l.Received[:]) + l.Derived + l.Copied
	out := total(l.Rejected[:]) + l.Filtered + l.PointsLimited + l.SeriesLimited + l.Lanes.Out() -
		l.Lanes.Moved
	return int64(in - out)
}

// Add adds another worker's ledger of the same tenant to this.
func (l *TenantLedger) Add(other *TenantLedger) {
	into, from := l.words(), other.words()
	for i := range into {
		into[i] += from[i]
	}
	l.Lanes.Add(&other.Lanes)
}

// tenantLedger is a tenant's counters and what others see of them.
type tenantLedger struct {
	counters TenantCounters
	touched  bool
	block    tenantBlock
}

// tenantBlock is a Block for the counters of one tenant.
type tenantBlock struct {
	_         [128]byte
	published TenantCounters
	sequence  atomic.Uint64
	words     [tenantWords]atomic.Uint64
	_         [128]byte
}

func (b *tenantBlock) publish(c *TenantCounters) {
	publishWords(&b.sequence, b.words[:], c.words()[:], b.published.words()[:])
}

// Read is as Block's.
func (b *tenantBlock) Read() TenantCounters {
	var c TenantCounters
	readWords(&b.sequence, b.words[:], c.words()[:])
	return c
}

// openTenants gives each tenant a lane to every URL of its sink: the first of a sink those that stand for the
// URLs, the further ones lanes of their own before the same writers.
func (w *Worker) openTenants() {
	tenants := max(len(w.config.TenantSinks), 1)
	firsts, sharing := make([]int, len(w.config.Sinks)), make([]int, len(w.config.Sinks))
	for i := 1; i < len(firsts); i++ {
		firsts[i] = firsts[i-1] + len(w.config.Sinks[i-1].Writers)
	}
	w.routes = make([]route, tenants)
	for tenant := range tenants {
		sink := w.sinkOf(tenant)
		c, first := &w.config.Sinks[sink], firsts[sink]
		lanes := make([]*lane, len(c.Writers))
		for j := range lanes {
			o := w.urls[first+j]
			if sharing[sink] > 0 {
				o = o.beside()
				w.lanes = append(w.lanes, o)
			}
			lanes[j] = o
		}
		sharing[sink]++
		w.routes[tenant] = newRoute(c, lanes)
	}
	for tenant := range w.routes {
		r := &w.routes[tenant]
		for _, o := range r.lanes {
			o.tenant = tenant
			o.sharing = sharing[w.sinkOf(tenant)]
		}
		r.join()
	}
	for i, o := range w.lanes {
		o.place = i
	}
	if tenants > 1 {
		w.tenants = make([]tenantLedger, tenants)
	}
}

// beside is a lane for another tenant before the same writer.
func (o *lane) beside() *lane {
	return &lane{
		index: o.index, pool: o.pool, writer: o.writer, encoder: o.encoder, points: o.points,
		linger: o.linger, age: o.age, spool: o.spool, always: o.always,
	}
}

// sinkOf is a tenant's place among the sinks.
func (w *Worker) sinkOf(tenant int) int {
	if tenant < len(w.config.TenantSinks) {
		return int(w.config.TenantSinks[tenant])
	}
	return 0
}

// payloadMarks are the worker's counters before a payload: what they grew by is its tenant's.
type payloadMarks struct{ copied, filtered, points, series uint64 }

func (w *Worker) markPayload() payloadMarks {
	c := &w.counters
	return payloadMarks{copied: c.PointsCopied, filtered: c.PointsFiltered,
		points: c.PointsDropped[DropPointsLimit], series: c.PointsDropped[DropSeriesLimit]}
}

// enterTenant enters a payload into its tenant's ledger.
func (w *Worker) enterTenant(payload *Payload, received uint64) {
	now, before := w.markPayload(), &w.marks
	t := w.tenant(payload.Tenant)
	c := &t.counters
	t.touched = true
	c.Packets++
	c.Received[payload.Listener] += received
	c.Copied += now.copied - before.copied
	c.Filtered += now.filtered - before.filtered
	c.PointsLimited += now.points - before.points
	c.SeriesLimited += now.series - before.series
}

// enterDerived enters a point that a record made.
func (w *Worker) enterDerived(copied uint64) {
	if w.tenants == nil {
		return
	}
	t := w.tenant(0)
	t.touched = true
	t.counters.Derived++
	t.counters.Copied += copied
}

// enterLimited enters a datagram that its tenant, or its sender, sent too much.
func (w *Worker) enterLimited(tenant uint16) {
	if w.tenants == nil {
		return
	}
	t := w.tenant(tenant)
	t.touched = true
	t.counters.PacketsLimited++
}

// tenant is the ledger of a tenant; what nobody has, tenant 0 has, as with routes.
func (w *Worker) tenant(tenant uint16) *tenantLedger {
	if int(tenant) >= len(w.tenants) {
		tenant = 0
	}
	return &w.tenants[tenant]
}

// TenantLedgers are the ledgers of all tenants, each as of one turn's end; nil where there is only one, whose
// ledger is the worker's. While the worker works their parts may be of two turns.
func (w *Worker) TenantLedgers() []TenantLedger {
	if w.tenants == nil {
		return nil
	}
	ledgers := make([]TenantLedger, len(w.tenants))
	for i := range ledgers {
		ledgers[i].TenantCounters = w.tenants[i].block.Read()
	}
	for _, o := range w.shown.Load().lanes {
		one := o.block.Read()
		ledgers[o.tenant].Lanes.Add(&one)
	}
	return ledgers
}
