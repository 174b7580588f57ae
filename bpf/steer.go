package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"culvert/bpf/abi"
)

// ProgramName is the steering program's name in the kernel, by which it can be told from other people's.
const ProgramName = "culvert_steer"

// SteerConfig says what is fixed when the steering program is loaded, and what it starts with.
type SteerConfig struct {
	MAC [6]byte // the interface's
	// QueuesMax is how many receive queues the interface can have, not how many it has now.
	QueuesMax int
	// StallAfter is how long a worker may show no life before its packets pass to the kernel (optional): 0 is
	// for ever.
	StallAfter time.Duration
	// PacketMax is how many bytes of a packet, Ethernet header included, a frame of the sockets' memory holds
	// (optional): longer ones pass to the kernel. 0 is no limit.
	PacketMax int
	// Fanout is how many sockets each queue has (optional): 0 is one. Sockets and heartbeats have slots, by
	// Slot. A packet's socket is chosen by its sender and what it sends to.
	Fanout int
	// InTurn chooses the sockets of a queue in turn instead, by packet.
	InTurn bool
	// Pieces takes packets that come in several pieces, as those longer than a page do; PacketMax is then at
	// most abi.PacketMax, and the sockets take packets of several frames. It takes Linux 6.6.
	Pieces bool
	// Joined is for a program that a Joint runs, instead of one that is attached to an interface.
	Joined bool
	// CardTime is the index of an interface whose driver is asked for each packet's time by the card's own
	// clock (optional). The program can then be attached to this interface alone, in native mode, and not be
	// Joined. It takes Linux 6.3, with Pieces a later one.
	CardTime int
}

// FanoutMax is how many sockets a queue can have: more cores than any card's queue feeds.
const FanoutMax = 64

// The bits of the control word, as struct settings in culvert.h has them.
const (
	controlMAC             = 1<<48 - 1
	controlRedirect        = 1 << 48
	controlGenerationShift = 56

	// Word indices of struct settings.
	controlWord    = 0
	stallAfterWord = 1
	packetMaxWord  = 2
	tablesWord     = 3
)

// heartbeatWords is the size of struct heartbeat in words of 8 bytes: one cache line.
const heartbeatWords = 8

// cardTimeProgram is the program that asks the driver for the card's time, in the object.
const cardTimeProgram = "steer_card_time"

// objects are what is loaded: the maps, and one of the two programs.
type objects struct {
	steerMaps
	Program *ebpf.Program `ebpf:"culvert_steer"`
}

func (o *objects) Close() error { return errors.Join(o.Program.Close(), o.steerMaps.Close()) }

// Steer is the steering program and its maps, for one interface. It is not attached to anything. Its methods
// may be called from any goroutine; none is for the hot path.
type Steer struct {
	objects objects

	mu sync.Mutex
	// settings and beats are memory shared with the program; settings is written under mu only.
	settings   *sharedWords
	beats      *sharedWords
	heartbeats []*atomic.Uint64 // by slot
	fanout     int
	tables     *tables // what the program's tables hold
	closed     bool
}

// LoadSteer loads the program with fresh maps: no listeners, no sockets, redirect off. It needs CAP_BPF,
// CAP_NET_ADMIN and CAP_PERFMON (the head of steer.bpf.c says why).
func LoadSteer(cfg SteerConfig) (*Steer, error) {
	if cfg.QueuesMax < 1 {
		return nil, fmt.Errorf("load %s: %d queues, an interface has at least 1", ProgramName, cfg.QueuesMax)
	}
	if cfg.StallAfter < 0 {
		return nil, fmt.Errorf("load %s: stall limit %v is negative", ProgramName, cfg.StallAfter)
	}
	if cfg.PacketMax < 0 {
		return nil, fmt.Errorf("load %s: packet limit %d is negative", ProgramName, cfg.PacketMax)
	}
	if cfg.Fanout < 0 || cfg.Fanout > FanoutMax {
		return nil, fmt.Errorf("load %s: %d sockets on a queue, there can be 1 to %d", ProgramName,
			cfg.Fanout, FanoutMax)
	}
	if cfg.Pieces && (cfg.PacketMax < 1 || cfg.PacketMax > abi.PacketMax) {
		return nil, fmt.Errorf("load %s: packets in pieces of up to %d bytes, there can be 1 to %d",
			ProgramName, cfg.PacketMax, abi.PacketMax)
	}
	if cfg.CardTime > 0 && cfg.Joined {
		return nil, fmt.Errorf("load %s: a joined program cannot ask for the card's time", ProgramName)
	}
	s := &Steer{fanout: max(cfg.Fanout, 1)}
	spec, err := s.specify(&cfg)
	if err != nil {
		return nil, err
	}
	if err := s.load(spec, &cfg); err != nil {
		return nil, err
	}
	return s, nil
}

