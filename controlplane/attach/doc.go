// Package attach puts the steering program on an interface and takes it off again, and watches the interface.
//
// There are two ways to be attached. Without preparation the gateway holds its link by a file descriptor: the
// program vanishes with the process, however it ends. After `culvert attach` the link is pinned in the BPF
// file system: the gateway adopts it, changes its program for a fresh one at one instant, and leaves it in
// place with steering off when it goes; if it is killed, its sockets vanish and the packets pass to the
// kernel.
//
//	/sys/fs/bpf/culvert/v1/<interface>/link    the pinned link; the directory is locked (flock) while in use
//
// Pins are seen through the mount at /sys/fs/bpf. `ip netns exec` mounts /sys anew for the command it runs,
// so that pins made inside are invisible outside and gone afterwards: enter a network namespace by `nsenter
// --net=/run/netns/NAME` instead.
//
// All functions look at the network namespace of the calling thread, by netlink and ethtool, never by /sys,
// which shows the namespace that was current when it was mounted.
//
// Nobody else's program is ever replaced or removed.
package attach
