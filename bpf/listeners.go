package bpf

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// Listener is what the program needs to know of one UDP listener.
type Listener struct {
	ID        uint16 // comes back in the metadata
	Port      uint16
	Addresses []netip.Addr // exact destination addresses: the interface's own ones and multicast groups
	// Sources are the senders allowed (optional): none listed means all.
	Sources []netip.Prefix
	// Tenants name senders (optional): the longest prefix wins, and who matches none is tenant 0.
	Tenants []TenantPrefix
}

// TenantPrefix says to which tenant a sender belongs.
type TenantPrefix struct {
	Prefix netip.Prefix
	Tenant uint16
}

// Flags of struct endpoint and the fixed part of the prefix keys, as in culvert.h.
const (
	endpointAddress = 1
	endpointSources = 2
	endpointTenants = 4

	prefixBitsFixed = 32
)

// tables are the program's lookup tables. Each key carries a generation, so that two sets of listeners can
// lie side by side; the control word says which one counts.
type tables struct {
	objects *objects
	// live and spare are the two sets' contents: what counts, and what a failed or interrupted change left
	// over.
	live, spare tableSet
}

// tableSet is one generation's entries, in the form in which the maps take them.
type tableSet struct {
	generation uint8
	endpoints  map[steerEndpointKey]steerEndpoint
	sources    prefixSet
	tenants    prefixSet
	limits     map[uint16]steerTenantLimit
}

type prefixSet struct {
	v4 map[steerPrefixV4]uint32
	v6 map[steerPrefixV6]uint32
}

// replace writes the listeners as the next generation, publishes it, and clears the old one away once no
// packet can be using it.
func (t *tables) replace(listeners []Listener, limits []TenantLimit, publish func(generation uint8)) error {
	cpus, err := possibleCPUs()
	if err != nil {
		return err
	}
	next, err := buildSet(listeners, limits, cpus, t.live.generation+1)
	if err != nil {
		return err
	}
	// A change that failed half way may have left entries of its own.
	if err := t.remove(&t.spare); err != nil {
		return fmt.Errorf("clear the failed change before: %w", err)
	}
	t.spare = next
	if err := t.insert(&next); err != nil {
		return errors.Join(err, t.remove(&t.spare))
	}
	publish(next.generation)
	t.live, t.spare = next, t.live
	waitForReaders()
	// What cannot be deleted now is dead weight, not a failed change: the next change tries again, and says
	// so.
	_ = t.remove(&t.spare)
	return nil
}

// waitForReaders returns when every packet that was in the program before has left it: a packet reads the
// generation once and must find that generation's entries to the end. MEMBARRIER_CMD_GLOBAL waits for an RCU
// grace period (kernel/sched/membarrier.c), and programs run under RCU. The kernel refuses it on CPUs with
// nohz_full; there, a tenth of a second stands for it, thousands of times what a packet takes.
func waitForReaders() {
	const cmdGlobal = 1
	if _, _, errno := unix.Syscall(unix.SYS_MEMBARRIER, cmdGlobal, 0, 0); errno != 0 {
		time.Sleep(100 * time.Millisecond)
	}
}

func buildSet(listeners []Listener, limits []TenantLimit, cpus int, generation uint8) (tableSet, error) {
	set := tableSet{
		generation: generation,
		endpoints:  map[steerEndpointKey]steerEndpoint{},
		sources:    prefixSet{map[steerPrefixV4]uint32{}, map[steerPrefixV6]uint32{}},
		tenants:    prefixSet{map[steerPrefixV4]uint32{}, map[steerPrefixV6]uint32{}},
		limits:     map[uint16]steerTenantLimit{},
	}
	if err := set.addLimits(limits, cpus); err != nil {
		return set, err
	}
	seen := map[uint16]bool{}
	for i := range listeners {
		l := &listeners[i]
		if seen[l.ID] {
			return set, fmt.Errorf("listener %d is given twice", l.ID)
		}
		seen[l.ID] = true
		if err := set.add(l); err != nil {
			return set, fmt.Errorf("listener %d: %w", l.ID, err)
		}
	}
	return set, nil
}

