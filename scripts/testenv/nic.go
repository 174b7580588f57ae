package testenv

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// NICPair is two real interfaces wired back to back, named by CULVERT_TEST_NIC_PAIR=gateway,sender, and how
// many queues each must have, by CULVERT_TEST_NIC_QUEUES; CULVERT_TEST_NIC_DRIVER is what drives them. Most
// machines have no such pair, and a test says then that it found nothing to look at; the machines of
// scripts/vm have one.
func NICPair(t testing.TB) (gateway, sender string, queues int, ok bool) {
	t.Helper()
	gateway, sender, ok = strings.Cut(os.Getenv("CULVERT_TEST_NIC_PAIR"), ",")
	if !ok {
		t.Log("not run: CULVERT_TEST_NIC_PAIR names no two interfaces that are wired back to back")
		return "", "", 0, false
	}
	queues, err := strconv.Atoi(os.Getenv("CULVERT_TEST_NIC_QUEUES"))
	if err != nil || queues < 1 {
		t.Fatalf("CULVERT_TEST_NIC_QUEUES: %v", err)
	}
	return gateway, sender, queues, true
}

// NewNICLab is a Lab whose cable is the pair of real interfaces, which the caller knows to be there: each end
// is moved into its namespace for the length of the test.
func NewNICLab(t testing.TB) (lab *Lab, queues int) {
	t.Helper()
	gateway, sender, queues, ok := NICPair(t)
	if !ok {
		t.Fatal("there is no pair of interfaces")
	}
	Need(t, unix.CAP_NET_ADMIN, unix.CAP_SYS_ADMIN)
	lab = &Lab{
		Gateway: NewNamespace(t), Sender: NewNamespace(t),
		GatewayInterface: gateway, SenderInterface: sender,
		GatewayIPv4: net.IPv4(10, 88, 0, 1), SenderIPv4: net.IPv4(10, 88, 0, 2),
		GatewayIPv6: net.ParseIP("fd00:88::1"), SenderIPv6: net.ParseIP("fd00:88::2"),
	}
	lend(t, gateway, lab.Gateway, lab.GatewayIPv4, lab.GatewayIPv6)
	lend(t, sender, lab.Sender, lab.SenderIPv4, lab.SenderIPv6)
	return lab, queues
}

// lend moves an interface into a namespace and back when the test ends, before the namespace does.
func lend(t testing.TB, name string, to *Namespace, v4, v6 net.IP) {
	t.Helper()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName(name)
	if err == nil {
		err = netlink.LinkSetNsFd(link, int(to.fd))
	}
	if err != nil {
		t.Fatalf("move %q into a namespace: %v", name, err)
	}
	t.Cleanup(func() {
		defer home.Close()
		err := to.Do(func() error {
			link, err := netlink.LinkByName(name)
			if err == nil {
				err = netlink.LinkSetNsFd(link, int(home))
			}
			return err
		})
		if err != nil {
			t.Errorf("move %q back: %v", name, err)
		}
	})
	if err := to.Do(func() error { return configure(name, v4, v6) }); err != nil {
		t.Fatal(fmt.Errorf("set up %q: %w", name, err))
	}
}
