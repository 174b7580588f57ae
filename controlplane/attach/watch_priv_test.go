package attach

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"culvert/bpf"
	"culvert/controlplane/nic"
	"culvert/scripts/testenv"
)

const listenPort = 8089

func listenersOn(addresses []netip.Addr) []bpf.Listener {
	return []bpf.Listener{{ID: 1, Port: listenPort, Addresses: addresses}}
}

// exchange sends one datagram through the lab to a kernel socket and waits for it.
func exchange(t *testing.T, lab *testenv.Lab) {
	t.Helper()
	var receiver *net.UDPConn
	within(t, lab.Gateway, func() (err error) {
		receiver, err = net.ListenUDP("udp", &net.UDPAddr{IP: lab.GatewayIPv4, Port: listenPort})
		return err
	})
	defer receiver.Close()
	within(t, lab.Sender, func() error {
		sender, err := net.DialUDP("udp", nil, &net.UDPAddr{IP: lab.GatewayIPv4, Port: listenPort})
		if err != nil {
			return err
		}
		defer sender.Close()
		_, err = sender.Write([]byte("m v=1"))
		return err
	})
	receiver.SetReadDeadline(time.Now().Add(deadline))
	into := make([]byte, 16)
	if n, err := receiver.Read(into); err != nil || string(into[:n]) != "m v=1" {
		t.Fatalf("received %q, %v", into[:n], err)
	}
}

// watched collects what Watch reports until a state is as wished.
type watched struct {
	events chan Event
	last   State
}

func startWatch(t *testing.T, ns *testenv.Namespace, name string) *watched {
	t.Helper()
	w := &watched{events: make(chan Event, 64)}
	ctx, cancel := context.WithCancel(context.Background())
	var done <-chan struct{}
	within(t, ns, func() (err error) {
		done, err = Watch(ctx, name, func(e Event) { w.events <- e })
		return err
	})
	t.Cleanup(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(deadline):
			t.Error("Watch did not end with its context")
		}
	})
	return w
}

// until waits for a state and returns all changes on the way to it.
func (w *watched) until(t *testing.T, what string, wish func(State) bool) (changed Change) {
	t.Helper()
	timeout := time.After(deadline)
	for {
		select {
		case e := <-w.events:
			w.last = e.After
			changed |= e.Changed
			if wish(e.After) {
				return changed
			}
		case <-timeout:
			t.Fatalf("%s was not reported; last %+v", what, w.last)
		}
	}
}

// Goal: Watch reports addresses, down and up, MAC, the interface's end and its return.
func TestPrivWatch(t *testing.T) {
	lab := testenv.NewLab(t, 2)
	name := lab.GatewayInterface
	w := startWatch(t, lab.Gateway, name)
	first := <-w.events
	if first.Changed != 0 || !first.After.Present || !first.After.Up || first.After.RXQueues != 2 {
		t.Fatalf("first %+v", first)
	}
	change := func(f func(netlink.Link) error) {
		t.Helper()
		within(t, lab.Gateway, func() error {
			on, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			return f(on)
		})
	}
	extra := netip.MustParseAddr("10.99.0.1")
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.IPv4(10, 99, 0, 1), Mask: net.CIDRMask(24, 32)}}
	has := func(s State) bool { return slices.Contains(s.Addresses, extra) }
	expect := func(got, want Change) {
		t.Helper()
		if got&want != want {
			t.Errorf("changes %b lack %b", got, want)
		}
	}

	change(func(on netlink.Link) error { return netlink.AddrAdd(on, address) })
	expect(w.until(t, "a new address", has), ChangedAddresses)
	change(func(on netlink.Link) error { return netlink.AddrDel(on, address) })
	expect(w.until(t, "the address's end", func(s State) bool { return !has(s) }), ChangedAddresses)

	change(netlink.LinkSetDown)
	expect(w.until(t, "down", func(s State) bool { return !s.Up && !s.Carrier }), ChangedLink)
	mac := net.HardwareAddr{2, 3, 4, 5, 6, 7}
	change(func(on netlink.Link) error { return netlink.LinkSetHardwareAddr(on, mac) })
	expect(w.until(t, "a new MAC", func(s State) bool { return slices.Equal(s.MAC[:], mac) }), ChangedMAC)
	change(netlink.LinkSetUp)
	expect(w.until(t, "up", func(s State) bool { return s.Up && s.Carrier }), ChangedLink)

	change(netlink.LinkDel)
	expect(w.until(t, "the interface's end", func(s State) bool { return !s.Present }), ChangedPresence)
	within(t, lab.Gateway, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "peer0"})
	})
	expect(w.until(t, "its return", func(s State) bool { return s.Present }), ChangedPresence|ChangedIndex)
}

// Goal: another number of queues is noticed though no message says so.
func TestPrivWatchQueues(t *testing.T) {
	lab := testenv.NewLab(t, 2)
	w := startWatch(t, lab.Gateway, lab.GatewayInterface)
	within(t, lab.Gateway, func() error {
		return nic.SetChannels(lab.GatewayInterface, nic.Channels{RX: 1, TX: 2})
	})
	got := w.until(t, "one queue", func(s State) bool { return s.RXQueues == 1 })
	if got&ChangedQueues == 0 || w.last.QueuesMax != 2 {
		t.Errorf("changes %b, %+v", got, w.last)
	}
}

// Goal: an interface that is not there yet can be watched.
func TestPrivWatchAbsent(t *testing.T) {
	ns := testenv.NewNamespace(t)
	w := startWatch(t, ns, "late0")
	if first := <-w.events; first.After.Present {
		t.Fatalf("first %+v", first)
	}
	within(t, ns, func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "late0"}, PeerName: "late1"})
	})
	w.until(t, "its arrival", func(s State) bool { return s.Present })
}
