package udp

import (
	"testing"

	"golang.org/x/sys/unix"
)

// Goal: a socket that was kept goes on with what waits in it, of either family, and with all its settings;
// one of another port is refused. Method: the first owner closes its descriptor, another one stays open.
func TestKeptSocket(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		first := openSocket(t, 4, Config{ReceiveBuffer: 1 << 20})
		port := first.Port()
		kept := dup(t, first.FD())
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		conn := dial(t, host, port)
		send(t, conn, []byte("m v=1"))
		wrong := Config{Kept: dup(t, kept), Port: port + 1, Memory: make([]byte, MemorySize(4))}
		if s, err := Open(wrong); err == nil {
			s.Close()
			t.Fatal("a socket of another port is taken")
		}
		second := openSocket(t, 4, Config{Kept: kept, Port: port})
		send(t, conn, []byte("m v=2"))
		got := collect(t, second, 2, 4)
		if string(got[0].Payload) != "m v=1" || string(got[1].Payload) != "m v=2" || second.Port() != port ||
			second.ReceiveBuffer() < first.ReceiveBuffer() || second.GRO() != first.GRO() {
			t.Fatalf("%s: %+v, port %d", host, got, second.Port())
		}
	}
	if _, err := Open(Config{Kept: 1 << 20, Port: 1, Memory: make([]byte, MemorySize(4))}); err == nil {
		t.Error("a descriptor that is none is taken")
	}
}

func dup(t *testing.T, fd int) int {
	t.Helper()
	other, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	return other
}