// load loads what was specified and sets it up. On failure nothing is loaded.
func (s *Steer) load(spec *ebpf.CollectionSpec, cfg *SteerConfig) (err error) {
	if err := spec.LoadAndAssign(&s.objects, nil); err != nil {
		return fmt.Errorf("load %s: %w", ProgramName, err)
	}
	defer func() {
		if err != nil {
			s.objects.Close()
		}
	}()
	if s.settings, err = mapWords(s.objects.Settings); err != nil {
		return fmt.Errorf("map %s's settings: %w", ProgramName, err)
	}
	defer func() {
		if err != nil {
			s.settings.unmap()
		}
	}()
	if s.beats, err = mapWords(s.objects.Heartbeats); err != nil {
		return fmt.Errorf("map %s's heartbeats: %w", ProgramName, err)
	}
	s.heartbeats = make([]*atomic.Uint64, cfg.QueuesMax*s.fanout)
	for slot := range s.heartbeats {
		s.heartbeats[slot] = &s.beats.words[slot*heartbeatWords]
	}
	s.tables = &tables{objects: &s.objects}
	s.settings.words[controlWord].Store(macWord(cfg.MAC))
	s.settings.words[stallAfterWord].Store(uint64(cfg.StallAfter))
	s.settings.words[packetMaxWord].Store(uint64(cfg.PacketMax))
	return nil
}

// specify is the program with what is fixed when it is loaded.
func (s *Steer) specify(cfg *SteerConfig) (*ebpf.CollectionSpec, error) {
	spec, err := loadSteer()
	if err != nil {
		return nil, fmt.Errorf("read %s's object: %w", ProgramName, err)
	}
	slots := uint32(cfg.QueuesMax) * uint32(s.fanout)
	spec.Maps["xsks"].MaxEntries = slots
	spec.Maps["heartbeats"].MaxEntries = slots
	constants := map[string]uint32{"fanout": uint32(s.fanout)}
	if cfg.CardTime > 0 {
		// Under the one name by which our program is known.
		program := spec.Programs[cardTimeProgram]
		program.Name, program.Ifindex = ProgramName, uint32(cfg.CardTime)
		program.Flags |= unix.BPF_F_XDP_DEV_BOUND_ONLY
		spec.Programs[ProgramName] = program
	}
	if cfg.InTurn {
		constants["fanout_in_turn"] = 1
	}
	if cfg.Pieces {
		constants["pieces"] = 1
		spec.Programs[ProgramName].Flags |= unix.BPF_F_XDP_HAS_FRAGS
	}
	if cfg.Joined {
		// Programs that hand packets to each other have to be of one kind, and a joint has no attach type.
		spec.Programs[ProgramName].AttachType = ebpf.AttachNone
	}
	for name, value := range constants {
		if err := spec.Variables[name].Set(value); err != nil {
			return nil, fmt.Errorf("set %s of %s: %w", name, ProgramName, err)
		}
	}
	return spec, nil
}

// macWord is a MAC as the program compares it: its bytes as they lie in memory, read as a little-endian word.
func macWord(mac [6]byte) uint64 {
	var word [8]byte
	copy(word[:], mac[:])
	return binary.LittleEndian.Uint64(word[:])
}

// Program is the steering program, for attaching. It is valid until Close.
func (s *Steer) Program() *ebpf.Program { return s.objects.Program }

// QueuesMax is for how many queues the maps have room.
func (s *Steer) QueuesMax() int { return len(s.heartbeats) / s.fanout }

// Fanout is how many sockets a queue has.
func (s *Steer) Fanout() int { return s.fanout }

// Slot is the place of a queue's socket, counted from 0, in the maps. The worker of the first one gives the
// kernel frames for all of them: while that one shows no life, all of the queue's packets pass to the kernel.
func (s *Steer) Slot(queue, member int) int { return queue*s.fanout + member }

