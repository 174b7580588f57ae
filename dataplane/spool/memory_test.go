package spool

import (
	"bytes"
	"errors"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
)

var (
	errInjected = errors.New("injected fault")
	errCrashed  = errors.New("the machine has crashed")
)

// fault is what happens at one of the operations that change something.
type fault uint8

const (
	faultNone  fault = iota
	faultOnce        // it fails, perhaps half done; the next ones work
	faultStays       // it and all later ones fail, as on a disk that is full or broken
	faultCrash       // it is the last: perhaps done, perhaps half, and what was not synced may be lost
)

// node is a file: what programs see of it, and what the disk surely has.
type node struct {
	seen    []byte
	durable []byte
	pending []write // since the last sync that succeeded, in order
	failed  bool    // a sync did
	length  int     // of pending when a sync failed: those writes never reach the disk by a later sync
}

// write is a change of a file: bytes at an offset, or a truncation if there are none.
type write struct {
	at int
	b  []byte
}

func (w write) apply(to []byte) []byte {
	if w.b == nil {
		return append(to[:min(w.at, len(to))], make([]byte, max(0, w.at-len(to)))...)
	}
	if end := w.at + len(w.b); end > len(to) {
		to = append(to, make([]byte, end-len(to))...)
	}
	copy(to[w.at:], w.b)
	return to
}

// memory is Files that can fail and crash at any operation. It plays a journaling file system: changes of
// names reach the disk in order, changes of contents in any or none until they are synced.
type memory struct {
	random  *rand.Rand
	names   map[string]*node
	stable  map[string]*node   // names that are surely on disk
	history []map[string]*node // names after each change since
	step    int                // changes so far
	fails   int                // the step at which the fault happens
	kind    fault
	crashed bool
	struck  string // the operation at which it first did
	again   []string
	late    []string // what was asked of files that were closed
	most    int64    // the most bytes that the files had together
	aside   *aside   // (optional) what runs beside the Log
}

// aside is a flush that runs in the middle of other things: each of its operations waits until it is let.
type aside struct {
	turn   func() bool // lets it do one more, and reports false once it is over
	stop   func()
	wait   func(struct{}) bool
	inside bool // it has its turn: what is done now is its doing
	killed bool // its process is gone: nothing of it reaches the disk any more
}

// newAside begins what runs beside; it waits at its first operation at the latest.
func (m *memory) newAside(run func()) {
	a := &aside{}
	next, stop := iter.Pull(func(yield func(struct{}) bool) {
		a.wait = yield
		run()
	})
	a.turn = func() bool {
		a.inside = true
		_, more := next()
		a.inside = false
		return more
	}
	a.stop = stop
	m.aside = a
}

// kill ends it where it is.
func (m *memory) kill() {
	if a := m.aside; a != nil {
		a.inside, a.killed = true, true
		a.stop()
		m.aside = nil
	}
}

func newMemory(random *rand.Rand) *memory {
	return &memory{random: random, names: map[string]*node{}, stable: map[string]*node{}}
}

// operations are all that change something, as change is told.
var operations = []string{"create", "rename", "remove", "sync names", "write", "sync", "truncate"}

// change counts an operation and tells what becomes of it: an error, and whether it is done nevertheless.
func (m *memory) change(operation string) (done bool, err error) {
	if a := m.aside; a != nil && a.inside && (a.killed || !a.wait(struct{}{})) {
		return false, errCrashed
	}
	if m.crashed {
		return false, errCrashed
	}
	m.step++
	if m.kind != faultNone && m.step == m.fails {
		m.struck = operation
	}
	switch {
	case m.kind == faultOnce && m.step == m.fails, m.kind == faultStays && m.step >= m.fails:
		return m.random.IntN(2) == 0, errInjected
	case m.kind == faultCrash && m.step == m.fails:
		m.crashed = true
		return m.random.IntN(2) == 0, errCrashed
	}
	return true, nil
}

func (m *memory) renamed() {
	m.history = append(m.history, maps.Clone(m.names))
	m.measure()
}

func (m *memory) measure() { m.most = max(m.most, m.size()) }

// size is what the files take.
func (m *memory) size() (n int64) {
	for _, f := range m.names {
		n += int64(len(f.seen))
	}
	return n
}

