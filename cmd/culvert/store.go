package main

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/sys/unix"

	"culvert/controlplane/config"
)

// keptName begins the names under which systemd keeps the listeners' kernel sockets while the service starts
// anew (FileDescriptorStoreMax= in the unit); the port follows. What comes in between waits in them.
const keptName = "listener-"

// notifyVariable, in the environment, is where systemd listens (sd_notify(3)).
const notifyVariable = "NOTIFY_SOCKET"

// keptSockets are the sockets that systemd has kept and that the configuration has a listener for, by port.
// The others are given back to the system, here and by systemd.
func keptSockets(c *config.Config, log *slog.Logger) map[uint16]int {
	wanted := map[string]uint16{}
	for i := range c.Listeners {
		port := uint16(c.Listeners[i].Port)
		wanted[keptName+strconv.Itoa(int(port))] = port
	}
	kept := map[uint16]int{}
	for _, file := range activation.Files(true) {
		port, found := wanted[file.Name()]
		if found && kept[port] == 0 {
			// The gateway takes a descriptor of its own: closing this one also stops Go's poller.
			fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
			if err == nil {
				kept[port] = fd
			}
		} else if strings.HasPrefix(file.Name(), keptName) {
			if err := tellSystemd("FDSTOREREMOVE=1\nFDNAME="+file.Name(), nil); err != nil {
				log.Warn("a socket of a listener that is no more is still kept", "name", file.Name(),
					"error", err)
			}
		}
		file.Close()
	}
	return kept
}

// keepSocket asks systemd, where it is there, to keep a listener's kernel socket for the next process, and
// tells whether it was asked. One whose unit keeps none closes it with the last process.
func keepSocket(port uint16, fd int, log *slog.Logger) bool {
	if os.Getenv(notifyVariable) == "" {
		return false
	}
	// Not polled: an error on it is for the gateway to read, and no reason to drop it.
	state := fmt.Sprintf("FDSTORE=1\nFDNAME=%s%d\nFDPOLL=0", keptName, port)
	if err := tellSystemd(state, []int{fd}); err != nil {
		log.Warn("the listener's socket is not kept over a restart", "port", port, "error", err)
		return false
	}
	return true
}

// tellSystemd sends a message with descriptors to the service manager, where one is there.
func tellSystemd(state string, fds []int) error {
	path := os.Getenv(notifyVariable)
	if path == "" {
		return nil
	}
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open socket to systemd: %w", err)
	}
	defer unix.Close(socket)
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	if err := unix.Sendmsg(socket, []byte(state), rights, &unix.SockaddrUnix{Name: path}, 0); err != nil {
		return fmt.Errorf("tell systemd: %w", err)
	}
	return nil
}
