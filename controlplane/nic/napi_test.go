package nic

import (
	"os"
	"path/filepath"
	"testing"
)

// Goal: the kernel's numbers are read in both lengths that it sends them in, and nothing else is one.
func TestUnsigned(t *testing.T) {
	for _, c := range []struct {
		value []byte
		n     uint64
		known bool
	}{
		{[]byte{1, 1, 1, 1}, 0x01010101, true},
		{[]byte{1, 1, 1, 1, 1, 1, 1, 1}, 0x0101010101010101, true},
		{nil, 0, false},
		{[]byte{1, 1}, 0, false},
	} {
		if n, known := unsigned(c.value); n != c.n || known != c.known {
			t.Errorf("%v is %d, %t, want %d, %t", c.value, n, known, c.n, c.known)
		}
	}
}

// Goal: an interface's own settings are read from its files, and one without them has none.
func TestDeviceDeferral(t *testing.T) {
	root := t.TempDir()
	folder := filepath.Join(root, "sys/class/net/eth1")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if d := DeviceDeferral(root, "eth1"); d != (Deferral{}) {
		t.Errorf("without files: %+v", d)
	}
	files := map[string]string{"napi_defer_hard_irqs": "2\n", "gro_flush_timeout": "200000\n"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if d := DeviceDeferral(root, "eth1"); d != PollDeferral() {
		t.Errorf("%+v, want %+v", d, PollDeferral())
	}
}
