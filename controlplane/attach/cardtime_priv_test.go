package attach

import (
	"testing"

	"github.com/vishvananda/netlink"

	"culvert/scripts/testenv"
)

// Goal: the driver is asked for the card's time where that can be, in native mode and by a link that was
// pinned without it; everywhere else the attachment is the same without it, and says why. Method: a veth,
// loopback, which has no native mode, jumbo frames, which not every kernel with card times allows.
func TestPrivCardTimeWherePossible(t *testing.T) {
	lab, pins := testenv.NewLab(t, 1), pinDir(t)
	f := func(name string, mode, wantMode Mode, want, adopted bool) {
		t.Helper()
		within(t, lab.Gateway, func() error {
			a, err := Open(Options{Interface: name, Mode: mode, PinDir: pins, CardTime: true})
			if err != nil {
				return err
			}
			asked, why := a.CardTime()
			if a.Mode() != wantMode || a.Adopted() != adopted || asked != want || (why == nil) != want {
				t.Errorf("%s in mode %v: %v, adopted %t, card's time %t, %v", name, mode, a.Mode(),
					a.Adopted(), asked, why)
			}
			return a.Close()
		})
	}
	there := testenv.HasCardTimes(t)
	for name, silent := range map[string]bool{"lo": true, lab.GatewayInterface: false} {
		within(t, lab.Gateway, func() error {
			state, err := Look(name)
			if err != nil {
				return err
			}
			offer, err := AskOffer(state)
			if want := silent && testenv.AtLeast(6, 7); offer.NoCardTimes != want {
				t.Errorf("the driver of %s is said to tell no times: %t", name, offer.NoCardTimes)
			}
			return err
		})
	}
	f("lo", Auto, Generic, false, false)
	f(lab.GatewayInterface, Generic, Generic, false, false)
	f(lab.GatewayInterface, Native, Native, there, false)
	f(lab.GatewayInterface, Auto, Native, there, false)

	// Pinned by a command that does not ask, taken over twice by a gateway that does, and by one that does
	// not.
	within(t, lab.Gateway, func() error {
		_, err := Pin(Options{Interface: lab.GatewayInterface, PinDir: pins})
		return err
	})
	f(lab.GatewayInterface, Auto, Native, there, true)
	f(lab.GatewayInterface, Auto, Native, there, true)
	within(t, lab.Gateway, func() error {
		a, err := Open(Options{Interface: lab.GatewayInterface, PinDir: pins})
		if err != nil {
			return err
		}
		if asked, why := a.CardTime(); asked || why != nil {
			t.Errorf("not demanded, and it is %t, %v", asked, why)
		}
		return a.Close()
	})
	if _, err := Unpin(pins, lab.GatewayInterface); err != nil {
		t.Error(err)
	}
	within(t, lab.Gateway, func() error {
		_, err := Pin(Options{Interface: lab.GatewayInterface, PinDir: pins, Mode: Generic})
		return err
	})
	f(lab.GatewayInterface, Auto, Generic, false, true)
	if _, err := Unpin(pins, lab.GatewayInterface); err != nil {
		t.Error(err)
	}

	for _, end := range []struct {
		ns   *testenv.Namespace
		name string
	}{{lab.Gateway, lab.GatewayInterface}, {lab.Sender, lab.SenderInterface}} {
		within(t, end.ns, func() error {
			l, err := netlink.LinkByName(end.name)
			if err != nil {
				return err
			}
			return netlink.LinkSetMTU(l, 9000)
		})
	}
	if TakesPieces() {
		within(t, lab.Gateway, func() error {
			a, err := Open(Options{Interface: lab.GatewayInterface, PacketMax: 1792, PinDir: pins,
				CardTime: true})
			if err != nil {
				return err
			}
			asked, why := a.CardTime()
			if a.Mode() != Native || !a.Pieces() || asked != (why == nil) {
				t.Errorf("long packets: %v, pieces %t, card's time %t, %v", a.Mode(), a.Pieces(), asked,
					why)
			}
			return a.Close()
		})
	}
}
