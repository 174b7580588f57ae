package attach

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"culvert/bpf"
)

const (
	// pinnedJoint begins the name of a joint's pinned map; the interface's index follows, since that is all
	// by which a joint in a dispatcher of an interface that went can be told from a live one.
	pinnedJoint = "joint-"
	// exchangeTries is how often a dispatcher is read anew that somebody else exchanged meanwhile.
	exchangeTries = 5
	// exchangeTime bounds the wait for others who change dispatchers.
	exchangeTime = 5 * time.Second
)

func (o Options) jointPath(index int) string {
	return filepath.Join(filepath.Dir(o.pinPath()), pinnedJoint+strconv.Itoa(index))
}

// findJoint tells whether there is a joint to adopt: it is pinned, and nothing says that it is not in the
// dispatcher on the interface. Who may not ask who is there takes the pin's word.
func (a *Attachment) findJoint(o Options) bool {
	on := a.state.program.id
	if on == 0 {
		return false
	}
	seen := a.seen
	if seen.id != on || seen.name == "" {
		seen = see(a.state)
	}
	if seen.name != "" && !slices.Contains(seen.runs, bpf.JointName) {
		return false
	}
	dirs := PinDirs()
	if o.PinDir != "" {
		dirs = []string{o.PinDir}
	}
	for _, o.PinDir = range dirs {
		if _, err := os.Stat(o.jointPath(a.state.Index)); err == nil {
			return true
		}
	}
	return false
}

// adoptJoint gives the joint the present program to run, if its pin is in this folder. Then the lock is the
// attachment's.
func (a *Attachment) adoptJoint(o Options, lock *os.File) error {
	path := o.jointPath(a.state.Index)
	slot, err := ebpf.LoadPinnedMap(path, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("adopt %s: %w", path, err)
	}
	mode, _ := kernelMode(a.state.program.mode)
	if err := o.demandMode(a.state, mode); err != nil {
		slot.Close()
		return err
	}
	if err := slot.Put(uint32(0), a.steer.Program()); err != nil {
		slot.Close()
		return fmt.Errorf("give the steering program to the joint %s: %w", path, err)
	}
	a.slot, a.mode, a.adopted, a.lock = slot, mode, true, lock
	return nil
}

// demandMode is the error for a dispatcher that is not in the mode asked for, or in one that is of no use at
// this interface: others decided about that.
func (o Options) demandMode(s State, mode Mode) error {
	if problem, _ := s.Below.whyNot(); s.Below != Itself && mode == Native {
		return &Error{Kind: Unsupported, Interface: o.Interface, Attempt: "join",
			Problem: "libxdp's dispatcher is attached in native mode, and " + problem,
			Remedy: "load the other programs in generic mode (`xdp-loader load -m skb`), or set " +
				"`mode: socket`"}
	}
	if o.Mode == Auto || o.Mode == mode {
		return nil
	}
	return &Error{Kind: Unsupported, Interface: o.Interface, Attempt: "join",
		Problem: fmt.Sprintf("libxdp's dispatcher is attached in %s mode, and mode %s is demanded", mode,
			o.Mode),
		Remedy: "load the other programs in that mode, or use mode auto"}
}

// leaveSlot takes the steering program from the joint, which then passes everything.
func (a *Attachment) leaveSlot() error {
	err := a.slot.Delete(uint32(0))
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		err = nil
	}
	if err = errors.Join(err, a.slot.Close()); err != nil {
		return fmt.Errorf("detach %q: %w", a.name, err)
	}
	return nil
}

