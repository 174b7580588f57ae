package attach

import (
	"errors"
	"fmt"
	"os"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"culvert/bpf"
)

// expectedFD is IFLA_XDP_EXPECTED_FD of linux/if_link.h: the program that must be on the interface.
const expectedFD = 8

// exchange puts a dispatcher with these members in the place of another, at one instant: until then, and if
// it fails, everybody's programs run as before. Without members the dispatcher goes. Where a member has no
// program, a joint is loaded that runs the program in the map. The caller holds the lock of libxdp's pins.
func (d *dispatcher) exchange(mode Mode, members []member, joined *ebpf.Map) (err error) {
	if len(members) == 0 {
		if err := setXDP(d.index, mode, nil, d.program); err != nil {
			return err
		}
		_ = removePins(dispatcherFolder(d.index, d.id))
		return nil
	}
	if len(members) > bpf.DispatcherSlots {
		return fmt.Errorf("%w: it runs %d programs already, and has room for no more", bpf.ErrDispatcher,
			bpf.DispatcherSlots)
	}
	settings := bpf.Dispatcher{Version: d.version}
	for _, m := range members {
		settings.Slots = append(settings.Slots, m.slot)
	}
	next, err := settings.Load()
	if err != nil {
		return err
	}
	defer next.Close()
	about, err := next.Info()
	if err != nil {
		return fmt.Errorf("look at dispatcher: %w", err)
	}
	id, _ := about.ID()
	folder := dispatcherFolder(d.index, uint32(id))
	if err = fill(next, members, joined, folder); err == nil {
		err = setXDP(d.index, mode, next, d.program)
	}
	if err != nil {
		return errors.Join(err, removePins(folder))
	}
	// The new one is in place whatever becomes of the old one's pins: no interface has that one any more, and
	// nobody looks at them.
	_ = removePins(dispatcherFolder(d.index, d.id))
	return nil
}

// fill puts the members into a dispatcher's slots and pins everything, since a program falls out of its slot
// with the last reference to the link. A program may be in several dispatchers at once.
func fill(next *ebpf.Program, members []member, joined *ebpf.Map, folder string) error {
	if err := os.Mkdir(folder, 0o700); err != nil {
		return fmt.Errorf("make folder of dispatcher: %w", err)
	}
	for slot, m := range members {
		program := m.program
		if program == nil {
			joint, err := bpf.LoadJoint(next, slot, joined)
			if err != nil {
				return err
			}
			defer joint.Close()
			program = joint
		}
		if err := fillSlot(next, slot, program, folder); err != nil {
			return fmt.Errorf("put %s into slot %d of the new dispatcher: %w", m.name, slot, err)
		}
	}
	return nil
}

func fillSlot(next *ebpf.Program, slot int, program *ebpf.Program, folder string) error {
	placed, err := link.AttachFreplace(next, bpf.Stub(slot), program)
	if err != nil {
		return err
	}
	defer placed.Close()
	if err := placed.Pin(pinnedSlot(folder, slot)); err != nil {
		return err
	}
	clone, err := program.Clone()
	if err != nil {
		return err
	}
	defer clone.Close()
	return clone.Pin(pinnedProgram(folder, slot))
}

// setXDP puts a program, or none, in the place of another on an interface. The kernel says EEXIST where that
// other one is not there any more.
func setXDP(index int, mode Mode, next, expected *ebpf.Program) error {
	fd := int32(-1)
	if next != nil {
		fd = int32(next.FD())
	}
	flags := uint32(unix.XDP_FLAGS_REPLACE) | uint32(mode.flags())
	message := nl.NewIfInfomsg(unix.AF_UNSPEC)
	message.Index = int32(index)
	xdp := nl.NewRtAttr(unix.IFLA_XDP|unix.NLA_F_NESTED, nil)
	xdp.AddRtAttr(nl.IFLA_XDP_FD, nl.Uint32Attr(uint32(fd)))
	xdp.AddRtAttr(nl.IFLA_XDP_FLAGS, nl.Uint32Attr(flags))
	xdp.AddRtAttr(expectedFD, nl.Uint32Attr(uint32(expected.FD())))
	request := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	request.AddData(message)
	request.AddData(xdp)
	_, err := request.Execute(unix.NETLINK_ROUTE, 0)
	switch {
	case err == nil:
		return nil
	case refusedByDriver(err):
		// A dispatcher that was for packets in several pieces, before the joint came, which is not.
		return fmt.Errorf("%w: the driver refuses one for packets in one piece, likely for the MTU: %w",
			bpf.ErrDispatcher, err)
	}
	return fmt.Errorf("exchange the XDP program: %w", err)
}
