package dataplane

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Waker gets a sleeping worker out of its wait. The eventfd is written only when the worker sleeps, so that
// handing something to a busy worker costs one load.
type Waker struct {
	fd       int
	sleeping atomic.Bool
	// closing keeps the descriptor open while somebody writes to it: its number may be another file's
	// afterwards. Those who wake do not wait for each other, only for Close.
	closing sync.RWMutex
}

// NewWaker opens the eventfd.
func NewWaker() (*Waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open eventfd: %w", err)
	}
	return &Waker{fd: fd}, nil
}

// Wake is called by others after they have published what the worker shall see. The store of sleeping and the
// check of what is there on the worker's side pair with that publication and this load: one of the two sides
// sees the other (both are sequentially consistent).
func (w *Waker) Wake() {
	if !w.sleeping.Load() {
		return
	}
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	w.closing.RLock()
	if w.fd >= 0 {
		// The only failure is a counter at its maximum, and then the worker is being woken already.
		_, _ = unix.Write(w.fd, one[:])
	}
	w.closing.RUnlock()
}

// clear takes the wake-ups that came, so that the next wait sleeps.
func (w *Waker) clear() {
	var count [8]byte
	_, _ = unix.Read(w.fd, count[:])
}

// Close closes the eventfd; a Wake that comes later does nothing. The worker has ended.
func (w *Waker) Close() error {
	w.closing.Lock()
	defer w.closing.Unlock()
	if w.fd < 0 {
		return nil
	}
	err := unix.Close(w.fd)
	w.fd = -1
	return err
}