// stillJoined tells whether another dispatcher than at Open runs the joint, too: libxdp makes a new one for
// each change. Who may not read its pins believes it as long as there is a program.
func (a *Attachment) stillJoined(state State) bool {
	if state.program.id == 0 {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.slot == nil {
		return false
	}
	joined, err := mapID(a.slot)
	if err != nil {
		return true
	}
	folder := dispatcherFolder(state.Index, state.program.id)
	if _, err := os.ReadDir(folder); err != nil {
		return !errors.Is(err, fs.ErrNotExist)
	}
	return pinnedIn(folder, joined)
}

// pinnedIn tells whether the joint of a map is among the programs of a dispatcher's folder.
func pinnedIn(folder string, joined ebpf.MapID) bool {
	for slot := range bpf.DispatcherSlots {
		program, _, err := openMember(pinnedProgram(folder, slot))
		if errors.Is(err, fs.ErrNotExist) {
			return false
		}
		if err != nil {
			return true // It cannot be told.
		}
		found := runsFrom(program, joined)
		program.Close()
		if found {
			return true
		}
	}
	return false
}

func mapID(m *ebpf.Map) (ebpf.MapID, error) {
	about, err := m.Info()
	if err != nil {
		return 0, err
	}
	id, _ := about.ID()
	return id, nil
}

// admission is what came of joining a dispatcher.
type admission struct {
	fresh  bool // the joint was not in it before
	locked bool // libxdp's own dispatchers do not take the joint
}

// join puts a joint into the dispatcher on an interface and pins its map, unless it is there already. It does
// nothing where there is no dispatcher, or where this process may not ask.
func join(o Options) (came admission, err error) {
	err = exchanging(o.Interface, "join", func(state State, mode Mode) error {
		if err := o.demandMode(state, mode); err != nil {
			return err
		}
		path := o.jointPath(state.Index)
		lock, err := makePinDir(path, o.Interface)
		if err != nil {
			return err
		}
		defer lock.Close()
		// Only where nothing is pinned it can go.
		defer removeEmpty(filepath.Dir(path))
		d, err := readDispatcher(state)
		if err != nil {
			return err
		}
		defer d.close()
		if came.fresh, err = d.lacks(path); err != nil || !came.fresh {
			return err
		}
		came.locked, err = d.admit(mode, path, o.pinDir())
		return err
	})
	return came, err
}

// lacks tells whether the joint of a pin is not in the dispatcher, and removes a pin of which that is so.
func (d *dispatcher) lacks(path string) (bool, error) {
	pinned, err := ebpf.LoadPinnedMap(path, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", path, err)
	}
	defer pinned.Close()
	joined, err := mapID(pinned)
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", path, err)
	}
	if d.joint(joined) >= 0 {
		return false, nil
	}
	return true, os.Remove(path)
}

// admit adds a joint to the dispatcher and pins its map. It tells whether this dispatcher itself, which
// libxdp made, would not have taken the joint: then libxdp cannot make another one with it, either.
func (d *dispatcher) admit(mode Mode, path, pinDir string) (locked bool, err error) {
	if slices.ContainsFunc(d.members, func(m member) bool { return m.name == bpf.JointName }) {
		return false, fmt.Errorf("%w: it runs another culvert's program, which is pinned elsewhere",
			bpf.ErrDispatcher)
	}
	joined, err := bpf.NewJoined()
	if err != nil {
		return false, err
	}
	defer joined.Close()
	if tried, err := bpf.LoadJoint(d.program, 0, joined); err != nil {
		locked = true
	} else {
		tried.Close()
	}
	// Before it joins, so that whatever happens then `culvert detach` finds it.
	if err := joined.Pin(path); err != nil {
		return false, fmt.Errorf("pin joint at %s: %w", path, err)
	}
	giveAway(pinDir, path)
	members := insert(d.members, member{name: bpf.JointName, slot: bpf.JointSlot()})
	if err := d.exchange(mode, members, joined); err != nil {
		return locked, errors.Join(err, os.Remove(path))
	}
	return locked, nil
}

// giveAway gives a pin, and the folders that it lies in, to whom the pin directory belongs: the gateway runs
// without privileges as that user.
func giveAway(pinDir, path string) {
	about, err := os.Stat(pinDir)
	if err != nil {
		return
	}
	owner, ok := about.Sys().(*syscall.Stat_t)
	for ; ok && len(path) > len(pinDir); path = filepath.Dir(path) {
		// Who may not give away is the owner already, or will be told that the pin cannot be read.
		_ = os.Lchown(path, int(owner.Uid), int(owner.Gid))
	}
}

// exchanging calls f with the dispatcher's lock held, and again when somebody who heeds no lock exchanged the
// dispatcher meanwhile. Where there is no dispatcher, as far as this process may ask, f is not called.
func exchanging(name, attempt string, f func(State, Mode) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), exchangeTime)
	defer cancel()
	var err error
	for range exchangeTries {
		var state State
		if state, err = Look(name); err != nil {
			return err
		}
		if !state.Present || programName(state.program.id) != bpf.DispatcherName {
			return nil
		}
		mode, known := kernelMode(state.program.mode)
		if !known {
			return nil // Programs in several modes are more than we take part in.
		}
		err = locked(ctx, func() error { return f(state, mode) })
		if !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.ENOENT) {
			break
		}
	}
	return explainExchange(name, attempt, err)
}

