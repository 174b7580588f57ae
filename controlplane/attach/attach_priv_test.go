package attach

import (
	"errors"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"culvert/bpf/abi"
	"culvert/scripts/testenv"
)

// within runs a step inside the gateway's namespace and fails the test on an error.
func within(t *testing.T, ns *testenv.Namespace, step func() error) {
	t.Helper()
	if err := ns.Do(step); err != nil {
		t.Fatal(err)
	}
}

func attachedProgram(t *testing.T, lab *testenv.Lab) (found program) {
	t.Helper()
	within(t, lab.Gateway, func() error {
		state, err := Look(lab.GatewayInterface)
		found = state.program
		return err
	})
	return found
}

// anotherProgram is somebody else's: it passes everything.
func anotherProgram(t *testing.T, name string) *ebpf.Program {
	t.Helper()
	p, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Name: name, Type: ebpf.XDP, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, 2), asm.Return()},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// Goal: attaching works natively on veth, says what it found, and leaves nothing behind.
func TestPrivAttach(t *testing.T) {
	lab, pins := testenv.NewLab(t, 2), pinDir(t)
	for _, mode := range []Mode{Auto, Native, Generic} {
		within(t, lab.Gateway, func() error {
			a, err := Open(Options{Interface: lab.GatewayInterface, Mode: mode, PinDir: pins})
			if err != nil {
				return err
			}
			want := mode
			if mode == Auto {
				want = Native
			}
			if a.Mode() != want || a.Adopted() || a.NativeRefused() != nil {
				t.Errorf("asked for %s: mode %s, adopted %t, refused %v",
					mode, a.Mode(), a.Adopted(), a.NativeRefused())
			}
			if a.Driver() != "veth" || a.RXQueues() != 2 || a.State().QueuesMax != 2 || a.MAC() == [6]byte{} {
				t.Errorf("driver %q, %d queues, %+v", a.Driver(), a.RXQueues(), a.State())
			}
			own, linkLocal := netip.MustParseAddr("10.88.0.1"), false
			for _, address := range a.Addresses() {
				linkLocal = linkLocal || address.IsLinkLocalUnicast() && address.Is6()
			}
			if !slices.Contains(a.Addresses(), own) || !linkLocal {
				t.Errorf("addresses %v", a.Addresses())
			}
			return a.Close()
		})
		if on := attachedProgram(t, lab); on.id != 0 {
			t.Errorf("after mode %s program %d is left", mode, on.id)
		}
	}
}

// Goal: the end in steps, each twice, and what each leaves.
func TestPrivDetachSteps(t *testing.T) {
	lab, pins := testenv.NewLab(t, 1), pinDir(t)
	within(t, lab.Gateway, func() error {
		a, err := Open(Options{Interface: lab.GatewayInterface, PinDir: pins})
		if err != nil {
			return err
		}
		defer a.Close()
		return errors.Join(a.RedirectOff(), a.RedirectOff(), a.Detach(), a.Detach())
	})
	if on := attachedProgram(t, lab); on.id != 0 {
		t.Errorf("after Detach program %d is left", on.id)
	}
}

