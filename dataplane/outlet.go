package dataplane

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"culvert/dataplane/rules"
	"culvert/dataplane/spsc"
)

// alertSlots is how many state changes wait for the notifiers before the rules hold them back themselves.
const alertSlots = 1024

// Alerts is the way of state changes from one worker to the control plane.
type Alerts struct {
	Ring *spsc.Ring[rules.Transition]
	file *os.File // an eventfd in Go's netpoller, so that waiting for it costs no thread
	fd   int
}

// NewAlerts makes the ring and its eventfd.
func NewAlerts() (*Alerts, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("open eventfd: %w", err)
	}
	return &Alerts{
		Ring: spsc.New[rules.Transition](alertSlots), file: os.NewFile(uintptr(fd), "alerts"), fd: fd,
	}, nil
}

func (a *Alerts) signal() {
	var one [8]byte
	binary.NativeEndian.PutUint64(one[:], 1)
	_, _ = unix.Write(a.fd, one[:])
}

// Wait blocks until there may be something in the ring. It returns an error once the Alerts are closed.
func (a *Alerts) Wait() error {
	var count [8]byte
	if _, err := a.file.Read(count[:]); err != nil {
		return fmt.Errorf("wait for alerts: %w", err)
	}
	return nil
}

// Close ends Wait. The worker must have ended.
func (a *Alerts) Close() error { return a.file.Close() }
