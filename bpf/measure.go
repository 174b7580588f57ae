package bpf

import (
	"errors"
	"fmt"
	"math/bits"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// Measured is everything the probes measured since they were opened. It is its reader's own.
type Measured struct {
	// Runqueue is how long workers' threads that could run waited for a CPU.
	Runqueue Histogram
	// NAPIPoll is how long polls took that our interfaces were polled in, Softirq the whole NET_RX softirqs
	// around them.
	NAPIPoll, Softirq Histogram
	// IOUring is submit → complete of the workers' requests by opcode; those never used are left out.
	IOUring map[uint8]*Histogram
	// TCPConnect is SYN sent → established, and TCPRTT the kernel's smoothed round trip time at each segment
	// that came in, of connections to the sinks.
	TCPConnect, TCPRTT Histogram
	TCPRetransmits     uint64
	// NAPI has each interface that was watched.
	NAPI map[string]NAPICounts
	// RedirectErrors, XDPExceptions and PacketDrops count by interface and by errno, action and drop reason.
	RedirectErrors, XDPExceptions, PacketDrops map[InterfaceEvent]uint64
}

// NAPICounts is what NAPI did for one interface.
type NAPICounts struct {
	Polls, Packets uint64
	// Exhausted are polls that used their whole budget, so that packets were left.
	Exhausted uint64
}

// InterfaceEvent is something that happened on an interface: the errno's name, the XDP action in lower case,
// or the kernel's drop reason in lower case.
type InterfaceEvent struct{ Interface, What string }

// redirectErrnos are what the kernel answers when it can't give a packet to an AF_XDP socket: no frame, no
// slot, no socket, a packet that is too long, or in pieces for a socket that takes none (net/xdp/xsk.c,
// net/core/filter.c).
var redirectErrnos = [...]unix.Errno{unix.ENOMEM, unix.ENOBUFS, unix.ENXIO, unix.EINVAL, unix.ENOSPC,
	unix.EOPNOTSUPP}

// plainDrops are the kernel's reasons that drop datagrams of senders on their common ways: shown from the
// start, so that the first one is an increase. There are some hundred more.
var plainDrops = [...]string{"no_socket", "socket_rcvbuff", "socket_filter", "udp_csum", "ip_csum",
	"ip_inhdr", "netfilter_drop", "cpu_backlog", "full_ring", "not_specified", "nomem", "proto_mem"}

func knownErrnos() (names []string) {
	for _, errno := range redirectErrnos {
		names = append(names, unix.ErrnoName(errno))
	}
	return names
}

// knownDrops are those of plainDrops that the kernel has.
func knownDrops(reasons map[uint32]string) (names []string) {
	for _, name := range reasons {
		if slices.Contains(plainDrops[:], name) {
			names = append(names, name)
		}
	}
	return names
}

// xdpActions are the names of enum xdp_action (include/uapi/linux/bpf.h).
var xdpActions = [...]string{"aborted", "drop", "pass", "tx", "redirect"}

const (
	dropPrefix     = "SKB_DROP_REASON_"
	consumedReason = "skb_consumed"
	// otherEvent is a code that the kernel's BTF has no name for, as those of modules.
	otherEvent = "other"
)

// dropReasons reads the kernel's names of drop reasons. They differ between versions, in number too.
func dropReasons(kernel *btf.Spec) map[uint32]string {
	names := map[uint32]string{}
	var reasons *btf.Enum
	if err := kernel.TypeByName("skb_drop_reason", &reasons); err != nil {
		return names
	}
	for _, v := range reasons.Values {
		names[uint32(v.Value)] = strings.ToLower(strings.TrimPrefix(v.Name, dropPrefix))
	}
	return names
}

// Read reads all maps. Each copy of a histogram is read while its CPU writes: counts of one moment are there
// or not, and the sum may be one value ahead or behind.
func (p *Probes) Read() (*Measured, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, fmt.Errorf("read probes: %w", os.ErrClosed)
	}
	m := &Measured{IOUring: map[uint8]*Histogram{}, NAPI: map[string]NAPICounts{}}
	for _, one := range []struct {
		from *ebpf.Map
		to   *Histogram
	}{
		{p.maps.RunqueueSeconds, &m.Runqueue}, {p.maps.NapiPollSeconds, &m.NAPIPoll},
		{p.maps.SoftirqSeconds, &m.Softirq}, {p.maps.TcpConnectSeconds, &m.TCPConnect},
		{p.maps.TcpRttSeconds, &m.TCPRTT},
	} {
		if err := readHistogram(one.from, 0, one.to); err != nil {
			return nil, err
		}
	}
	if err := p.readRequests(m.IOUring); err != nil {
		return nil, err
	}
	var retransmits []uint64
	if err := p.maps.RetransmitsTotal.Lookup(uint32(0), &retransmits); err != nil {
		return nil, fmt.Errorf("read retransmits: %w", err)
	}
	m.TCPRetransmits = total(retransmits)
	if err := p.readNAPI(m.NAPI); err != nil {
		return nil, err
	}
	var errs [3]error
	m.RedirectErrors, errs[0] = p.readEvents(p.maps.RedirectErrorsTotal, errnoName, p.named.errnos)
	m.XDPExceptions, errs[1] = p.readEvents(p.maps.XdpExceptionsTotal, actionName, xdpActions[:])
	m.PacketDrops, errs[2] = p.readEvents(p.maps.PacketDropsTotal, p.dropName, p.named.drops)
	return m, errors.Join(errs[:]...)
}

