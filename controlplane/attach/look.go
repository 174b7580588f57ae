package attach

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"culvert/controlplane/nic"
)

// State is how an interface is at one moment.
type State struct {
	Present   bool
	Name      string // another than it was asked for by, where that is an alternative one
	Index     int    // another one after the interface went and came back
	Up        bool
	Carrier   bool // it is up and its link works
	MAC       [6]byte
	MTU       int
	RXQueues  int // now in use
	QueuesMax int // that it can ever have while it exists
	// Addresses are its own, of both families, link-local ones included; sorted.
	Addresses []netip.Addr
	Below     Below // what its packets come by

	program program
}

// Occupied tells whether there is an XDP program on the interface, whoever's.
func (s State) Occupied() bool { return s.program.id != 0 || s.program.mode != 0 }

// program is what XDP says about the interface.
type program struct {
	id   uint32 // 0: none
	mode uint32 // XDP_ATTACHED_… of linux/if_link.h
}

// lookout reads an interface's state in the network namespace of the thread that made it, from any goroutine.
type lookout struct {
	name   string
	route  *netlink.Handle
	socket int // for ethtool
}

func newLookout(name string) (*lookout, error) {
	route, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket: %w", err)
	}
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		route.Close()
		return nil, fmt.Errorf("open socket for ethtool: %w", err)
	}
	return &lookout{name: name, route: route, socket: socket}, nil
}

func (l *lookout) close() {
	l.route.Close()
	unix.Close(l.socket)
}

// Look reads an interface's state. One that is not there is no error: its State is not Present.
func Look(name string) (State, error) {
	l, err := newLookout(name)
	if err != nil {
		return State{}, err
	}
	defer l.close()
	return l.look()
}

func (l *lookout) look() (State, error) {
	found, err := l.route.LinkByName(l.name)
	var absent netlink.LinkNotFoundError
	if errors.As(err, &absent) || errors.Is(err, unix.ENODEV) {
		return State{}, nil
	}
	if err != nil {
		return State{}, fmt.Errorf("find interface %q: %w", l.name, err)
	}
	attributes := found.Attrs()
	// LinkByName also answers to alternative names; ethtool and the pins know only the one.
	state := State{
		Present: true, Name: attributes.Name, Index: attributes.Index, MTU: attributes.MTU,
		QueuesMax: max(attributes.NumRxQueues, 1),
		Up:        attributes.Flags&net.FlagUp != 0,
		Carrier:   attributes.Flags&net.FlagUp != 0 && attributes.RawFlags&unix.IFF_LOWER_UP != 0,
	}
	copy(state.MAC[:], attributes.HardwareAddr)
	if xdp := attributes.Xdp; xdp != nil && xdp.Attached {
		state.program = program{id: xdp.ProgId, mode: xdp.AttachMode}
	}
	// Software interfaces such as loopback have no driver to ask: what was allocated is in use.
	state.RXQueues, err = nic.ReceiveQueues(l.socket, attributes.Name)
	if err != nil || state.RXQueues == 0 {
		state.RXQueues = state.QueuesMax
	}
	state.QueuesMax = max(state.QueuesMax, state.RXQueues)
	state.Addresses, err = l.addresses(found)
	if err == nil {
		state.Below, err = l.below(found)
	}
	if errors.Is(err, unix.ENODEV) {
		return State{}, nil // It went between the questions.
	}
	return state, err
}

func (l *lookout) addresses(of netlink.Link) ([]netip.Addr, error) {
	list, err := whole(func() ([]netlink.Addr, error) { return l.route.AddrList(of, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("list addresses of %q: %w", l.name, err)
	}
	addresses := make([]netip.Addr, 0, len(list))
	for _, entry := range list {
		address, ok := netip.AddrFromSlice(entry.IP)
		// The kernel answers nobody on an address that turned out to be another host's.
		if ok && entry.Flags&unix.IFA_F_DADFAILED == 0 {
			addresses = append(addresses, address.Unmap())
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	return slices.Compact(addresses), nil
}

// driver is the name of the interface's driver, or "" where it has none.
func (l *lookout) driver() string { return driverOf(l.socket, l.name) }

func driverOf(socket int, name string) string {
	answer, err := unix.IoctlGetEthtoolDrvinfo(socket, name)
	if err != nil {
		return ""
	}
	return unix.ByteSliceToString(answer.Driver[:])
}
