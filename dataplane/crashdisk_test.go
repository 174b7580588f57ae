package dataplane

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"

	"culvert/dataplane/spool"
)

// errEnded is the answer of a disk whose process, or machine, is gone.
var errEnded = errors.New("the process has ended")

// crashDisk is a disk in memory with a folder for each of some spools. At one of the operations that change
// something the process ends, or the machine: that one is carried out or not, and none of the later ones.
type crashDisk struct {
	mutex   sync.Mutex
	random  *rand.Rand
	folders map[string]*crashFolder
	steps   int // operations so far
	ends    int // the operation at which it ends; 0: never
	ended   bool
	// ghost lets those who do not know of the end come to theirs: nothing is carried out, and nothing fails.
	ghost bool
}

func newCrashDisk(random *rand.Rand) *crashDisk {
	return &crashDisk{random: random, folders: map[string]*crashFolder{}}
}

// change carries an operation out, or ends here.
func (d *crashDisk) change(operation func()) error {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	switch {
	case d.ghost:
		return nil
	case d.ended:
		return errEnded
	}
	d.steps++
	if d.ended = d.steps == d.ends; d.ended {
		if d.random.IntN(2) == 0 {
			operation()
		}
		return errEnded
	}
	operation()
	return nil
}

// at is how many operations there were, and whether the last of them was the end.
func (d *crashDisk) at() (steps int, ended bool) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	return d.steps, d.ended
}

// after is the disk as the next process finds it. A kill leaves all that was written, a power loss what was
// synced and some of the rest.
func (d *crashDisk) after(power bool) *crashDisk {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	next := newCrashDisk(d.random)
	for _, name := range slices.Sorted(maps.Keys(d.folders)) {
		from, to := d.folders[name], next.folder(name)
		names := from.names
		if power && d.random.IntN(2) == 0 {
			names = from.stable
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			content := slices.Clone(names[name].seen)
			if power {
				content = names[name].left(d.random)
			}
			to.names[name] = &crashFile{seen: content, synced: slices.Clone(content)}
		}
		to.stable = maps.Clone(to.names)
	}
	d.ghost = true
	return next
}

// folder is a spool's directory.
func (d *crashDisk) folder(name string) *crashFolder {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if d.folders[name] == nil {
		d.folders[name] = &crashFolder{
			disk: d, names: map[string]*crashFile{}, stable: map[string]*crashFile{},
		}
	}
	return d.folders[name]
}

// crashFolder is a spool's directory, as spool.Files.
type crashFolder struct {
	disk   *crashDisk
	names  map[string]*crashFile
	stable map[string]*crashFile // those that are surely on disk
}

// crashFile is what programs see of a file, and what the disk surely has.
type crashFile struct{ seen, synced []byte }

// left is what a loss of power leaves: of what was written since the last sync none, all, or the beginning.
func (f *crashFile) left(random *rand.Rand) []byte {
	cut := random.IntN(len(f.seen) + 1)
	switch random.IntN(3) {
	case 0:
		cut = 0
	case 1:
		cut = len(f.seen)
	}
	content := slices.Clone(f.seen[:cut])
	if cut < len(f.synced) && cut < len(f.seen) {
		content = append(content, f.synced[cut:]...)
	}
	return content
}

func (f *crashFolder) List() ([]spool.Entry, error) {
	f.disk.mutex.Lock()
	defer f.disk.mutex.Unlock()
	var entries []spool.Entry
	for name, file := range f.names {
		entries = append(entries, spool.Entry{Name: name, Size: int64(len(file.seen))})
	}
	return entries, nil
}

func (f *crashFolder) Create(name string) (spool.File, error) {
	file, taken := &crashFile{}, false
	err := f.disk.change(func() {
		if taken = f.names[name] != nil; !taken {
			f.names[name] = file
		}
	})
	if taken {
		err = fs.ErrExist
	}
	if err != nil {
		return nil, err
	}
	return &crashHandle{f.disk, file}, nil
}

func (f *crashFolder) Open(name string) (spool.File, error) {
	f.disk.mutex.Lock()
	defer f.disk.mutex.Unlock()
	if file := f.names[name]; file != nil {
		return &crashHandle{f.disk, file}, nil
	}
	return nil, fs.ErrNotExist
}

func (f *crashFolder) Rename(from, to string) error {
	return f.disk.change(func() {
		if file := f.names[from]; file != nil {
			delete(f.names, from)
			f.names[to] = file
		}
	})
}

func (f *crashFolder) Remove(name string) error {
	return f.disk.change(func() { delete(f.names, name) })
}

func (f *crashFolder) Sync() error {
	return f.disk.change(func() { f.stable = maps.Clone(f.names) })
}

func (f *crashFolder) Close() error { return nil }

// crashHandle is an open file, as spool.File.
type crashHandle struct {
	disk *crashDisk
	file *crashFile
}

func (h *crashHandle) ReadAt(b []byte, at int64) (int, error) {
	h.disk.mutex.Lock()
	defer h.disk.mutex.Unlock()
	return bytes.NewReader(h.file.seen).ReadAt(b, at)
}

func (h *crashHandle) WriteAt(b []byte, at int64) (int, error) {
	err := h.disk.change(func() {
		if missing := int(at) + len(b) - len(h.file.seen); missing > 0 {
			h.file.seen = append(h.file.seen, make([]byte, missing)...)
		}
		copy(h.file.seen[at:], b)
	})
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

func (h *crashHandle) Sync() error {
	return h.disk.change(func() { h.file.synced = slices.Clone(h.file.seen) })
}

func (h *crashHandle) Truncate(size int64) error {
	return h.disk.change(func() { h.file.seen = h.file.seen[:min(int(size), len(h.file.seen))] })
}

func (h *crashHandle) Close() error { return nil }
