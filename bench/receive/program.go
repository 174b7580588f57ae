package receive

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
)

const (
	// Offsets in struct xdp_md (include/uapi/linux/bpf.h).
	packetStart, packetEnd, receiveQueue = 0, 4, 16 // data, data_end, rx_queue_index
	xdpPass                              = 2

	// Offsets in a frame without VLAN tags and IP options.
	etherType, ipProtocol, headerEnd = 12, 23, 24
	etherTypeIPv4                    = 0x0008 // as the two bytes 08 00 read on a little-endian machine
	protocolUDP                      = 17
)

// redirect is the least program that gives UDP over IPv4 to AF_XDP sockets and everything else, such as ARP,
// to the kernel: the limit of what any steering can reach.
type redirect struct {
	program *ebpf.Program
	sockets *ebpf.Map
	link    link.Link
}

func attachRedirect(index, queues int) (_ *redirect, err error) {
	r := &redirect{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("attach the least program: %w", err), r.close())
		}
	}()
	r.sockets, err = ebpf.NewMap(&ebpf.MapSpec{
		Name: "bench_xsks", Type: ebpf.XSKMap, KeySize: 4, ValueSize: 4, MaxEntries: uint32(queues),
	})
	if err != nil {
		return nil, err
	}
	r.program, err = ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "bench_redirect", Type: ebpf.XDP, License: "GPL", Instructions: redirectCode(r.sockets.FD()),
	})
	if err != nil {
		return nil, err
	}
	r.link, err = link.AttachXDP(link.XDPOptions{
		Program: r.program, Interface: index, Flags: link.XDPDriverMode,
	})
	return r, err
}

func redirectCode(sockets int) asm.Instructions {
	return asm.Instructions{
		asm.LoadMem(asm.R2, asm.R1, packetStart, asm.Word),
		asm.LoadMem(asm.R3, asm.R1, packetEnd, asm.Word),
		asm.Mov.Reg(asm.R4, asm.R2),
		asm.Add.Imm(asm.R4, headerEnd),
		asm.JGT.Reg(asm.R4, asm.R3, "pass"),
		asm.LoadMem(asm.R4, asm.R2, etherType, asm.Half),
		asm.JNE.Imm(asm.R4, etherTypeIPv4, "pass"),
		asm.LoadMem(asm.R4, asm.R2, ipProtocol, asm.Byte),
		asm.JNE.Imm(asm.R4, protocolUDP, "pass"),
		asm.LoadMem(asm.R2, asm.R1, receiveQueue, asm.Word),
		asm.LoadMapPtr(asm.R1, sockets),
		asm.Mov.Imm(asm.R3, xdpPass),
		asm.FnRedirectMap.Call(),
		asm.Return(),
		asm.Mov.Imm(asm.R0, xdpPass).WithSymbol("pass"),
		asm.Return(),
	}
}

// Pass puts a program on an interface that gives every packet to the kernel, until the context ends; attached
// is called once it is there.
func Pass(ctx context.Context, iface string, attached func()) (err error) {
	device, err := net.InterfaceByName(iface)
	if err != nil {
		return fmt.Errorf("find interface %q: %w", iface, err)
	}
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: "bench_pass", Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, xdpPass), asm.Return()},
	})
	if err != nil {
		return fmt.Errorf("load the program that passes: %w", err)
	}
	defer func() { err = errors.Join(err, program.Close()) }()
	on, err := link.AttachXDP(link.XDPOptions{
		Program: program, Interface: device.Index, Flags: link.XDPDriverMode,
	})
	if err != nil {
		return fmt.Errorf("attach the program that passes to %q: %w", iface, err)
	}
	defer func() { err = errors.Join(err, on.Close()) }()
	attached()
	<-ctx.Done()
	return nil
}

// close detaches. The sockets are closed by whoever opened them.
func (r *redirect) close() error {
	var errs []error
	if r.link != nil {
		errs = append(errs, r.link.Close())
	}
	if r.program != nil {
		errs = append(errs, r.program.Close())
	}
	if r.sockets != nil {
		errs = append(errs, r.sockets.Close())
	}
	return errors.Join(errs...)
}
