package attach

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

const (
	// ServicePinDir is a BPF file system of the service's own, which its unit mounts: the system's is usually
	// closed to all but root.
	ServicePinDir = "/run/culvert/bpf"
	// DefaultPinDir is where pins live where that is not mounted.
	DefaultPinDir = "/sys/fs/bpf/culvert"
	bpffs         = "/sys/fs/bpf"

	// pinVersion names the layout below it: another layout gets another directory, and `detach` removes both.
	pinVersion = "v1"
	pinnedLink = "link"
)

// PinDirs are the folders in which pins are looked for, in this order.
func PinDirs() []string { return []string{ServicePinDir, DefaultPinDir} }

// Pinned is what Pin left in the kernel.
type Pinned struct {
	Interface string
	Mode      Mode
	Path      string
	Refreshed bool  // it was pinned before and got the present program
	Refused   error // why mode auto did not give native; nil where it did
	// Joined says that it is in a dispatcher of libxdp. Beside are the programs that this runs, ours among
	// them, as far as this process may ask.
	Joined bool
	Beside []string
	// Locked says that libxdp, as it is installed, cannot add to or take from that dispatcher while ours is
	// in it, on this kernel.
	Locked bool
}

// Pin attaches the steering program and leaves it attached, with redirect off, for gateways to adopt. If it
// is pinned already, its program is replaced by the present one. Where a dispatcher of libxdp is on the
// interface, a joint joins it, which takes CAP_SYS_ADMIN. The BPF file system is mounted where it is missing.
func Pin(o Options) (Pinned, error) {
	if err := checkName(o.Interface); err != nil {
		return Pinned{}, err
	}
	if err := mountBPFFS(o.pinDir(), o.Interface); err != nil {
		return Pinned{}, err
	}
	came, err := join(o)
	if err != nil {
		return Pinned{}, err
	}
	a, err := Open(o)
	if err != nil {
		return Pinned{}, err
	}
	pinned := Pinned{
		Interface: o.Interface, Mode: a.mode, Path: o.pinPath(), Refreshed: a.adopted && !came.fresh,
		Refused: a.refused, Locked: came.locked,
	}
	switch {
	case a.joined:
		pinned.Joined, pinned.Path = true, o.jointPath(a.state.Index)
		// Others may have exchanged the dispatcher since it was opened.
		if seen, err := See(o.Interface); err == nil {
			pinned.Beside = seen.runs
		}
	case !a.adopted:
		err = a.pin(o.pinPath())
	}
	return pinned, errors.Join(err, a.Close())
}

func (a *Attachment) pin(path string) error {
	lock, err := makePinDir(path, a.name)
	if err != nil {
		return err
	}
	a.lock = lock
	if err := a.link.Pin(path); err != nil {
		return fmt.Errorf("pin link of %q at %s: %w", a.name, path, err)
	}
	return nil
}

// makePinDir makes the folder of a pin and takes it for this process, until the file is closed.
func makePinDir(path, name string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("pin %q: %w", name, err)
	}
	return lockDir(filepath.Dir(path), name)
}

// adopt takes over the pinned link, if there is one of this interface in a folder that this process may read.
func (a *Attachment) adopt(o Options) error {
	dirs := PinDirs()
	if o.PinDir != "" {
		dirs = []string{o.PinDir}
	}
	for _, o.PinDir = range dirs {
		if err := a.adoptFrom(o); err != nil || a.adopted {
			return err
		}
	}
	return nil
}

