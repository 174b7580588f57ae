package spool

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrHeld says that another process, usually a running gateway, holds the directory.
var ErrHeld = errors.New("another process holds the spool")

// lockName is the file whose lock says who holds a directory. It is never removed.
const lockName = "lock"

// File is one open file of a spool.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync returns when all that was written has reached the disk.
	Sync() error
	Truncate(size int64) error
	Close() error
}

// Entry is a file's name and length.
type Entry struct {
	Name string
	Size int64
}

// Files is a spool's directory: all that a Log asks of the system goes through it, so that tests can make any
// of it fail, or be the last thing that happens. Names have no slashes.
type Files interface {
	// List names the files in any order.
	List() ([]Entry, error)
	// Create makes a file that is not there yet.
	Create(name string) (File, error)
	// Open opens a file for reading and writing.
	Open(name string) (File, error)
	// Rename gives a file another name, which may be taken: that file is gone then.
	Rename(from, to string) error
	Remove(name string) error
	// Sync returns when names that were made, changed and removed have reached the disk.
	Sync() error
	// Close gives the directory free for others.
	Close() error
}

// Directory is Files on disk.
type Directory struct {
	path string
	lock *os.File
}

// OpenDirectory makes the directory if need be and takes its lock. The error is ErrHeld if another process
// has it; the lock ends with the process however that ends.
func OpenDirectory(path string) (*Directory, error) {
	if err := os.MkdirAll(path, 0o750); err != nil {
		return nil, fmt.Errorf("make spool directory: %w", err)
	}
	return lockDirectory(path, os.O_RDWR|os.O_CREATE)
}

// OpenExisting is OpenDirectory for a spool that must be there already.
func OpenExisting(path string) (*Directory, error) { return lockDirectory(path, os.O_RDWR) }

func lockDirectory(path string, flags int) (*Directory, error) {
	lock, err := os.OpenFile(filepath.Join(path, lockName), flags, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open spool's lock: %w", err)
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrHeld
		}
		return nil, fmt.Errorf("lock %q: %w", path, err)
	}
	return &Directory{path: path, lock: lock}, nil
}

// Path is the directory's.
func (d *Directory) Path() string { return d.path }

// List names the files.
func (d *Directory) List() ([]Entry, error) {
	names, err := os.ReadDir(d.path)
	if err != nil {
		return nil, fmt.Errorf("list spool: %w", err)
	}
	entries := make([]Entry, 0, len(names))
	for _, name := range names {
		state, err := name.Info()
		if err != nil || !state.Mode().IsRegular() {
			continue // gone meanwhile, or nothing of ours
		}
		entries = append(entries, Entry{Name: name.Name(), Size: state.Size()})
	}
	return entries, nil
}

// Create makes a file.
func (d *Directory) Create(name string) (File, error) {
	return d.openFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

// Open opens a file.
func (d *Directory) Open(name string) (File, error) { return d.openFile(name, os.O_RDWR) }

func (d *Directory) openFile(name string, flags int) (File, error) {
	file, err := os.OpenFile(filepath.Join(d.path, name), flags|unix.O_CLOEXEC, 0o640)
	if err != nil {
		return nil, err // a nil *os.File is no nil File
	}
	return file, nil
}

// Rename gives a file another name.
func (d *Directory) Rename(from, to string) error {
	return os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to))
}

// Remove unlinks a file.
func (d *Directory) Remove(name string) error { return os.Remove(filepath.Join(d.path, name)) }

// Sync makes names durable.
func (d *Directory) Sync() error {
	directory, err := os.Open(d.path)
	if err != nil {
		return err
	}
	err = directory.Sync()
	return errors.Join(err, directory.Close())
}

// Close lets go of the lock.
func (d *Directory) Close() error {
	if d.lock == nil {
		return nil
	}
	err := d.lock.Close()
	d.lock = nil
	return err
}