// SetXSK gives a slot's packets to an AF_XDP socket. The socket must be bound: packets redirected to an
// unbound one are lost. Packets flow only once the slot's heartbeat has been written, too.
func (s *Steer) SetXSK(slot, fd int) error {
	if err := s.checkSlot(slot); err != nil {
		return fmt.Errorf("set socket of slot %d: %w", slot, err)
	}
	if err := s.objects.Xsks.Put(uint32(slot), uint32(fd)); err != nil {
		return fmt.Errorf("set socket of slot %d: %w", slot, err)
	}
	return nil
}

// ClearXSK takes a slot's socket away, so that its packets pass to the kernel. A slot without a socket is
// fine.
func (s *Steer) ClearXSK(slot int) error {
	if err := s.checkSlot(slot); err != nil {
		return fmt.Errorf("clear socket of slot %d: %w", slot, err)
	}
	err := s.objects.Xsks.Delete(uint32(slot))
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return fmt.Errorf("clear socket of slot %d: %w", slot, err)
	}
	return nil
}

func (s *Steer) checkSlot(slot int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return os.ErrClosed
	}
	if slot < 0 || slot >= len(s.heartbeats) {
		return fmt.Errorf("the maps were made for %d", len(s.heartbeats))
	}
	return nil
}

// SetRedirect switches steering on or off; off, everything passes to the kernel. Packets already in the
// program are not waited for.
func (s *Steer) SetRedirect(on bool) error {
	return s.changeControl("switch steering", func(word uint64) uint64 {
		if on {
			return word | controlRedirect
		}
		return word &^ controlRedirect
	})
}

// SetMAC tells the program the interface's new MAC.
func (s *Steer) SetMAC(mac [6]byte) error {
	return s.changeControl("set MAC", func(word uint64) uint64 { return word&^controlMAC | macWord(mac) })
}

func (s *Steer) changeControl(what string, change func(uint64) uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("%s: %w", what, os.ErrClosed)
	}
	control := &s.settings.words[controlWord]
	control.Store(change(control.Load()))
	return nil
}

// SetListeners replaces the listeners and the tenants' limits. The new ones take effect for all packets at
// one instant, with full buckets; until then, and if an error is returned, the old ones stay as they are. So
// no packet of an unchanged listener is lost, and none meets a mixture of old and new rules.
func (s *Steer) SetListeners(listeners []Listener, limits ...TenantLimit) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return fmt.Errorf("set listeners: %w", os.ErrClosed)
	}
	control := &s.settings.words[controlWord]
	publish := func(generation uint8) {
		s.settings.words[tablesWord].Add(1)
		word := control.Load() &^ (0xff << controlGenerationShift)
		control.Store(word | uint64(generation)<<controlGenerationShift)
	}
	if err := s.tables.replace(listeners, limits, publish); err != nil {
		return fmt.Errorf("set listeners: %w", err)
	}
	return nil
}

// Heartbeats are the cells in which each socket's worker writes CLOCK_MONOTONIC in ns, once a turn, and 0
// when it leaves the queue; the index is the slot. While a cell is 0, or older than StallAfter, the socket's
// packets pass to the kernel. The cells are memory shared with the program, one cache line each. They are
// gone after Close: the caller stops its workers first.
func (s *Steer) Heartbeats() []*atomic.Uint64 { return s.heartbeats }

// Verdicts is how many packets got each verdict since the program was loaded.
func (s *Steer) Verdicts() (counts [abi.Verdicts]uint64, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return counts, fmt.Errorf("read verdicts: %w", os.ErrClosed)
	}
	var perCPU []steerVerdictCounts
	if err := s.objects.Verdicts.Lookup(uint32(0), &perCPU); err != nil {
		return counts, fmt.Errorf("read verdicts: %w", err)
	}
	for i := range perCPU {
		for v, n := range perCPU[i].Count {
			counts[v] += n
		}
	}
	return counts, nil
}

// Close lets go of the program and its maps. An attached program lives on in the kernel, with its maps, as
// long as its link does. Close may be called twice.
func (s *Steer) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	s.heartbeats = nil
	err := errors.Join(s.settings.unmap(), s.beats.unmap(), s.objects.Close())
	if err != nil {
		return fmt.Errorf("close %s: %w", ProgramName, err)
	}
	return nil
}
