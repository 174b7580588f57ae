package udp

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// inGateway opens a socket in the lab's gateway namespace.
func inGateway(t *testing.T, lab *testenv.Lab, config Config) *Socket {
	t.Helper()
	config.Memory = make([]byte, MemorySize(8))
	var s *Socket
	if err := lab.Gateway.Do(func() (err error) { s, err = Open(config); return err }); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// fromSender sends one datagram from the lab's sender namespace.
func fromSender(t *testing.T, lab *testenv.Lab, to string, text string) {
	t.Helper()
	err := lab.Sender.Do(func() error {
		conn, err := net.Dial("udp", to)
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Goal: sockets of an interface stand beside the slow path's, which took the port alone, and get that
// interface's packets, while others still find the slow path's. Method: one datagram over the veth, one
// over loopback.
func TestPrivDeviceStandsBesideTheSlowPath(t *testing.T) {
	lab := testenv.NewLab(t, 1)
	slow := inGateway(t, lab, Config{Port: 8089})
	first := inGateway(t, lab, Config{Port: 8089, Device: lab.GatewayInterface, ReusePort: true})
	second := inGateway(t, lab, Config{Port: 8089, Device: lab.GatewayInterface, ReusePort: true})
	err := lab.Gateway.Do(func() error {
		_, err := Open(Config{Port: 8089, Memory: make([]byte, MemorySize(1))})
		return err
	})
	if !errors.Is(err, unix.EADDRINUSE) {
		t.Fatalf("a second slow path on the port: %v", err)
	}
	fromSender(t, lab, "10.88.0.1:8089", "over the veth")
	fds := []unix.PollFd{
		{Fd: int32(first.FD()), Events: unix.POLLIN}, {Fd: int32(second.FD()), Events: unix.POLLIN},
		{Fd: int32(slow.FD()), Events: unix.POLLIN},
	}
	if _, err := unix.Poll(fds, int(waitLimit.Milliseconds())); err != nil {
		t.Fatal(err)
	}
	got := first
	if fds[1].Revents != 0 {
		got = second
	}
	if d := collect(t, got, 1, 4)[0]; string(d.Payload) != "over the veth" {
		t.Fatalf("got %q", d.Payload)
	}
	err = lab.Gateway.Do(func() error {
		conn, err := net.Dial("udp", "127.0.0.1:8089")
		if err != nil {
			return err
		}
		defer conn.Close()
		_, err = conn.Write([]byte("over loopback"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if d := collect(t, slow, 1, 4)[0]; string(d.Payload) != "over loopback" {
		t.Fatalf("got %q", d.Payload)
	}
}

// Goal: datagrams to joined groups of both families arrive with the group as destination, those to other
// groups do not, although another socket of the host has joined them.
func TestPrivMulticast(t *testing.T) {
	lab := testenv.NewLab(t, 1)
	v4, v6 := netip.MustParseAddr("239.88.0.1"), netip.MustParseAddr("ff05::88")
	foreign := netip.MustParseAddr("239.88.0.2")
	var index int
	err := lab.Gateway.Do(func() error {
		link, err := net.InterfaceByName(lab.GatewayInterface)
		if err == nil {
			index = link.Index
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	s := inGateway(t, lab, Config{Port: 8089, Groups: []netip.Addr{v4, v6}, Interface: index})
	other := inGateway(t, lab, Config{Groups: []netip.Addr{foreign}, Interface: index})
	if err := s.Join(v4, index, ""); err != nil {
		t.Fatalf("join again: %v", err)
	}
	send := func(group netip.Addr, text string) {
		t.Helper()
		deadline := time.Now().Add(waitLimit)
		for {
			err := lab.Sender.Do(func() error { return sendToGroup(lab.SenderInterface, group, text) })
			// The kernel adds IPv6's multicast route a moment after the link is up.
			if errors.Is(err, unix.ENETUNREACH) && time.Now().Before(deadline) {
				time.Sleep(time.Millisecond)
				continue
			}
			if err != nil {
				t.Fatalf("send to %s: %v", group, err)
			}
			return
		}
	}
	send(foreign, "not ours")
	send(v4, "four")
	send(v6, "six")
	all := collect(t, s, 2, 4)
	if string(all[0].Payload) != "four" || all[0].Destination != v4.As16() ||
		string(all[1].Payload) != "six" || all[1].Destination != v6.As16() {
		t.Fatalf("%+v", all)
	}
	if n, err := other.Receive(make([]Datagram, 1)); n != 0 || err != nil {
		t.Fatalf("the other socket got %d datagrams, %v", n, err)
	}
}

// sendToGroup sends one datagram to port 8089 of a group out of an interface of this thread's namespace.
func sendToGroup(iface string, group netip.Addr, text string) error {
	link, err := net.InterfaceByName(iface)
	if err != nil {
		return err
	}
	var family int
	var to unix.Sockaddr
	if group.Is4() {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: 8089, Addr: group.As4()}
	} else {
		family = unix.AF_INET6
		to = &unix.SockaddrInet6{Port: 8089, Addr: group.As16(), ZoneId: uint32(link.Index)}
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.BindToDevice(fd, iface); err != nil {
		return err
	}
	return unix.Sendto(fd, []byte(text), 0, to)
}
