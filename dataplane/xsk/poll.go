package xsk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// SetBusyPoll lets Poll run the driver's receive path, at most so many packets and microseconds at a time,
// and asks the kernel to leave the queue's interrupts masked as long as it is called (napi_defer_hard_irqs
// and gro_flush_timeout of the interface say for how long). It takes CAP_NET_ADMIN.
func (s *Socket) SetBusyPoll(budget, usecs int) error {
	for _, option := range []struct {
		name        string
		key, number int
	}{
		{"SO_PREFER_BUSY_POLL", unix.SO_PREFER_BUSY_POLL, 1},
		{"SO_BUSY_POLL", unix.SO_BUSY_POLL, usecs},
		{"SO_BUSY_POLL_BUDGET", unix.SO_BUSY_POLL_BUDGET, budget},
	} {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, option.key, option.number); err != nil {
			return fmt.Errorf("set %s to %d: %w", option.name, option.number, err)
		}
	}
	return nil
}

// EndBusyPoll gives the queue back to its interrupts.
func (s *Socket) EndBusyPoll() error {
	for _, option := range []int{unix.SO_PREFER_BUSY_POLL, unix.SO_BUSY_POLL} {
		if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, option, 0); err != nil {
			return fmt.Errorf("end busy polling: %w", err)
		}
	}
	return nil
}

// Poll runs the driver's receive path on this CPU, after SetBusyPoll. In copy mode the kernel knows what to
// run from the first packet on, which comes by an interrupt.
func (s *Socket) Poll() {
	// What is wrong with the socket Wakeup finds, too.
	_ = poll(s.fd)
}

// Waiting is how many descriptors lie in the RX ring now. The kernel may add some meanwhile.
func (s *Socket) Waiting() int { return s.rx.Held() }
