package nic

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

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
