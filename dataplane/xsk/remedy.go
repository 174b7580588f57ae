package xsk

import (
	"errors"

	"golang.org/x/sys/unix"
)

// socketRemedy says what to do about a socket that could not be made.
func socketRemedy(err error) string {
	switch {
	case errors.Is(err, unix.EPERM):
		return ": AF_XDP takes CAP_NET_RAW"
	case errors.Is(err, unix.EAFNOSUPPORT):
		return ": this kernel was built without CONFIG_XDP_SOCKETS"
	default:
		return ""
	}
}

// umemRemedy says what to do about memory that the kernel does not pin.
func umemRemedy(err error) string {
	switch {
	case errors.Is(err, unix.ENOBUFS):
		return ": raise RLIMIT_MEMLOCK (systemd: LimitMEMLOCK=infinity) or give CAP_IPC_LOCK"
	case errors.Is(err, unix.ENOMEM):
		return ": the kernel has too little memory to pin it; use fewer frames"
	default:
		return ""
	}
}

// bindRemedy says what to do about a queue that could not be taken.
func bindRemedy(err error, config *Config) string {
	mode := config.Mode
	switch {
	case errors.Is(err, unix.EBUSY):
		return ": another AF_XDP socket holds this queue, of a gateway or tool: `ss --xdp -p` lists them"
	case errors.Is(err, unix.ENETDOWN):
		return ": the interface is down: set it up with `ip link set dev … up`"
	case errors.Is(err, unix.ENODEV):
		return ": there is no such interface in this network namespace"
	case errors.Is(err, unix.EOPNOTSUPP) && mode == ZeroCopy && config.Segments:
		return ": the driver has no zero copy, or none of packets longer than a frame: use mode auto or " +
			"native, or lower the MTU to what a frame holds"
	case errors.Is(err, unix.EOPNOTSUPP) && mode == ZeroCopy:
		return ": the driver has no zero copy: use mode auto or native"
	case errors.Is(err, unix.EINVAL) && mode == ZeroCopy:
		return ": the interface has no such queue, or its driver refuses zero copy on it " +
			"(an MTU that does not fit into a frame, a virtio device without iommu_platform=on): " +
			"see `ethtool -l` and `ip link`, or use mode auto or native"
	case errors.Is(err, unix.EINVAL) && config.Segments:
		return ": packets longer than a frame take Linux 6.6: lower the MTU to what a frame holds"
	case errors.Is(err, unix.EINVAL):
		return ": the interface has no such queue: `ethtool -l` counts them"
	default:
		return ""
	}
}
