package attach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"culvert/bpf"
)

// member is a program in a slot of a dispatcher.
type member struct {
	name    string
	slot    bpf.DispatcherSlot
	program *ebpf.Program // nil: our joint, which is yet to be loaded
}

// dispatcher is a dispatcher of libxdp on an interface, with what it runs. The caller closes it.
type dispatcher struct {
	index   int // of the interface
	id      uint32
	version uint8
	program *ebpf.Program
	members []member // in the order in which they run
}

// dispatcherPins is where libxdp pins programs, for each dispatcher in a folder of its own: progN-prog and
// progN-link for the slot N.
func dispatcherPins() string {
	root := os.Getenv("LIBXDP_BPFFS")
	if root == "" {
		root = bpffs
	}
	return filepath.Join(root, "xdp")
}

func dispatcherFolder(index int, dispatcher uint32) string {
	return filepath.Join(dispatcherPins(), fmt.Sprintf("dispatch-%d-%d", index, dispatcher))
}

func pinnedProgram(folder string, slot int) string {
	return filepath.Join(folder, bpf.Stub(slot)+"-prog")
}

func pinnedSlot(folder string, slot int) string {
	return filepath.Join(folder, bpf.Stub(slot)+"-link")
}

// readDispatcher reads the dispatcher that is on an interface, which takes CAP_SYS_ADMIN. The caller holds
// the lock of libxdp's pins.
func readDispatcher(state State) (_ *dispatcher, err error) {
	d := &dispatcher{index: state.Index, id: state.program.id}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.program, err = ebpf.NewProgramFromID(ebpf.ProgramID(d.id)); err != nil {
		return nil, fmt.Errorf("open dispatcher %d: %w", d.id, err)
	}
	settings, err := d.settings()
	if err != nil {
		return nil, fmt.Errorf("read dispatcher %d: %w", d.id, err)
	}
	d.version = settings.Version
	folder := dispatcherFolder(d.index, d.id)
	for i, slot := range settings.Slots {
		program, name, err := openMember(pinnedProgram(folder, i))
		if err != nil {
			return nil, err
		}
		d.members = append(d.members, member{name: name, slot: slot, program: program})
	}
	return d, nil
}

// settings are what stands in the dispatcher's one map.
func (d *dispatcher) settings() (bpf.Dispatcher, error) {
	about, err := d.program.Info()
	if err != nil {
		return bpf.Dispatcher{}, err
	}
	maps, _ := about.MapIDs()
	if len(maps) != 1 {
		return bpf.Dispatcher{}, fmt.Errorf("%w: it has %d maps", bpf.ErrDispatcher, len(maps))
	}
	m, err := ebpf.NewMapFromID(maps[0])
	if err != nil {
		return bpf.Dispatcher{}, err
	}
	defer m.Close()
	value, err := m.LookupBytes(uint32(0))
	if err != nil {
		return bpf.Dispatcher{}, err
	}
	return bpf.ParseDispatcher(value)
}

// openMember opens a pinned program.
func openMember(path string) (*ebpf.Program, string, error) {
	pinned, err := ebpf.LoadPinnedProgram(path, nil)
	if err != nil {
		return nil, "", fmt.Errorf("open %s: %w", path, err)
	}
	defer pinned.Close()
	about, err := pinned.Info()
	if err != nil {
		return nil, "", fmt.Errorf("look at %s: %w", path, err)
	}
	// To pin a program that has a pin moves it, and a clone has none.
	clone, err := pinned.Clone()
	if err != nil {
		return nil, "", fmt.Errorf("open %s: %w", path, err)
	}
	return clone, about.Name, nil
}

func (d *dispatcher) close() {
	if d.program != nil {
		d.program.Close()
	}
	for _, m := range d.members {
		if m.program != nil {
			m.program.Close()
		}
	}
}

// joint is the slot of the joint that hands packets to the program in a map; -1 where there is none.
func (d *dispatcher) joint(joined ebpf.MapID) int {
	return slices.IndexFunc(d.members, func(m member) bool {
		return m.program != nil && m.name == bpf.JointName && runsFrom(m.program, joined)
	})
}

// runsFrom tells whether a program uses a map.
func runsFrom(program *ebpf.Program, joined ebpf.MapID) bool {
	about, err := program.Info()
	if err != nil {
		return false
	}
	maps, _ := about.MapIDs()
	return slices.Contains(maps, joined)
}

// insert gives a program its place by its priority, and by its name among those of the same, as libxdp does.
func insert(members []member, m member) []member {
	at := slices.IndexFunc(members, func(other member) bool {
		return other.slot.Priority > m.slot.Priority ||
			other.slot.Priority == m.slot.Priority && other.name > m.name
	})
	if at < 0 {
		at = len(members)
	}
	return slices.Insert(slices.Clone(members), at, m)
}

// dispatched are the names of the programs that a dispatcher of libxdp runs, in the order of their slots, as
// far as its pins may be read.
func dispatched(index int, dispatcher uint32) (names []string) {
	for slot := range bpf.DispatcherSlots {
		program, name, err := openMember(pinnedProgram(dispatcherFolder(index, dispatcher), slot))
		if err != nil {
			// Slots are filled from the first on.
			return names
		}
		program.Close()
		names = append(names, name)
	}
	return names
}

// lockDispatchers keeps everybody else from changing dispatchers, until the file is closed. libxdp holds the
// lock for moments.
func lockDispatchers(ctx context.Context) (*os.File, error) {
	const every = 20 * time.Millisecond
	file, err := os.Open(dispatcherPins())
	if err != nil {
		return nil, fmt.Errorf("lock libxdp's pins: %w", err)
	}
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return file, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", dispatcherPins(), err)
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, fmt.Errorf("lock %s: another program holds it: %w", dispatcherPins(), ctx.Err())
		case <-time.After(every):
		}
	}
}

// removePins removes a dispatcher's folder with its pins. What is not there is fine.
func removePins(folder string) error {
	var errs []error
	for slot := range bpf.DispatcherSlots {
		for _, path := range []string{pinnedSlot(folder, slot), pinnedProgram(folder, slot)} {
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, err)
			}
		}
	}
	if err := os.Remove(folder); err != nil && !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