func (set *tableSet) add(l *Listener) error {
	if l.Port == 0 {
		return errors.New("port 0 receives nothing")
	}
	value := steerEndpoint{Listener: l.ID}
	if len(l.Sources) > 0 {
		value.Flags |= endpointSources
	}
	if len(l.Tenants) > 0 {
		value.Flags |= endpointTenants
	}
	if set.limited(l) {
		value.Flags |= endpointLimits
	}
	for _, address := range l.Addresses {
		if !address.IsValid() {
			return errors.New("an address is empty")
		}
		key := steerEndpointKey{
			Address: address.As16(), Port: swap16(l.Port),
			Generation: set.generation, Family: family(address),
		}
		if other, taken := set.endpoints[key]; taken && other.Listener != l.ID {
			return fmt.Errorf("%s port %d belongs to listener %d already", address, l.Port, other.Listener)
		}
		set.endpoints[key] = value
		key.Port = 0
		set.endpoints[key] = steerEndpoint{Flags: endpointAddress}
	}
	for _, prefix := range l.Sources {
		if err := set.sources.add(set.generation, l.ID, prefix, 1); err != nil {
			return fmt.Errorf("source %s: %w", prefix, err)
		}
	}
	for _, tenant := range l.Tenants {
		if err := set.tenants.add(set.generation, l.ID, tenant.Prefix, uint32(tenant.Tenant)); err != nil {
			return fmt.Errorf("tenant %d's source %s: %w", tenant.Tenant, tenant.Prefix, err)
		}
	}
	return nil
}

// family is the IP version of packets to an address; a mapped one is another way to write an IPv4 one.
func family(address netip.Addr) uint8 {
	if address.Unmap().Is4() {
		return 4
	}
	return 6
}

// swap16 turns a port into network order. The object is built for little-endian machines only.
func swap16(v uint16) uint16 { return v<<8 | v>>8 }

func (p *prefixSet) add(generation uint8, listener uint16, prefix netip.Prefix, value uint32) error {
	if !prefix.IsValid() {
		return errors.New("the prefix is empty")
	}
	prefix = prefix.Masked()
	address, bits := prefix.Addr(), prefix.Bits()
	if address.Is4In6() && bits >= 96 {
		// The program sees such senders as IPv4.
		address, bits = address.Unmap(), bits-96
	}
	if address.Is4() {
		key := steerPrefixV4{
			Bits: prefixBitsFixed + uint32(bits), Generation: uint16(generation), Listener: listener,
			Address: address.As4(),
		}
		if other, taken := p.v4[key]; taken && other != value {
			return fmt.Errorf("belongs to %d already", other)
		}
		p.v4[key] = value
		return nil
	}
	key := steerPrefixV6{
		Bits: prefixBitsFixed + uint32(bits), Generation: uint16(generation), Listener: listener,
		Address: address.As16(),
	}
	if other, taken := p.v6[key]; taken && other != value {
		return fmt.Errorf("belongs to %d already", other)
	}
	p.v6[key] = value
	return nil
}

// insert writes a set's entries. Nothing finds them before their generation is published.
func (t *tables) insert(set *tableSet) error {
	return errors.Join(
		insertAll(t.objects.Endpoints, "endpoints", set.endpoints),
		insertAll(t.objects.SourcesV4, "IPv4 sources", set.sources.v4),
		insertAll(t.objects.SourcesV6, "IPv6 sources", set.sources.v6),
		insertAll(t.objects.TenantsV4, "IPv4 tenants", set.tenants.v4),
		insertAll(t.objects.TenantsV6, "IPv6 tenants", set.tenants.v6),
		insertLimits(t.objects.TenantLimits, set),
	)
}

// remove deletes a set's entries and forgets them. It leaves out what is not there.
func (t *tables) remove(set *tableSet) error {
	err := errors.Join(
		removeAll(t.objects.Endpoints, "endpoints", set.endpoints),
		removeAll(t.objects.SourcesV4, "IPv4 sources", set.sources.v4),
		removeAll(t.objects.SourcesV6, "IPv6 sources", set.sources.v6),
		removeAll(t.objects.TenantsV4, "IPv4 tenants", set.tenants.v4),
		removeAll(t.objects.TenantsV6, "IPv6 tenants", set.tenants.v6),
	)
	if err == nil {
		*set = tableSet{}
	}
	return err
}

func insertAll[K comparable, V any](m *ebpf.Map, what string, entries map[K]V) error {
	for key, value := range entries {
		if err := m.Update(&key, &value, ebpf.UpdateNoExist); err != nil {
			if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.E2BIG) {
				// Half, because old and new entries lie side by side for a moment.
				return fmt.Errorf("%d %s, the table takes %d: %w", len(entries), what, m.MaxEntries()/2, err)
			}
			return fmt.Errorf("insert %s: %w", what, err)
		}
	}
	return nil
}

func removeAll[K comparable, V any](m *ebpf.Map, what string, entries map[K]V) error {
	for key := range entries {
		if err := m.Delete(&key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("remove %s: %w", what, err)
		}
	}
	return nil
}
