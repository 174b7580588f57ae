package attach

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// pinDir is a BPF file system of the test's own.
func pinDir(t *testing.T) string {
	t.Helper()
	testenv.Need(t, unix.CAP_SYS_ADMIN)
	root := t.TempDir()
	if err := unix.Mount("bpf", root, "bpf", 0, "mode=0700"); err != nil {
		t.Fatalf("mount a BPF file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, 0); err != nil {
			t.Errorf("unmount the BPF file system: %v", err)
		}
	})
	return filepath.Join(root, "culvert")
}

// Goal: pin, adopt with a fresh program, leave pinned, adopt again, detach. Nobody takes what is in use.
func TestPrivPinAndAdopt(t *testing.T) {
	lab, pins := testenv.NewLab(t, 1), pinDir(t)
	o := Options{Interface: lab.GatewayInterface, PinDir: pins}
	pin := func(refreshed bool) {
		t.Helper()
		within(t, lab.Gateway, func() error {
			pinned, err := Pin(o)
			if err == nil && (pinned.Mode != Native || pinned.Refreshed != refreshed) {
				t.Errorf("pinned %+v", pinned)
			}
			return err
		})
	}
	pin(false)
	first := attachedProgram(t, lab)
	pin(true)
	second := attachedProgram(t, lab)
	if first.id == 0 || second.id == 0 || first.id == second.id {
		t.Errorf("programs %d, then %d", first.id, second.id)
	}
	var last uint32
	within(t, lab.Gateway, func() error {
		a, err := Open(o)
		if err != nil {
			return err
		}
		if !a.Adopted() || a.Mode() != Native {
			t.Errorf("adopted %t, mode %s", a.Adopted(), a.Mode())
		}
		for what, try := range map[string]func() error{
			"Open":  func() error { _, err := Open(o); return err },
			"Pin":   func() error { _, err := Pin(o); return err },
			"Unpin": func() error { _, err := Unpin(pins, o.Interface); return err },
		} {
			err := try()
			var e *Error
			if !errors.As(err, &e) || e.Kind != Busy {
				t.Errorf("%s while a gateway runs: %v", what, err)
			}
		}
		about, err := a.Steer().Program().Info()
		if err != nil {
			return err
		}
		id, _ := about.ID()
		last = uint32(id)
		return errors.Join(a.Steer().SetRedirect(true), a.Close())
	})
	if on := attachedProgram(t, lab); on.id != last {
		t.Errorf("program %d is attached after an adopted close, want %d", on.id, last)
	}
	within(t, lab.Gateway, func() error {
		other := o
		other.Mode = Generic
		_, err := Open(other)
		var e *Error
		if !errors.As(err, &e) || e.Kind != Unsupported {
			t.Errorf("generic demanded of a native pin: %v", err)
		}
		return nil
	})
	removed, err := Unpin(pins, o.Interface)
	if err != nil || len(removed) != 1 || removed[0].Program != last || removed[0].Index == 0 {
		t.Errorf("removed %v, %v", removed, err)
	}
	if on := attachedProgram(t, lab); on.id != 0 {
		t.Errorf("program %d is left after detach", on.id)
	}
	if _, err := os.Stat(pins); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the pin directory is left: %v", err)
	}
	if removed, err := Unpin(pins, o.Interface); err != nil || len(removed) != 0 {
		t.Errorf("a second detach removed %v, %v", removed, err)
	}
}

// Goal: what a crash or a deleted interface leaves is cleared away, and a new interface of the same name is
// attached.
func TestPrivLeftovers(t *testing.T) {
	lab, pins := testenv.NewLab(t, 1), pinDir(t)
	o := Options{Interface: lab.GatewayInterface, PinDir: pins}
	within(t, lab.Gateway, func() error {
		_, err := Pin(o)
		return err
	})
	recreate(t, lab)
	within(t, lab.Gateway, func() error {
		a, err := Open(o)
		if err != nil {
			return err
		}
		if a.Adopted() {
			t.Error("a dead link was adopted")
		}
		return a.Close()
	})
	// A crash between directory and pin.
	if err := os.MkdirAll(filepath.Dir(o.pinPath()), 0o700); err != nil {
		t.Fatal(err)
	}
	within(t, lab.Gateway, func() error {
		_, err := Pin(o)
		return err
	})
	recreate(t, lab)
	removed, err := UnpinAll(pins)
	if err != nil || len(removed) != 1 || removed[0].Index != 0 {
		t.Errorf("removed %v, %v", removed, err)
	}
}