func locked(ctx context.Context, f func() error) error {
	lock, err := lockDispatchers(ctx)
	if err != nil {
		return err
	}
	defer lock.Close()
	return f()
}

// explainExchange turns an error into one that the user can act on.
func explainExchange(name, attempt string, err error) error {
	var known *Error
	var rejected *ebpf.VerifierError
	switch {
	case err == nil || errors.As(err, &known):
		return err
	case errors.As(err, &rejected):
		// The verifier says EACCES, too, and privileges would not mend it.
	case errors.Is(err, bpf.ErrDispatcher):
		return &Error{Kind: Foreign, Interface: name, Attempt: attempt,
			Problem: "libxdp's dispatcher is attached", Err: err,
			Remedy: fmt.Sprintf("`xdp-loader status %s` shows its programs, `xdp-loader unload` removes "+
				"one; or set `mode: socket` for this interface", name)}
	case errors.Is(err, fs.ErrNotExist):
		return &Error{Kind: Foreign, Interface: name, Attempt: attempt, Err: err,
			Problem: "the pins of libxdp's dispatcher are not below " + dispatcherPins(),
			Remedy: "do it in the mount namespace of who loaded it (not by `ip netns exec`), or set " +
				"LIBXDP_BPFFS as there; or set `mode: socket` for this interface"}
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return &Error{Kind: Privilege, Interface: name, Attempt: attempt, Err: err,
			Problem: "the kernel does not permit it",
			Remedy:  "other people's programs are root's business: run as root"}
	}
	return fmt.Errorf("%s %q: %w", attempt, name, err)
}

// part takes the joint of a pin out of its dispatcher, and removes the pin. It tells the interface's index
// and the dispatcher that it was in; both are 0 where it was in none any more.
func part(path, name string) (index int, from uint32, err error) {
	pinned, err := ebpf.LoadPinnedMap(path, nil)
	if err != nil {
		return 0, 0, fmt.Errorf("detach %q: %w", name, err)
	}
	defer pinned.Close()
	joined, err := mapID(pinned)
	if err != nil {
		return 0, 0, fmt.Errorf("detach %q: %w", name, err)
	}
	if state, err := Look(name); err == nil && state.program.id != 0 && programName(state.program.id) == "" {
		return 0, 0, explainExchange(name, "detach", unix.EPERM)
	}
	pinnedIndex, _ := strconv.Atoi(strings.TrimPrefix(filepath.Base(path), pinnedJoint))
	err = exchanging(name, "detach", func(state State, mode Mode) error {
		if state.Index != pinnedIndex {
			return nil
		}
		d, err := readDispatcher(state)
		if err != nil {
			return err
		}
		defer d.close()
		at := d.joint(joined)
		if at < 0 {
			return nil
		}
		rest := slices.Delete(slices.Clone(d.members), at, at+1)
		if err := d.exchange(mode, rest, nil); err != nil {
			return err
		}
		index, from = state.Index, d.id
		return nil
	})
	if err == nil && from == 0 {
		err = elsewhere(pinnedIndex, joined, name)
	}
	if err != nil {
		return 0, 0, err
	}
	if err := os.Remove(path); err != nil {
		return index, from, fmt.Errorf("remove pin of %q: %w", name, err)
	}
	return index, from, nil
}

// elsewhere is the error for a joint that is in a dispatcher which this network namespace does not see.
func elsewhere(index int, joined ebpf.MapID, name string) error {
	folders, err := filepath.Glob(filepath.Join(dispatcherPins(), fmt.Sprintf("dispatch-%d-*", index)))
	if err != nil {
		return err
	}
	for _, folder := range folders {
		if pinnedIn(folder, joined) {
			return &Error{Kind: Busy, Interface: name, Attempt: "detach",
				Problem: "it is joined to a dispatcher (" + folder + ") that is not on this interface",
				Remedy:  "`culvert detach` in the network namespace of the other interface of this name"}
		}
	}
	return nil
}