// Goal: what cannot be done comes as one line with its kind.
func TestPrivRefusals(t *testing.T) {
	lab, pins := testenv.NewLab(t, 1), pinDir(t)
	name := lab.GatewayInterface
	refused := func(o Options, kind Kind, words ...string) {
		t.Helper()
		o.PinDir = pins
		err := lab.Gateway.Do(func() error {
			a, err := Open(o)
			if err == nil {
				a.Close()
			}
			return err
		})
		var e *Error
		if !errors.As(err, &e) || e.Kind != kind {
			t.Fatalf("%+v: %v, want an Error of kind %d", o, err, kind)
		}
		for _, word := range append(words, o.Interface) {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%q lacks %q", err, word)
			}
		}
		if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q has more than one line", err)
		}
	}
	refused(Options{Interface: "absent0"}, Missing, "no such interface")
	refused(Options{Interface: "../gw0"}, Missing)
	refused(Options{Interface: "lo", Mode: Native}, Unsupported, "native XDP")

	// The other end decides what fits into a page here.
	within(t, lab.Sender, func() error {
		peer, err := netlink.LinkByName(lab.SenderInterface)
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(peer, 9000)
	})
	within(t, lab.Gateway, func() error {
		end, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return netlink.LinkSetMTU(end, 9000)
	})
	// Said to fit into a frame, packets are not taken in pieces, as on kernels before 6.6.
	const whole = 16384
	refused(Options{Interface: name, Mode: Native, PacketMax: whole}, Unsupported, "MTU 9000", "mtu 1500")
	within(t, lab.Gateway, func() error {
		a, err := Open(Options{Interface: name, PinDir: pins, PacketMax: whole})
		if err != nil {
			return err
		}
		if a.Mode() != Generic || a.NativeRefused() == nil {
			t.Errorf("mode %s, refused %v", a.Mode(), a.NativeRefused())
		}
		refusedMode := a.NativeRefused()
		if !strings.Contains(refusedMode.Error(), "MTU 9000") {
			t.Errorf("refused: %v", refusedMode)
		}
		return a.Close()
	})
}

// Goal: a foreign program is named and stays, whichever way it was attached. A gateway of ours is called so.
func TestPrivForeign(t *testing.T) {
	lab, pins := testenv.NewLab(t, 1), pinDir(t)
	name := lab.GatewayInterface
	for _, c := range []struct {
		program string
		flags   int
		words   []string
	}{
		{"their_filter", 1 << 2, []string{`"their_filter"`, "native"}},
		{"xdp_dispatcher", 1 << 1, []string{"libxdp", "mode: socket"}},
	} {
		theirs := anotherProgram(t, c.program)
		put := func(fd int) {
			t.Helper()
			within(t, lab.Gateway, func() error {
				on, err := netlink.LinkByName(name)
				if err != nil {
					return err
				}
				return netlink.LinkSetXdpFdWithFlags(on, fd, c.flags)
			})
		}
		put(theirs.FD())
		before := attachedProgram(t, lab)
		for what, try := range map[string]func() error{
			"Open": func() error { _, err := Open(Options{Interface: name, PinDir: pins}); return err },
			"Pin":  func() error { _, err := Pin(Options{Interface: name, PinDir: pins}); return err },
		} {
			err := lab.Gateway.Do(try)
			var e *Error
			if !errors.As(err, &e) || e.Kind != Foreign {
				t.Fatalf("%s: %v", what, err)
			}
			for _, word := range c.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%s: %q lacks %q", what, err, word)
				}
			}
		}
		if removed, err := UnpinAll(pins); err != nil || len(removed) != 0 {
			t.Errorf("detach --all removed %v, %v", removed, err)
		}
		if after := attachedProgram(t, lab); after != before || after.id == 0 {
			t.Errorf("their program was %+v, is %+v", before, after)
		}
		put(-1)
	}
	within(t, lab.Gateway, func() error {
		a, err := Open(Options{Interface: name, PinDir: pins})
		if err != nil {
			return err
		}
		defer a.Close()
		_, err = Open(Options{Interface: name, PinDir: pins})
		var e *Error
		if !errors.As(err, &e) || e.Kind != Busy || !strings.Contains(e.Problem, "another culvert gateway") {
			t.Errorf("a second gateway: %v", err)
		}
		return nil
	})
}

