package attach

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/cilium/ebpf/link"
)

// Removed is what Unpin took away.
type Removed struct {
	Interface string
	Path      string // of the pin
	Program   uint32 // its id; 0 where nothing was attached any more
	Index     int    // of the interface it was on; 0 where that is gone
	// Dispatcher is what the joint was taken out of, by its id: 0 where the program was not joined.
	Dispatcher uint32
}

func (r Removed) String() string {
	if r.Program == 0 && r.Dispatcher == 0 || r.Index == 0 {
		return fmt.Sprintf("%s: removed a leftover pin (%s), nothing was attached", r.Interface, r.Path)
	}
	if r.Dispatcher != 0 {
		return fmt.Sprintf("%s: left libxdp's dispatcher %d on interface %d and removed the pin (%s)",
			r.Interface, r.Dispatcher, r.Index, r.Path)
	}
	return fmt.Sprintf("%s: detached program %d from interface %d and removed its pin (%s)",
		r.Interface, r.Program, r.Index, r.Path)
}

// anyVersion matches the directories of this and of other versions' layouts, which all name their link the
// same.
var anyVersion = regexp.MustCompile(`^v[0-9]+$`)

// Unpin detaches what Pin left on an interface and removes its pins, those of other versions too. It returns
// nothing where there is nothing of ours. A gateway that is not pinned is not touched: its program goes with
// it. The interface itself need not exist any more. An empty pinDir is all of PinDirs.
func Unpin(pinDir, name string) ([]Removed, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	return unpin(pinDir, func(found string) bool { return found == name })
}

// UnpinAll is Unpin for every interface.
func UnpinAll(pinDir string) ([]Removed, error) {
	return unpin(pinDir, func(string) bool { return true })
}

// unpin looks into one folder, or into all of PinDirs where none is named.
func unpin(pinDir string, wanted func(string) bool) (removed []Removed, err error) {
	if pinDir != "" {
		return unpinBelow(pinDir, wanted)
	}
	for _, dir := range PinDirs() {
		some, one := unpinBelow(dir, wanted)
		removed, err = append(removed, some...), errors.Join(err, one)
	}
	return removed, err
}

func unpinBelow(root string, wanted func(string) bool) (removed []Removed, err error) {
	versions, err := os.ReadDir(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for pins: %w", err)
	}
	for _, version := range versions {
		if !anyVersion.MatchString(version.Name()) {
			continue
		}
		dir := filepath.Join(root, version.Name())
		interfaces, readErr := os.ReadDir(dir)
		err = errors.Join(err, readErr)
		for _, entry := range interfaces {
			name := interfaceOf(entry.Name())
			if !wanted(name) {
				continue
			}
			one, oneErr := unpinOne(filepath.Join(dir, entry.Name()), name)
			err = errors.Join(err, oneErr)
			if oneErr == nil {
				removed = append(removed, one)
			}
		}
		removeEmpty(dir)
	}
	removeEmpty(root)
	return removed, err
}

// removeEmpty tidies up behind the last pin. A directory that is still needed refuses by itself.
func removeEmpty(dir string) { _ = os.Remove(dir) }

func unpinOne(dir, name string) (removed Removed, err error) {
	removed = Removed{Interface: name, Path: filepath.Join(dir, pinnedLink)}
	lock, err := lockDir(dir, name)
	if err != nil {
		return removed, err
	}
	defer lock.Close()
	joints, err := filepath.Glob(filepath.Join(dir, pinnedJoint+"*"))
	if err != nil {
		return removed, fmt.Errorf("detach %q: %w", name, err)
	}
	for _, path := range joints {
		index, from, err := part(path, name)
		if err != nil {
			return removed, err
		}
		if from != 0 || removed.Dispatcher == 0 {
			removed.Path, removed.Index, removed.Dispatcher = path, index, from
		}
	}
	if err := unpinLink(&removed, filepath.Join(dir, pinnedLink)); err != nil {
		return removed, err
	}
	if err := os.Remove(dir); err != nil {
		return removed, fmt.Errorf("remove pin directory of %q: %w", name, err)
	}
	return removed, nil
}

// unpinLink detaches the pinned link, if there is one.
func unpinLink(removed *Removed, path string) error {
	name := removed.Interface
	pinned, err := link.LoadPinnedLink(path, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // It is joined, or a crash came between making the directory and pinning.
	}
	if err != nil {
		return fmt.Errorf("detach %q: %w", name, err)
	}
	defer pinned.Close()
	about, err := pinned.Info()
	if err != nil {
		return fmt.Errorf("detach %q: %w", name, err)
	}
	if about.XDP() == nil {
		return fmt.Errorf("detach %q: %s is not an XDP link, and not ours", name, path)
	}
	removed.Path, removed.Program, removed.Index = path, uint32(about.Program), int(about.XDP().Ifindex)
	if err := pinned.Detach(); err != nil {
		return fmt.Errorf("detach %q: %w", name, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove pin of %q: %w", name, err)
	}
	return nil
}
