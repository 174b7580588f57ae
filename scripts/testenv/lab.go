package testenv

import (
	"fmt"
	"net"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Namespace is a network namespace with a thread of its own. It lives as long as the test.
type Namespace struct {
	calls chan func()
	fd    netns.NsHandle
}

// Lab is two namespaces joined by one veth pair: the gateway's end and the sender's.
type Lab struct {
	Gateway, Sender *Namespace
	// GatewayInterface is the veth's name in Gateway, SenderInterface in Sender.
	GatewayInterface, SenderInterface string
	// The addresses of the two ends: 10.88.0.1 and 10.88.0.2, fd00:88::1 and fd00:88::2.
	GatewayIPv4, SenderIPv4, GatewayIPv6, SenderIPv6 net.IP
}

// NewLab makes a lab whose veth has this many queues in each direction, with both ends up and loopback up.
// The test needs CAP_NET_ADMIN and CAP_SYS_ADMIN.
func NewLab(t testing.TB, queues int) *Lab {
	t.Helper()
	Need(t, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN)
	lab := &Lab{
		Gateway: NewNamespace(t), Sender: NewNamespace(t), GatewayInterface: "gw0", SenderInterface: "tx0",
		GatewayIPv4: net.IPv4(10, 88, 0, 1), SenderIPv4: net.IPv4(10, 88, 0, 2),
		GatewayIPv6: net.ParseIP("fd00:88::1"), SenderIPv6: net.ParseIP("fd00:88::2"),
	}
	lab.connect(t, queues)
	return lab
}

// Recreate removes the veth pair and makes another with one queue, under the same names and addresses.
func (lab *Lab) Recreate(t testing.TB) {
	t.Helper()
	err := lab.Gateway.Do(func() error {
		link, err := netlink.LinkByName(lab.GatewayInterface)
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	})
	if err != nil {
		t.Fatal(err)
	}
	lab.connect(t, 1)
}

// WireDrops is how many packets the sender's end of the veth dropped since the other end's ring was full: the
// cable's loss, which nobody at its other end can see.
func (lab *Lab) WireDrops(t testing.TB) (packets uint64) {
	t.Helper()
	err := lab.Sender.Do(func() error {
		link, err := netlink.LinkByName(lab.SenderInterface)
		if err == nil {
			packets = link.Attrs().Statistics.TxDropped
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return packets
}

// connect makes the veth pair between the two namespaces.
func (lab *Lab) connect(t testing.TB, queues int) {
	t.Helper()
	err := lab.Gateway.Do(func() error {
		veth := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{
				Name: lab.GatewayInterface, NumRxQueues: queues, NumTxQueues: queues, MTU: 1500,
			},
			PeerName: lab.SenderInterface, PeerNamespace: netlink.NsFd(lab.Sender.fd),
			PeerNumRxQueues: uint32(queues), PeerNumTxQueues: uint32(queues),
		}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("add veth pair: %w", err)
		}
		return configure(lab.GatewayInterface, lab.GatewayIPv4, lab.GatewayIPv6)
	})
	if err != nil {
		t.Fatal(err)
	}
	err = lab.Sender.Do(func() error {
		return configure(lab.SenderInterface, lab.SenderIPv4,
			lab.SenderIPv6)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func configure(name string, v4, v6 net.IP) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find %q: %w", name, err)
	}
	for _, address := range []*netlink.Addr{
		{IPNet: &net.IPNet{IP: v4, Mask: net.CIDRMask(24, 32)}},
		// Without duplicate address detection an IPv6 address is usable at once.
		{IPNet: &net.IPNet{IP: v6, Mask: net.CIDRMask(64, 128)}, Flags: unix.IFA_F_NODAD},
	} {
		if err := netlink.AddrAdd(link, address); err != nil {
			return fmt.Errorf("add %s to %q: %w", address.IPNet, name, err)
		}
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("set %q up: %w", name, err)
	}
	return nil
}

// NewNamespace makes an empty namespace with loopback up.
func NewNamespace(t testing.TB) *Namespace {
	t.Helper()
	Need(t, unix.CAP_SYS_ADMIN, unix.CAP_NET_ADMIN)
	ns := &Namespace{calls: make(chan func())}
	started := make(chan error)
	go func() {
		// Never unlocked: the thread is in another namespace and must end with this goroutine.
		runtime.LockOSThread()
		handle, err := netns.New()
		if err != nil {
			started <- fmt.Errorf("make a network namespace: %w", err)
			return
		}
		ns.fd = handle
		loopback, err := netlink.LinkByName("lo")
		if err == nil {
			err = netlink.LinkSetUp(loopback)
		}
		started <- err
		for call := range ns.calls {
			call()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(ns.calls)
		ns.fd.Close()
	})
	return ns
}

// FD names the namespace to netlink, until the test ends.
func (ns *Namespace) FD() int { return int(ns.fd) }

// Do runs a function on the namespace's thread. Sockets that it opens stay in the namespace wherever they are
// used afterwards; goroutines that it starts are not in the namespace.
func (ns *Namespace) Do(f func() error) error {
	done := make(chan error)
	ns.calls <- func() { done <- f() }
	return <-done
}

// Go runs a function on a new locked thread inside the namespace and returns a channel with its result. The
// function may block as long as the test lives.
func (ns *Namespace) Go(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() {
		// Never unlocked, as above.
		runtime.LockOSThread()
		if err := netns.Set(ns.fd); err != nil {
			done <- fmt.Errorf("enter the network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return done
}
