package attach

import (
	"errors"
	"fmt"
	"slices"

	"github.com/vishvananda/netlink"
)

// Below is what an interface's packets come by, where that is not itself. Such an interface puts its program
// on those below it and says that it has native XDP; but a packet's interface and queue are theirs then, and
// AF_XDP gives it to a socket of these or to none (xsk_rcv_check, net/xdp/xsk.c): all that is for the gateway
// would be lost. In generic mode the program runs behind that, on the interface itself.
type Below uint8

// What packets come by.
const (
	Itself  Below = iota
	Members       // a bond's
	// Function is the virtual function that a Hyper-V host lends a virtual machine's card (accelerated
	// networking). It takes it away and gives it back as it likes, when it is serviced or moves the machine.
	Function
)

// netvscDriver is what the driver of Hyper-V's cards calls itself. It hands its program down to the function:
// netvsc_vf_setxdp, drivers/net/hyperv/netvsc_bpf.c.
const netvscDriver = "hv_netvsc"

// below finds out what an interface's packets come by.
func (l *lookout) below(found netlink.Link) (Below, error) {
	if found.Type() == "bond" {
		return Members, nil
	}
	if driverOf(l.socket, found.Attrs().Name) != netvscDriver {
		return Itself, nil
	}
	links, err := whole(l.route.LinkList)
	if err != nil {
		return Itself, fmt.Errorf("list the interfaces below %q: %w", l.name, err)
	}
	if mastered(links, found.Attrs().Index) {
		return Function, nil
	}
	return Itself, nil
}

// mastered tells whether one of the interfaces belongs to the one of this index.
func mastered(links []netlink.Link, index int) bool {
	return slices.ContainsFunc(links, func(l netlink.Link) bool { return l.Attrs().MasterIndex == index })
}

// whole asks for a list of the kernel's until nothing changes while it is made: one that a change interrupts
// is incomplete. Changes come in bursts, and each try sees a later moment.
func whole[T any](ask func() ([]T, error)) (list []T, err error) {
	const tries = 5
	for range tries {
		if list, err = ask(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return list, err
}

// whyNot says why native mode is no use at such an interface, and what is.
func (b Below) whyNot() (problem, remedy string) {
	if b == Function {
		return "packets come by a virtual function below it (accelerated networking), and AF_XDP gives " +
			"those to none of its sockets", "use mode auto or generic"
	}
	return "AF_XDP takes packets from a bond's members alone", "list them as `interfaces`, and the bond's " +
		"addresses as `address` of the listeners, or use mode generic"
}

// inVain is the error for what is attached in native mode to such an interface, by whomever.
func (b Below) inVain(name, attempt string, mode Mode) error {
	if b == Itself || mode != Native {
		return nil
	}
	problem, _ := b.whyNot()
	return &Error{Kind: Unsupported, Interface: name, Attempt: attempt,
		Problem: "what is attached is in native mode, and " + problem,
		Remedy: fmt.Sprintf("`culvert detach -i %s`, then `culvert attach -i %s`, which takes generic mode; "+
			"or `mode: socket`", name, name)}
}