func readHistogram(from *ebpf.Map, index uint32, to *Histogram) error {
	var perCPU []probeHistogram
	if err := from.Lookup(index, &perCPU); err != nil {
		return fmt.Errorf("read histogram %d of %s: %w", index, from, err)
	}
	for i := range perCPU {
		to.add(&perCPU[i])
	}
	return nil
}

// readRequests reads the histograms of the opcodes that came at all: of 64 these are a handful, and each has
// a copy for each CPU.
func (p *Probes) readRequests(to map[uint8]*Histogram) error {
	var seen uint64
	if err := p.rest.Variables["opcodes_seen"].Get(&seen); err != nil {
		return fmt.Errorf("read which opcodes were seen: %w", err)
	}
	for ; seen != 0; seen &= seen - 1 {
		opcode, h := bits.TrailingZeros64(seen), new(Histogram)
		if err := readHistogram(p.maps.IoUringSeconds, uint32(opcode), h); err != nil {
			return err
		}
		to[uint8(opcode)] = h
	}
	return nil
}

func (p *Probes) readNAPI(to map[string]NAPICounts) error {
	for index, name := range p.interfaces {
		var perCPU []probeNapiCounts
		if err := p.maps.NapiTotal.Lookup(uint32(index), &perCPU); err != nil {
			return fmt.Errorf("read polls of %q: %w", name, err)
		}
		var sum NAPICounts
		for _, c := range perCPU {
			sum.Polls += c.Polls
			sum.Packets += c.Packets
			sum.Exhausted += c.Exhausted
		}
		to[name] = sum
	}
	return nil
}

// readEvents reads counters by interface and code, those of the known names even where nothing has happened.
// Codes that share a name are added up.
func (p *Probes) readEvents(from *ebpf.Map, name func(uint32) string, known []string) (
	map[InterfaceEvent]uint64, error) {
	events := map[InterfaceEvent]uint64{}
	for _, at := range p.interfaces {
		for _, what := range known {
			events[InterfaceEvent{at, what}] = 0
		}
	}
	var key probeCodeKey
	var perCPU []uint64
	all := from.Iterate()
	for all.Next(&key, &perCPU) {
		if int(key.Interface) < len(p.interfaces) {
			events[InterfaceEvent{p.interfaces[key.Interface], name(key.Code)}] += total(perCPU)
		}
	}
	if err := all.Err(); err != nil {
		return nil, fmt.Errorf("read counters of %s: %w", from, err)
	}
	return events, nil
}

func errnoName(code uint32) string {
	if name := unix.ErrnoName(unix.Errno(code)); name != "" {
		return name
	}
	return otherEvent
}

func actionName(code uint32) string {
	if int(code) < len(xdpActions) {
		return xdpActions[code]
	}
	// A program that returned nonsense; there are 2³² kinds of it.
	return otherEvent
}

func (p *Probes) dropName(code uint32) string {
	if name := p.dropReasons[code]; name != "" {
		return name
	}
	return otherEvent
}

func total(perCPU []uint64) (sum uint64) {
	for _, n := range perCPU {
		sum += n
	}
	return sum
}

// OpcodeName is the name of an io_uring opcode that the gateway uses, as liburing has it, in lower case; of
// others the number.
func OpcodeName(opcode uint8) string {
	// enum io_uring_op, include/uapi/linux/io_uring.h.
	names := map[uint8]string{
		0: "nop", 6: "poll_add", 7: "poll_remove", 9: "sendmsg", 10: "recvmsg", 11: "timeout",
		12: "timeout_remove", 14: "async_cancel", 15: "link_timeout", 16: "connect", 19: "close", 22: "read",
		26: "send", 27: "recv", 45: "socket", 47: "send_zc", 48: "sendmsg_zc",
	}
	if name := names[opcode]; name != "" {
		return name
	}
	return strconv.Itoa(int(opcode))
}