// reboot is what is on disk after a crash here: of each file what was synced and some of the rest, of the
// names those that were synced and some of the changes after.
func (m *memory) reboot() *memory {
	after := newMemory(m.random)
	names := m.stable
	if n := len(m.history); n > 0 {
		if i := m.random.IntN(n + 1); i > 0 {
			names = m.history[i-1]
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) { // in order, so that a seed tells one story
		file := names[name]
		content := append([]byte(nil), file.durable...)
		mode := m.random.IntN(3) // nothing, everything, anything of what was not synced
		for i, w := range file.pending {
			if mode == 0 || mode == 2 && m.random.IntN(2) == 0 || i < file.length && mode != 2 {
				continue
			}
			if mode == 2 && len(w.b) > 1 && m.random.IntN(3) == 0 {
				w.b = w.b[:m.random.IntN(len(w.b))+1]
			}
			content = w.apply(content)
		}
		after.names[name] = &node{seen: content, durable: append([]byte(nil), content...)}
	}
	after.stable = maps.Clone(after.names)
	return after
}

func (m *memory) List() ([]Entry, error) {
	var entries []Entry
	for name, file := range m.names {
		entries = append(entries, Entry{name, int64(len(file.seen))})
	}
	return entries, nil
}

func (m *memory) Create(name string) (File, error) {
	if m.names[name] != nil {
		return nil, fs.ErrExist
	}
	done, err := m.change("create")
	if done {
		m.names[name] = &node{}
		m.renamed()
	}
	if err != nil {
		return nil, err
	}
	return &handle{disk: m, file: m.names[name]}, nil
}

func (m *memory) Open(name string) (File, error) {
	if file := m.names[name]; file != nil && !m.crashed {
		return &handle{disk: m, file: file}, nil
	}
	return nil, fs.ErrNotExist
}

func (m *memory) Rename(from, to string) error {
	done, err := m.change("rename")
	if file := m.names[from]; file == nil {
		return fs.ErrNotExist
	} else if done {
		delete(m.names, from)
		m.names[to] = file
		m.renamed()
	}
	return err
}

func (m *memory) Remove(name string) error {
	if m.names[name] == nil {
		return fs.ErrNotExist
	}
	done, err := m.change("remove")
	if done {
		delete(m.names, name)
		m.renamed()
	}
	return err
}

func (m *memory) Sync() error {
	done, err := m.change("sync names")
	if done {
		m.stable, m.history = maps.Clone(m.names), nil
	}
	return err
}

func (m *memory) Close() error { return nil }

// handle is an open file.
type handle struct {
	disk   *memory
	file   *node
	closed bool
}

// use notes what is asked of a file that was closed.
func (h *handle) use(what string) {
	if h.closed {
		h.disk.late = append(h.disk.late, what+" "+h.name())
	}
}

func (h *handle) ReadAt(b []byte, at int64) (int, error) {
	h.use("read")
	return bytes.NewReader(h.file.seen).ReadAt(b, at)
}

func (h *handle) put(w write) {
	h.file.seen = w.apply(h.file.seen)
	h.file.pending = append(h.file.pending, w)
	h.disk.measure()
}

func (h *handle) WriteAt(b []byte, at int64) (int, error) {
	h.use("write")
	done, err := h.disk.change("write")
	w := write{int(at), append([]byte{}, b...)}
	if !done {
		// A write that fails may have written some of it.
		w.b = w.b[:h.disk.random.IntN(len(b)+1)]
	}
	if len(w.b) > 0 && (err == nil || !errors.Is(err, errCrashed) || h.disk.step == h.disk.fails) {
		h.put(w)
	}
	if err != nil {
		return len(w.b), err
	}
	return len(b), nil
}

func (h *handle) Sync() error {
	h.use("sync")
	if h.file.failed {
		h.disk.again = append(h.disk.again, h.name())
	}
	done, err := h.disk.change("sync")
	switch {
	case err == nil, done && errors.Is(err, errCrashed):
		for i, w := range h.file.pending {
			if i >= h.file.length {
				h.file.durable = w.apply(h.file.durable)
			}
		}
		h.file.pending, h.file.length = nil, 0
	case !errors.Is(err, errCrashed):
		// The kernel says it once: what was dirty counts as clean afterwards, and is not written again.
		h.file.failed, h.file.length = true, len(h.file.pending)
	}
	return err
}

func (h *handle) name() string {
	for name, file := range h.disk.names {
		if file == h.file {
			return name
		}
	}
	return "a file that was removed"
}

func (h *handle) Truncate(size int64) error {
	done, err := h.disk.change("truncate")
	if done {
		h.put(write{at: int(size)})
	}
	return err
}

func (h *handle) Close() error {
	h.use("close")
	h.closed = true
	return nil
}

// newRandom is a generator whose seed is in the log; with CULVERT_SEED it is another one.
func newRandom(t testing.TB, seed uint64) *rand.Rand {
	other, _ := strconv.ParseUint(os.Getenv("CULVERT_SEED"), 10, 64)
	t.Logf("seed %d, CULVERT_SEED=%d", seed, other)
	return rand.New(rand.NewPCG(seed, 1+other))
}