// adoptFrom is adopt from the one folder of the options.
func (a *Attachment) adoptFrom(o Options) (err error) {
	path := o.pinPath()
	lock, err := lockDir(filepath.Dir(path), a.name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() {
		if err != nil || !a.adopted {
			lock.Close()
		}
	}()
	if a.joined {
		return a.adoptJoint(o, lock)
	}
	// A joint that somebody took out of its dispatcher is dead for good.
	_ = os.Remove(o.jointPath(a.state.Index))
	pinned, err := link.LoadPinnedLink(path, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("adopt %s: %w", path, err)
	}
	defer func() {
		if err != nil || !a.adopted {
			pinned.Close()
		}
	}()
	about, err := pinned.Info()
	if err != nil {
		return fmt.Errorf("adopt %s: %w", path, err)
	}
	if about.XDP() == nil {
		return fmt.Errorf("adopt %s: it is not an XDP link", path)
	}
	if about.XDP().Ifindex == 0 {
		// Its interface was deleted, and one of the same name made: the link is dead for good.
		return os.Remove(path)
	}
	// The index alone does not tell an interface: each network namespace counts from 1.
	if uint32(about.Program) != a.state.program.id || int(about.XDP().Ifindex) != a.state.Index {
		return &Error{Kind: Busy, Interface: a.name, Attempt: "attach",
			Problem: fmt.Sprintf("%s is the pin of another interface of this name", path),
			Remedy:  "`culvert detach` in that one's network namespace, or use another pin directory there"}
	}
	mode, _ := kernelMode(a.state.program.mode)
	if err := a.state.Below.inVain(a.name, "attach", mode); err != nil {
		return err
	}
	if o.Mode != Auto && o.Mode != mode {
		return &Error{Kind: Unsupported, Interface: a.name, Attempt: "attach",
			Problem: fmt.Sprintf("the pinned link is in %s mode, and mode %s is demanded", mode, o.Mode),
			Remedy:  fmt.Sprintf("`culvert detach -i %s`, then attach again", a.name)}
	}
	if err := pinned.Update(a.steer.Program()); err != nil {
		return a.explain(fmt.Errorf("change the program of %s: %w", path, err))
	}
	a.link, a.mode, a.adopted, a.lock = pinned, mode, true, lock
	return nil
}

// lockDir takes a pin directory for this process, until the file is closed. The error is fs.ErrNotExist where
// there is no such directory.
func lockDir(dir, name string) (*os.File, error) {
	file, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return file, nil
	}
	file.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, &Error{Kind: Busy, Interface: name, Attempt: "lock " + dir + " for",
			Problem: "a running gateway or another culvert command holds it", Remedy: "stop that first"}
	}
	return nil, fmt.Errorf("lock %s: %w", dir, err)
}

func (o Options) pinDir() string {
	if o.PinDir != "" {
		return o.PinDir
	}
	var about unix.Statfs_t
	if err := unix.Statfs(ServicePinDir, &about); err == nil && about.Type == unix.BPF_FS_MAGIC {
		return ServicePinDir
	}
	return DefaultPinDir
}

func (o Options) pinPath() string {
	return filepath.Join(o.pinDir(), pinVersion, folderOf(o.Interface), pinnedLink)
}

// folderOf is an interface's name as the folder of its pins: a BPF file system keeps dots in names for itself
// (bpf_lookup, kernel/bpf/inode.c), and VLANs are mostly called with one.
func folderOf(name string) string { return strings.NewReplacer("%", "%25", ".", "%2E").Replace(name) }

// interfaceOf is the way back.
func interfaceOf(folder string) string {
	return strings.NewReplacer("%25", "%", "%2E", ".").Replace(folder)
}

// checkName refuses what no interface can be called (dev_valid_name, net/core/dev.c), because the name
// becomes a part of a path.
func checkName(name string) error {
	if name != "" && name != "." && name != ".." && len(name) < unix.IFNAMSIZ &&
		!strings.ContainsAny(name, "/: \t\n") {
		return nil
	}
	return &Error{Kind: Missing, Interface: name, Attempt: "find", Problem: "no interface can have this name"}
}

// mountBPFFS sees to it that pins can be made in dir.
func mountBPFFS(dir, name string) error {
	existing := dir
	var about unix.Statfs_t
	for {
		err := unix.Statfs(existing, &about)
		if err == nil {
			break
		}
		if !errors.Is(err, unix.ENOENT) || existing == filepath.Dir(existing) {
			return fmt.Errorf("look at %s: %w", existing, err)
		}
		existing = filepath.Dir(existing)
	}
	if about.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	problem := &Error{Kind: NoBPFFS, Interface: name, Attempt: "pin",
		Problem: fmt.Sprintf("no BPF file system is mounted at %s", dir),
		Remedy:  "`mount -t bpf bpf " + bpffs + "`"}
	if existing != bpffs {
		return problem
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("bpf", bpffs, "bpf", flags, "mode=0700"); err != nil {
		problem.Err = err
		return problem
	}
	return nil
}
