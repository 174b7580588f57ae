package testenv

import (
	"net"
	"testing"
	"time"
)

// Goal: a datagram crosses the lab in both families. Method: one socket in each namespace.
func TestPrivLabCarriesDatagrams(t *testing.T) {
	lab := NewLab(t, 2)
	for _, ends := range [][2]net.IP{{lab.GatewayIPv4, lab.SenderIPv4}, {lab.GatewayIPv6, lab.SenderIPv6}} {
		var receiver *net.UDPConn
		err := lab.Gateway.Do(func() (err error) {
			receiver, err = net.ListenUDP("udp", &net.UDPAddr{IP: ends[0], Port: 8089})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer receiver.Close()
		err = lab.Sender.Do(func() error {
			sender, err := net.DialUDP("udp", &net.UDPAddr{IP: ends[1]}, receiver.LocalAddr().(*net.UDPAddr))
			if err != nil {
				return err
			}
			defer sender.Close()
			_, err = sender.Write([]byte("m v=1"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		receiver.SetReadDeadline(time.Now().Add(5 * time.Second))
		into := make([]byte, 16)
		n, _, err := receiver.ReadFromUDP(into)
		if err != nil || string(into[:n]) != "m v=1" {
			t.Fatalf("received %q, %v over %v", into[:n], err, ends)
		}
	}
}
