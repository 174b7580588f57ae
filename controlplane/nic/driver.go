package nic

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// BusyPolls tells whether a driver is known to do well with busy polling of AF_XDP sockets: it tells the
// sockets which of its NAPI instances is theirs, and keeps its interrupts masked meanwhile. Not among them
// are ixgbe, which spins for ever in kernels of 2024 and 2025, and those that nobody has reported on.
func BusyPolls(driver string) bool {
	switch driver {
	case "i40e", "ice", "mlx5_core", "veth", "virtio_net":
		return true
	}
	return false
}

// Driver is the name of an interface's driver, "" where it has none, such as loopback.
func Driver(iface string) (string, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("open a socket to ask for drivers: %w", err)
	}
	defer unix.Close(socket)
	answer, err := unix.IoctlGetEthtoolDrvinfo(socket, iface)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("ask for the driver of %q: %w", iface, err)
	}
	return unix.ByteSliceToString(answer.Driver[:]), nil
}
