package bpf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// The names in the kernel by which dispatchers and our program in one are known.
const (
	DispatcherName = "xdp_dispatcher"
	JointName      = "culvert_joint"
	joinedName     = "culvert_joined"
)

// DispatcherSlots is how many programs a dispatcher runs at most.
const DispatcherSlots = 10

// XDP_DISPATCHER_MAGIC and the versions of the protocol that are known here. A dispatcher is only ever
// replaced by one of its own version: libxdp refuses to work on one that is newer or older than itself.
const (
	dispatcherMagic    = 236
	dispatcherOldest   = 2 // libxdp 1.3: packets in several pieces
	dispatcherNewest   = 3 // libxdp 1.6: bound to a device
	dispatcherSizeOld  = 4 + 3*4*DispatcherSlots
	dispatcherSizeNew  = dispatcherSizeOld + 4
	goOnAfterNoProgram = 1 << 31 // what an empty stub returns goes on everywhere
)

// goOnAfterPass is the bit of XDP_PASS.
const goOnAfterPass = 1 << 2

// ErrDispatcher is a dispatcher that is not understood, or must be left alone; errors that wrap it say why.
var ErrDispatcher = errors.New("this dispatcher is not one that culvert can join")

// DispatcherSlot is how a dispatcher treats one of its programs.
type DispatcherSlot struct {
	GoOnAfter uint32 // a bit for each verdict of XDP after which the next program runs
	Priority  uint32 // lower ones run first
	Flags     uint32 // BPF_F_XDP_HAS_FRAGS, or 0
}

// JointSlot is what we ask for: the priority that libxdp gives programs which do not say any, and the
// programs behind ours get what ours passes.
func JointSlot() DispatcherSlot { return DispatcherSlot{GoOnAfter: goOnAfterPass, Priority: 50} }

// Dispatcher is the configuration of a dispatcher by libxdp's protocol.
type Dispatcher struct {
	Version uint8
	Slots   []DispatcherSlot // in the order in which they run
}

// ParseDispatcher reads the value of a dispatcher's map.
func ParseDispatcher(value []byte) (Dispatcher, error) {
	if len(value) < 2 || value[0] != dispatcherMagic {
		return Dispatcher{}, fmt.Errorf("%w: it is of a libxdp before 1.3", ErrDispatcher)
	}
	version := value[1]
	if version < dispatcherOldest || version > dispatcherNewest || len(value) != dispatcherSize(version) {
		return Dispatcher{}, fmt.Errorf("%w: it has version %d and %d bytes of settings, known are %d and %d",
			ErrDispatcher, version, len(value), dispatcherOldest, dispatcherNewest)
	}
	var raw dispatcherDispatcherConfig
	whole := make([]byte, dispatcherSizeNew)
	copy(whole, value)
	if _, err := binary.Decode(whole, binary.LittleEndian, &raw); err != nil {
		return Dispatcher{}, fmt.Errorf("read dispatcher: %w", err)
	}
	if raw.Device != 0 {
		return Dispatcher{}, fmt.Errorf("%w: it is bound to a device", ErrDispatcher)
	}
	if raw.Programs > DispatcherSlots {
		return Dispatcher{}, fmt.Errorf("%w: it claims to run %d programs", ErrDispatcher, raw.Programs)
	}
	d := Dispatcher{Version: version}
	for slot := range raw.Programs {
		d.Slots = append(d.Slots, DispatcherSlot{
			GoOnAfter: raw.GoOnAfter[slot], Priority: raw.Priorities[slot], Flags: raw.Flags[slot]})
	}
	return d, nil
}

func dispatcherSize(version uint8) int {
	if version < dispatcherNewest {
		return dispatcherSizeOld
	}
	return dispatcherSizeNew
}

