package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"culvert/scripts/testenv"
)

// nameServer gives the gateway's namespace, whose mounts are its own already, a resolver that answers every
// question for an IPv4 address with loopback, and an /etc that names it and nothing else.
func nameServer(t *testing.T, lab *testenv.Lab) {
	t.Helper()
	var conn net.PacketConn
	err := lab.Gateway.Do(func() (err error) {
		if conn, err = net.ListenPacket("udp4", "127.0.0.1:53"); err != nil {
			return err
		}
		if err := unix.Mount("etc", "/etc", "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("mount an /etc of its own: %w", err)
		}
		return errors.Join(os.WriteFile("/etc/resolv.conf", []byte("nameserver 127.0.0.1\n"), 0o644),
			os.WriteFile("/etc/hosts", []byte("127.0.0.1 localhost\n"), 0o644))
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	go func() {
		buffer := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			if answer := answerName(buffer[:n]); answer != nil {
				conn.WriteTo(answer, from)
			}
		}
	}()
}

// answerName answers a question of the DNS (RFC 1035 section 4.1), or is nil where it is none.
func answerName(question []byte) []byte {
	const header = 12
	end := header
	for end < len(question) && question[end] != 0 {
		end += 1 + int(question[end])
	}
	end += 5 // the root's label, type and class
	if end > len(question) {
		return nil
	}
	const isAnswer, addressType = 0x8180, 1
	answer := append([]byte{}, question[:end]...)
	binary.BigEndian.PutUint16(answer[2:], isAnswer)
	found := uint16(0)
	if binary.BigEndian.Uint16(question[end-4:]) == addressType {
		found = 1
	}
	copy(answer[4:header], []byte{0, 1, 0, byte(found), 0, 0, 0, 0})
	if found == 0 {
		return answer
	}
	// The name by reference, type, class, a minute to live, four bytes of address.
	return append(answer, 0xc0, header, 0, addressType, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1)
}
