package xsk

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Wakeup tells the kernel about frames to receive into and packets to send, but only where it asked to be
// told: otherwise it is two loads. It is called after Free and Transmit, and while nothing comes, since the
// kernel may ask later than we look. What passes by itself (the interface is down, the driver is busy) is no
// error: the kernel goes on asking, and the next call tells it again. An error means that the socket is of no
// use any more.
func (s *Socket) Wakeup() error {
	if s.receives && s.fill.NeedWakeup() {
		if errno := wakeReceive(s.fd); errno != 0 && !passes(errno) {
			return fmt.Errorf("wake the kernel to receive: %w", errno)
		}
	}
	if s.wantsSend() && s.tx.NeedWakeup() {
		if errno := wakeTransmit(s.fd); errno != 0 && !passes(errno) {
			return fmt.Errorf("wake the kernel to send: %w", errno)
		}
	}
	return nil
}

// wantsSend tells whether a wake-up for sending may have an effect. In copy mode the call itself sends what
// the kernel has not taken yet, at most 32 packets (TX_BATCH_SIZE, net/xdp/xsk.c); completions come by
// themselves. In zero-copy mode the driver may need it to look for completions too.
func (s *Socket) wantsSend() bool {
	if s.frames.transmitting == 0 {
		return false
	}
	return s.zeroCopy || s.tx.Held() > 0
}

// Check asks the kernel whether packets can still come: nil; ENETDOWN while the interface is down, after
// which the socket goes on; ENXIO when the interface is gone and the socket of no use any more. It is for a
// worker that sees nothing for a long time, since poll reports neither (xsk_poll, net/xdp/xsk.c, answers with
// the rings alone).
func (s *Socket) Check() error {
	if errno := wakeReceive(s.fd); errno != 0 && errno != unix.EAGAIN && errno != unix.EBUSY {
		return fmt.Errorf("check AF_XDP socket: %w", errno)
	}
	return nil
}

// CheckSend asks the driver whether packets leave by it without a copy: EINVAL or ENXIO where it takes an XDP
// program on the interface for that, which it does not ask for when the socket is bound (ixgbe_xsk_wakeup,
// drivers/net/ethernet/intel/ixgbe/ixgbe_xsk.c; i40e, igb and igc likewise).
func (s *Socket) CheckSend() error {
	if errno := wakeTransmit(s.fd); errno != 0 && !passes(errno) {
		return fmt.Errorf("wake the kernel to send: %w", errno)
	}
	return nil
}

// NeedsWakeup tells whether the kernel asks to be told of new frames at the moment.
func (s *Socket) NeedsWakeup() bool { return s.receives && s.fill.NeedWakeup() }

// passes tells whether an error of a wake-up goes away by itself: a driver without room, a queue being
// changed, an interface that is down, a signal. ENXIO is not among them: the interface is gone.
func passes(errno unix.Errno) bool {
	switch errno {
	case unix.EAGAIN, unix.EBUSY, unix.ENOBUFS, unix.ENETDOWN, unix.EINTR:
		return true
	default:
		return false
	}
}