// pieces tells whether every program takes packets in several pieces: only then may the dispatcher.
func (d *Dispatcher) pieces() bool {
	for _, slot := range d.Slots {
		if slot.Flags&unix.BPF_F_XDP_HAS_FRAGS == 0 {
			return false
		}
	}
	return true
}

// value is the value of the dispatcher's map.
func (d *Dispatcher) value() ([]byte, error) {
	raw := dispatcherDispatcherConfig{
		Magic: dispatcherMagic, Version: d.Version, Programs: uint8(len(d.Slots))}
	if d.pieces() {
		raw.Pieces = 1
	}
	for i, slot := range d.Slots {
		raw.GoOnAfter[i], raw.Priorities[i], raw.Flags[i] =
			slot.GoOnAfter|goOnAfterNoProgram, slot.Priority, slot.Flags
	}
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, &raw); err != nil {
		return nil, fmt.Errorf("write dispatcher: %w", err)
	}
	return b.Bytes()[:dispatcherSize(d.Version)], nil
}

// Load loads a dispatcher with empty stubs, not attached to anything. It takes CAP_BPF, CAP_NET_ADMIN and
// CAP_PERFMON. The caller closes it.
func (d *Dispatcher) Load() (*ebpf.Program, error) {
	if len(d.Slots) < 1 || len(d.Slots) > DispatcherSlots {
		return nil, fmt.Errorf("load dispatcher: %d programs, it runs 1 to %d", len(d.Slots), DispatcherSlots)
	}
	spec, err := loadDispatcher()
	if err != nil {
		return nil, fmt.Errorf("read dispatcher's object: %w", err)
	}
	value, err := d.value()
	if err != nil {
		return nil, err
	}
	settings := spec.Maps[".rodata"]
	settings.ValueSize = uint32(len(value))
	settings.Contents = []ebpf.MapKV{{Key: uint32(0), Value: value}}
	// Their type is that of the newest version, which is longer than the value of others.
	settings.Key, settings.Value = nil, nil
	delete(spec.Variables, "conf")
	if d.pieces() {
		spec.Programs[DispatcherName].Flags |= unix.BPF_F_XDP_HAS_FRAGS
	}
	var loaded struct {
		Program *ebpf.Program `ebpf:"xdp_dispatcher"`
	}
	if err := spec.LoadAndAssign(&loaded, nil); err != nil {
		return nil, fmt.Errorf("load dispatcher: %w", err)
	}
	return loaded.Program, nil
}

// Stub is the name of a slot's function, in which place its program goes.
func Stub(slot int) string { return fmt.Sprintf("prog%d", slot) }

// NewJoined makes the map in which a joint finds the program that it runs: none at first. It holds the
// program as long as it is open somewhere, or pinned. The caller closes it.
func NewJoined() (*ebpf.Map, error) {
	spec, err := loadDispatcher()
	if err != nil {
		return nil, fmt.Errorf("read dispatcher's object: %w", err)
	}
	joined, err := ebpf.NewMap(spec.Maps[joinedName])
	if err != nil {
		return nil, fmt.Errorf("make map %s: %w", joinedName, err)
	}
	return joined, nil
}

// LoadJoint loads the joint for a slot of a dispatcher, not attached to it: our program there, which runs the
// one in its map, and passes packets while there is none. The caller closes it.
func LoadJoint(dispatcher *ebpf.Program, slot int, joined *ebpf.Map) (*ebpf.Program, error) {
	spec, err := loadDispatcher()
	if err != nil {
		return nil, fmt.Errorf("read dispatcher's object: %w", err)
	}
	spec.Programs[JointName].AttachTarget, spec.Programs[JointName].AttachTo = dispatcher, Stub(slot)
	var loaded struct {
		Program *ebpf.Program `ebpf:"culvert_joint"`
	}
	options := &ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{joinedName: joined}}
	if err := spec.LoadAndAssign(&loaded, options); err != nil {
		return nil, fmt.Errorf("load %s: %w", JointName, err)
	}
	return loaded.Program, nil
}
