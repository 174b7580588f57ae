package nic

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
)

// Of the family "netdev" (linux/netdev.h): queues and the NAPI instances that serve them, since Linux 6.8,
// and what each instance is set to, since 6.13.
const (
	netdevFamily = "netdev"

	messageQueueGet = 10 // NETDEV_CMD_…
	messageNAPIGet  = 11
	messageNAPISet  = 14

	queueID, queueInterface, queueType, queueNAPI = 1, 2, 3, 4 // NETDEV_A_QUEUE_…
	queueReceives                                 = 0          // NETDEV_QUEUE_TYPE_RX

	napiID, napiDeferrals, napiFlush = 2, 5, 6 // NETDEV_A_NAPI_…
)

// Deferral is how long one NAPI instance, and so one queue, goes without interrupts: so many polls may find
// nothing before they are unmasked, and so many nanoseconds the kernel waits for the next poll until it polls
// itself.
type Deferral struct {
	Deferrals    uint32
	FlushTimeout uint64 // nanoseconds
}

// PollDeferral is what a queue needs whose worker polls it: its interrupts stay masked while the worker
// polls, and a packet that comes while it sleeps waits for a fifth of a millisecond at most, as in the
// kernel's own example (Documentation/networking/napi.rst).
func PollDeferral() Deferral { return Deferral{Deferrals: 2, FlushTimeout: 200_000} }

// DeviceDeferral is what an interface is set to as a whole, which its NAPI instances begin with; 0 where that
// cannot be read.
func DeviceDeferral(root, iface string) (d Deferral) {
	read := func(name string) uint64 {
		text, err := os.ReadFile(filepath.Join(root, "sys/class/net", iface, name))
		if err != nil {
			return 0
		}
		n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			return 0
		}
		return n
	}
	return Deferral{Deferrals: uint32(read("napi_defer_hard_irqs")), FlushTimeout: read("gro_flush_timeout")}
}

// DefersByQueue tells whether each queue's interrupts can be deferred alone: the kernel has the settings, and
// the driver tells which NAPI instance serves which queue.
func DefersByQueue(index int) bool {
	napi, err := QueueNAPI(index, 0)
	if err == nil {
		_, err = AskDeferral(napi)
	}
	return err == nil
}

// QueueNAPI is the number of the NAPI instance that serves a receive queue. ErrNotOffered: the kernel is
// older than 6.8, or the driver does not tell.
func QueueNAPI(index, queue int) (uint32, error) {
	answer, err := netdev(messageQueueGet, nl.NewRtAttr(queueID, nl.Uint32Attr(uint32(queue))),
		nl.NewRtAttr(queueInterface, nl.Uint32Attr(uint32(index))),
		nl.NewRtAttr(queueType, nl.Uint32Attr(queueReceives)))
	if err != nil {
		return 0, fmt.Errorf("ask which NAPI serves queue %d: %w", queue, err)
	}
	if id := answer[queueNAPI].Value; len(id) >= 4 {
		return binary.NativeEndian.Uint32(id), nil
	}
	return 0, fmt.Errorf("ask which NAPI serves queue %d: %w", queue, ErrNotOffered)
}

// AskDeferral is what a NAPI instance is set to. ErrNotOffered: the kernel is older than 6.13, and has
// settings of whole interfaces only.
func AskDeferral(napi uint32) (Deferral, error) {
	answer, err := netdev(messageNAPIGet, nl.NewRtAttr(napiID, nl.Uint32Attr(napi)))
	if err != nil {
		return Deferral{}, fmt.Errorf("ask what NAPI %d is set to: %w", napi, err)
	}
	deferrals, known := unsigned(answer[napiDeferrals].Value)
	flush, alsoKnown := unsigned(answer[napiFlush].Value)
	if !known || !alsoKnown {
		return Deferral{}, fmt.Errorf("ask what NAPI %d is set to: %w", napi, ErrNotOffered)
	}
	return Deferral{Deferrals: uint32(deferrals), FlushTimeout: flush}, nil
}

// SetDeferral sets a NAPI instance, until it is made anew: some drivers do that when their link is reset. It
// takes CAP_NET_ADMIN.
func SetDeferral(napi uint32, d Deferral) error {
	_, err := netdev(messageNAPISet, nl.NewRtAttr(napiID, nl.Uint32Attr(napi)),
		nl.NewRtAttr(napiDeferrals, nl.Uint32Attr(d.Deferrals)),
		nl.NewRtAttr(napiFlush, nl.Uint64Attr(d.FlushTimeout)))
	if err != nil {
		return fmt.Errorf("set NAPI %d: %w", napi, err)
	}
	return nil
}

// unsigned reads a number of the length that the kernel found it to need.
func unsigned(value []byte) (n uint64, known bool) {
	switch len(value) {
	case 4:
		return uint64(binary.NativeEndian.Uint32(value)), true
	case 8:
		return binary.NativeEndian.Uint64(value), true
	}
	return 0, false
}

// netdev sends one message to the family and returns the attributes of the answer, nil where there was none.
func netdev(message uint8, attributes ...*nl.RtAttr) (map[uint16]syscall.NetlinkRouteAttr, error) {
	family, err := netlink.GenlFamilyGet(netdevFamily)
	if err != nil {
		return nil, ErrNotOffered // The kernel does not know the family.
	}
	return exchange(family, message, message == messageNAPISet, attributes)
}