// Goal: two interfaces of one name and index, in two namespaces, are not mistaken for each other.
func TestPrivSameNameElsewhere(t *testing.T) {
	pins := pinDir(t)
	lab, other := testenv.NewLab(t, 1), testenv.NewLab(t, 1)
	o := Options{Interface: lab.GatewayInterface, PinDir: pins}
	within(t, lab.Gateway, func() error {
		_, err := Pin(o)
		return err
	})
	err := other.Gateway.Do(func() error { _, err := Open(o); return err })
	var e *Error
	if !errors.As(err, &e) || e.Kind != Busy || !strings.Contains(err.Error(), "another interface") {
		t.Errorf("adopting another namespace's pin: %v", err)
	}
	if _, err := UnpinAll(pins); err != nil {
		t.Error(err)
	}
}

// Goal: an object in our pin directory that is no link of ours is left alone.
func TestPrivStrangePin(t *testing.T) {
	lab, pins := testenv.NewLab(t, 1), pinDir(t)
	o := Options{Interface: lab.GatewayInterface, PinDir: pins}
	if err := os.MkdirAll(filepath.Dir(o.pinPath()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := anotherProgram(t, "strange").Pin(o.pinPath()); err != nil {
		t.Fatal(err)
	}
	if _, err := UnpinAll(pins); err == nil {
		t.Error("a pinned program was taken for a link of ours")
	}
	if _, err := os.Stat(o.pinPath()); err != nil {
		t.Error(err)
	}
	if err := os.Remove(o.pinPath()); err != nil {
		t.Fatal(err)
	}
}

// Goal: no file system to pin in is said so, and named.
func TestPrivNoBPFFS(t *testing.T) {
	lab := testenv.NewLab(t, 1)
	err := lab.Gateway.Do(func() error {
		_, err := Pin(Options{Interface: lab.GatewayInterface, PinDir: t.TempDir()})
		return err
	})
	var e *Error
	if !errors.As(err, &e) || e.Kind != NoBPFFS || !strings.Contains(err.Error(), "mount -t bpf") {
		t.Error(err)
	}
}

// recreate deletes the gateway's veth and makes one of the same name.
func recreate(t *testing.T, lab *testenv.Lab) {
	t.Helper()
	within(t, lab.Gateway, func() error {
		old, err := netlink.LinkByName(lab.GatewayInterface)
		if err != nil {
			return err
		}
		if err := netlink.LinkDel(old); err != nil {
			return err
		}
		return netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: lab.GatewayInterface}, PeerName: "peer0",
		})
	})
}

// Goal: an interface whose name has dots, as VLANs' have, is pinned, adopted and detached by its own name.
func TestPrivPinOfNameWithDots(t *testing.T) {
	lab, pins := testenv.NewLab(t, 1), pinDir(t)
	o := Options{Interface: "gw0.7", PinDir: pins}
	within(t, lab.Gateway, func() error {
		link, err := netlink.LinkByName(lab.GatewayInterface)
		if err != nil {
			return err
		}
		return errors.Join(netlink.LinkSetDown(link), netlink.LinkSetName(link, o.Interface),
			netlink.LinkSetUp(link))
	})
	within(t, lab.Gateway, func() error {
		_, err := Pin(o)
		return err
	})
	within(t, lab.Gateway, func() error {
		a, err := Open(o)
		if err != nil {
			return err
		}
		if !a.Adopted() {
			t.Error("the pinned link is not adopted")
		}
		return a.Close()
	})
	removed, err := UnpinAll(pins)
	if err != nil || len(removed) != 1 || removed[0].Interface != o.Interface || removed[0].Program == 0 {
		t.Errorf("removed %v, %v", removed, err)
	}
}