// Goal: the capabilities missing are named; the three asked for are enough. Method: a thread gives
// up the others and ends.
func TestPrivCapabilities(t *testing.T) {
	lab, pins := testenv.NewLab(t, 1), pinDir(t)
	o := Options{Interface: lab.GatewayInterface, PinDir: pins}
	with := func(capabilities ...uint) error {
		return <-lab.Gateway.Go(func() error {
			keepOnly(t, capabilities...)
			a, err := Open(o)
			if err != nil {
				return err
			}
			return a.Close()
		})
	}
	if err := with(unix.CAP_BPF, unix.CAP_NET_ADMIN, unix.CAP_PERFMON); err != nil {
		t.Errorf("with the three: %v", err)
	}
	for _, c := range []struct {
		has   []uint
		words string
	}{
		{nil, "lacks CAP_BPF (maps cannot be made and programs cannot be loaded), CAP_NET_ADMIN (the"},
		{[]uint{unix.CAP_BPF, unix.CAP_PERFMON}, "lacks CAP_NET_ADMIN (the program cannot be attached"},
		{[]uint{unix.CAP_NET_ADMIN, unix.CAP_PERFMON}, "lacks CAP_BPF (maps"},
		{[]uint{unix.CAP_NET_ADMIN, unix.CAP_BPF}, "lacks CAP_PERFMON (the steering program does not load"},
	} {
		err := with(c.has...)
		var e *Error
		if !errors.As(err, &e) || e.Kind != Privilege || !strings.Contains(err.Error(), c.words) {
			t.Errorf("with %v: %v", c.has, err)
		}
	}
}

// keepOnly takes all other capabilities from the calling thread.
func keepOnly(t *testing.T, capabilities ...uint) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	for _, capability := range capabilities {
		sets[capability/32].Effective |= 1 << (capability % 32)
		sets[capability/32].Permitted |= 1 << (capability % 32)
	}
	runtime.LockOSThread()
	if err := unix.Capset(&header, &sets[0]); err != nil {
		t.Error(err)
	}
}

// Goal: traffic for others passes while attached, and packets for a listener without a worker reach its
// kernel socket.
func TestPrivPassesToKernel(t *testing.T) {
	lab, pins := testenv.NewLab(t, 1), pinDir(t)
	var a *Attachment
	within(t, lab.Gateway, func() (err error) {
		a, err = Open(Options{Interface: lab.GatewayInterface, PinDir: pins})
		return err
	})
	defer a.Close()
	exchange(t, lab)
	if err := a.Steer().SetListeners(listenersOn(a.Addresses())); err != nil {
		t.Fatal(err)
	}
	if err := a.Steer().SetRedirect(true); err != nil {
		t.Fatal(err)
	}
	exchange(t, lab)
	counts, err := a.Steer().Verdicts()
	if err != nil {
		t.Fatal(err)
	}
	if counts[abi.Off] == 0 || counts[abi.Unserved] != 1 || counts[abi.Redirected] != 0 {
		t.Errorf("verdicts %v", counts)
	}
}

// deadline is how long a test waits for what must happen at once on an idle machine.
const deadline = 10 * time.Second

// Goal: packets of several pieces are for native mode, on kernels that have them: generic mode, asked for or
// fallen back to, leaves long packets to the kernel. Method: a veth with jumbo frames, and loopback, whose
// MTU is 65536 and which has no native XDP.
func TestPrivPiecesAreForNativeMode(t *testing.T) {
	lab := testenv.NewLab(t, 1)
	f := func(name string, mode, wantMode Mode, want bool) {
		t.Helper()
		err := lab.Gateway.Do(func() error {
			a, err := Open(Options{Interface: name, Mode: mode, PacketMax: 1792, PinDir: t.TempDir()})
			if err != nil {
				return err
			}
			if a.Mode() != wantMode || a.Pieces() != want {
				t.Errorf("%s in mode %v came to %v, pieces %t", name, mode, a.Mode(), a.Pieces())
			}
			return a.Close()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	f("lo", Auto, Generic, false)
	f("lo", Generic, Generic, false)
	f(lab.GatewayInterface, Auto, Native, false)
	for _, end := range []struct {
		ns   *testenv.Namespace
		name string
	}{{lab.Gateway, lab.GatewayInterface}, {lab.Sender, lab.SenderInterface}} {
		err := end.ns.Do(func() error {
			l, err := netlink.LinkByName(end.name)
			if err != nil {
				return err
			}
			return netlink.LinkSetMTU(l, 9000)
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	f(lab.GatewayInterface, Generic, Generic, false)
	if TakesPieces() {
		f(lab.GatewayInterface, Auto, Native, true)
	} else {
		f(lab.GatewayInterface, Auto, Generic, false)
	}
}
