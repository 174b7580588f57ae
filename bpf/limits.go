package bpf

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf"
)

// TenantLimit says how many packets a tenant may send. Each interface has buckets of its own.
type TenantLimit struct {
	Tenant uint16
	// PacketsPerSecond bounds the tenant over all CPUs, SourcePacketsPerSecond each of its senders on each
	// CPU, as a card gives one sender's packets to one queue (both optional): 0 is no limit.
	PacketsPerSecond, SourcePacketsPerSecond int
	// Burst is how many packets may come at once, from the tenant and from one sender (optional): 0 is as
	// many as may come in a second.
	Burst int
}

const (
	endpointLimits = 8

	// TenantsMax is for how many tenants the program's tables have room.
	TenantsMax = 256

	// drawMax is how many packets a CPU takes out of a tenant's bucket at once, at most. With 64, CPUs that
	// share a tenant of ten million packets a second meet at its bucket 160000 times a second, each for some
	// 50 ns.
	drawMax = 64
	// drawShare is the part of a bucket, as its inverse, that the credits lying with all CPUs may make up.
	drawShare = 16
)

// entry is the limit as the program takes it, for so many CPUs. What may lie with CPUs, drawn and not used,
// is part of the burst, so that no more than the burst ever comes at once.
func (l *TenantLimit) entry(cpus int) steerTenantLimit {
	var e steerTenantLimit
	if rate := l.PacketsPerSecond; rate > 0 {
		burst := l.burst(rate)
		draw := min(max(burst/(drawShare*cpus), 1), drawMax)
		e.Draw, e.DrawCost = uint32(draw), max(nanoseconds(draw, rate), 1)
		e.Depth = nanoseconds(max(burst-(draw-1)*cpus-draw, 0), rate)
	}
	if rate := l.SourcePacketsPerSecond; rate > 0 {
		e.SourceCost = max(nanoseconds(1, rate), 1) // 0 would be no limit
		e.SourceDepth = nanoseconds(l.burst(rate)-1, rate)
	}
	return e
}

func (l *TenantLimit) burst(rate int) int {
	if l.Burst > 0 {
		return l.Burst
	}
	return rate
}

// nanoseconds is what so many packets take at a rate.
func nanoseconds(packets, perSecond int) uint64 {
	return uint64(packets) * uint64(time.Second) / uint64(perSecond)
}

func (set *tableSet) addLimits(limits []TenantLimit, cpus int) error {
	for i := range limits {
		l := &limits[i]
		switch {
		case l.Tenant >= TenantsMax:
			return fmt.Errorf("limit of tenant %d: there are at most %d tenants", l.Tenant, TenantsMax)
		case l.PacketsPerSecond < 0 || l.SourcePacketsPerSecond < 0 || l.Burst < 0:
			return fmt.Errorf("limit of tenant %d: %+v is negative", l.Tenant, *l)
		}
		if _, taken := set.limits[l.Tenant]; taken {
			return fmt.Errorf("limit of tenant %d is given twice", l.Tenant)
		}
		set.limits[l.Tenant] = l.entry(cpus)
	}
	return nil
}

// limited tells whether any tenant that can send to a listener has limits.
func (set *tableSet) limited(l *Listener) bool {
	if set.limits[0].limits() {
		return true
	}
	for _, t := range l.Tenants {
		if set.limits[t.Tenant].limits() {
			return true
		}
	}
	return false
}

func (e steerTenantLimit) limits() bool { return e.DrawCost != 0 || e.SourceCost != 0 }

// insertLimits writes one generation's limits, with full buckets. Tenants without limits get none, whoever
// had their number two generations ago.
func insertLimits(m *ebpf.Map, set *tableSet) error {
	base := uint32(set.generation&1) * TenantsMax
	for tenant := range uint16(TenantsMax) {
		entry := set.limits[tenant]
		if err := m.Put(base+uint32(tenant), &entry); err != nil {
			return fmt.Errorf("set limit of tenant %d: %w", tenant, err)
		}
	}
	return nil
}

// Limited is how many packets of the first so many tenants were dropped for a limit since the program was
// loaded; the index is the tenant's number.
func (s *Steer) Limited(tenants int) (counts [TenantsMax]uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return counts, fmt.Errorf("read limited packets: %w", os.ErrClosed)
	}
	var perCPU []steerTenantShare
	for tenant := range uint32(min(tenants, TenantsMax)) {
		if err := s.objects.TenantShares.Lookup(tenant, &perCPU); err != nil {
			return counts, fmt.Errorf("read limited packets of tenant %d: %w", tenant, err)
		}
		for i := range perCPU {
			counts[tenant] += perCPU[i].Limited
		}
	}
	return counts, nil
}

// possibleCPUs is over how many CPUs the kernel may spread packets.
func possibleCPUs() (int, error) {
	n, err := ebpf.PossibleCPU()
	if err == nil && n < 1 {
		err = errors.New("there is none")
	}
	if err != nil {
		return 0, fmt.Errorf("count CPUs: %w", err)
	}
	return n, nil
}
