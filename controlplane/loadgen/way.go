package loadgen

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// The words of Config.Via.
const (
	ViaAuto   = "auto"
	ViaSocket = "socket"
	ViaXDP    = "xdp"
	ViaLive   = "live"
)

// way brings packets to the receiver. It belongs to the thread that opened it.
type way interface {
	// send gives packets of one flow to the kernel, at most burstMax, and returns how many of the first it
	// took. Their bytes are the caller's again when it returns. An errno says why it took no more.
	send(flow int, packets [][]byte) (taken int, errno unix.Errno)
	// flush waits until what was taken has left, and ends with what the kernel said of it.
	flush() error
	// mode says how it sends at the moment.
	mode() mode
	close() error
}

// mode is how a way sends: its word, a text for people, and whether the card reads the packets where we wrote
// them.
type mode struct {
	via, text string
	zeroCopy  bool
}

// openWay opens the configured way. Auto is the sockets, which need no privilege, unless there is an
// interface whose driver sends without copying.
func openWay(r *resolved) (way, error) {
	switch r.Via {
	case ViaXDP:
		return openXDP(r, false)
	case ViaLive:
		return openLive(r)
	case ViaAuto:
		if r.Interface == "" {
			break
		}
		if w, err := openXDP(r, true); err == nil {
			return w, nil
		}
	}
	return openSockets(r)
}

// pause waits a moment before what the kernel refused is tried again.
func pause() {
	time := unix.NsecToTimespec(int64(refusedPause))
	_ = unix.Nanosleep(&time, nil)
}

// checkVia finds wrong words and combinations.
func (c *Config) checkVia() error {
	switch c.Via {
	case ViaAuto, ViaSocket:
	case ViaXDP, ViaLive:
		for _, to := range c.To {
			if to.Addr().Unmap().IsMulticast() && c.ToMAC == nil {
				return fmt.Errorf("receiver %v is a group: say which hardware address it has", to)
			}
		}
		return nil
	default:
		return fmt.Errorf("way %q, want %s, %s, %s or %s", c.Via, ViaAuto, ViaSocket, ViaXDP, ViaLive)
	}
	if c.ToMAC != nil || c.NoChecksum {
		return fmt.Errorf("the way %q leaves hardware addresses and checksums to the kernel", c.Via)
	}
	return nil
}
