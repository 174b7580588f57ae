package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"culvert/scripts/testenv"
)

// Goal: a packet longer than a frame is not lost: it comes in several, or takes the slow path where the
// kernel has no such packets for AF_XDP. Method: an MTU above the frame's room, and packets around that.
func TestPrivPacketsLongerThanAFrame(t *testing.T) {
	need(t)
	lab := testenv.NewLab(t, 1)
	setMTU := func(l netlink.Link) error { return netlink.LinkSetMTU(l, 3000) }
	gatewayLink(t, lab, setMTU)
	err := lab.Sender.Do(func() error {
		l, err := netlink.LinkByName(lab.SenderInterface)
		if err != nil {
			return err
		}
		return setMTU(l)
	})
	if err != nil {
		t.Fatal(err)
	}
	sink := newRecorder(t, lab)
	g := start(t, lab, "run", "-c", configure(t, lab, sink.url, ""))
	g.ready()
	conn := udpSender(t, lab, lab.GatewayIPv4)
	// A frame of 2048 bytes has room for 1792 bytes of packet, 42 of them headers.
	for _, size := range []int{1749, 1750, 1751, 2900} {
		line := fmt.Sprintf("m s=\"%s\" %d", strings.Repeat("x", size-len("m s=\"\" 1000")), size)
		if len(line) != size {
			t.Fatalf("a line of %d bytes, want %d", len(line), size)
		}
		if _, err := conn.Write([]byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	s := g.settled(4)
	verdicts := interfaceOf(t, s, lab.GatewayInterface).Verdicts
	if testenv.AtLeast(6, 6) {
		if verdicts["too_long"] != 0 || s.Packets.Redirected != 4 || s.Packets.Assembled != 2 ||
			len(sink.all()) != 4 {
			t.Fatalf("verdicts %v, packets %+v", verdicts, s.Packets)
		}
		return
	}
	if verdicts["too_long"] != 2 || s.Packets.Redirected != 2 || s.Packets.Kernel != 2 ||
		len(sink.all()) != 4 {
		t.Fatalf("verdicts %v, packets %+v", verdicts, s.Packets)
	}
}
